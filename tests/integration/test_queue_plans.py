"""The queue's statements look up what they need one by one, also by a plan that was made while the jobs were none."""

import re

import asyncpg
import pytest

from app.db.planner import by_index
from app.queue import claim, endings, mark, settle
from app.queue.jobs import JobKind

FILLED = f"""
INSERT INTO jobs (id, kind, lane, ref, run_at)
SELECT kassa_uuid7(), {int(JobKind.FISCALIZE)}, gen_random_uuid(), gen_random_uuid(), kassa_now()
FROM generate_series(1, 5000)
"""

GROWN = re.compile(r"Scan .*on (jobs|receipts|attempts|timeline|events|messages)\b")
"""Tables that are large, or were."""


@pytest.mark.parametrize(
    "statement",
    [claim._JOBS, mark._MARK, settle._SETTLE, endings._FINISH, endings._POST],
    ids=["claim", "mark", "settle", "finish", "post"],
)
async def test_a_plan_of_an_empty_table_reads_no_whole_index(statement: str, database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(FILLED)
        await connection.execute("DELETE FROM jobs")
        await connection.execute("VACUUM ANALYZE jobs")
        async with connection.transaction():
            await by_index(connection)
            values = ", ".join("NULL" for _ in (await connection.prepare(statement)).get_parameters())
            await connection.execute(f"PREPARE batch AS {statement}")
            plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN EXECUTE batch ({values})"))
    finally:
        await connection.close()
    assert "Index Cond: (id = ANY (ARRAY[" in plan, plan
    lines = plan.splitlines()
    for at, line in enumerate(lines):
        if GROWN.search(line):
            assert "Index Cond" in lines[at + 1], plan
