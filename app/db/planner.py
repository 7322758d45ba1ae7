"""How the statements of the queue are planned: by index, whatever the statistics say."""

import asyncpg

# A table that was last analysed while empty is otherwise sorted or read whole for every batch (measured: 0.44 of the
# speed), and a worker keeps such a plan until the next analyse. Local to the transaction, because the role is taken
# with SET ROLE, where the settings of ALTER ROLE do not apply, and because a connection behind PgBouncer is somebody
# else's a moment later.
_BY_INDEX = """
SELECT set_config('enable_sort', 'off', true), set_config('enable_bitmapscan', 'off', true),
  set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),
  set_config('enable_mergejoin', 'off', true), set_config('plan_cache_mode', 'force_generic_plan', true)
"""


async def by_index(connection: asyncpg.Connection) -> None:
    """Until the transaction ends: nested loops over indexes, one plan for any values. For small batches only.

    Write a join of `jobs` by id as `= ANY (ARRAY[…])`, which can be nothing but a look-up: that table is empty most of
    the time, and a plan made then reads the whole index for every batch.
    """
    await connection.fetchrow(_BY_INDEX)
