"""How the statements of the queue are planned: by index, whatever the statistics say."""

from weakref import WeakSet

import asyncpg

# A table that was last analysed while empty is otherwise sorted or read whole for every batch (measured: 0.44 of the
# speed), and a worker keeps such a plan until the next analyse. Never by ALTER ROLE, whose settings do not apply where
# the role is taken with SET ROLE; and local to the transaction where the connection is somebody else's a moment later,
# as every one behind PgBouncer is.
_BY_INDEX = """
SELECT set_config('enable_sort', 'off', $1), set_config('enable_bitmapscan', 'off', $1),
  set_config('enable_seqscan', 'off', $1), set_config('enable_hashjoin', 'off', $1),
  set_config('enable_mergejoin', 'off', $1), set_config('plan_cache_mode', 'force_generic_plan', $1)
"""

_KEPT: WeakSet[asyncpg.Connection] = WeakSet()
"""Those that were told for good."""


async def always_by_index(connection: asyncpg.Connection) -> None:
    """As `by_index`, for as long as this connection lives: it is the caller's own, and goes to nobody after them."""
    await connection.fetchrow(_BY_INDEX, False)
    _KEPT.add(connection)


async def by_index(connection: asyncpg.Connection) -> None:
    """Until the transaction ends: nested loops over indexes, one plan for any values. For small batches only.

    `jobs` is empty most of the time, and a plan made then reads a whole index for every batch where it may. So give it
    the ids themselves, `id = ANY (ARRAY…)`, and compare its other indexed columns by IS NOT DISTINCT FROM.
    """
    if connection not in _KEPT:
        await connection.fetchrow(_BY_INDEX, True)
