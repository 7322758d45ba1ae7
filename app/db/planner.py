"""How the statements of the queue are planned: by index, whatever the statistics say."""

# A table that was last analysed while empty is otherwise sorted or read whole for every batch (measured: 0.44 of the
# speed), and a worker keeps such a plan until the next analyse. Local to the transaction, because the role is taken
# with SET ROLE, where the settings of ALTER ROLE do not apply, and because a connection behind PgBouncer is somebody
# else's a moment later.
BY_INDEX = """
SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_seqscan = off;
SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL plan_cache_mode = force_generic_plan
"""
"""Until the transaction ends: nested loops over indexes, one plan for any values. For small batches only; given to
`opened`, so that it costs no round trip of its own."""
