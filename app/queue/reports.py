"""What sources are told of their receipts: one row and one job for each state, made in the transaction that makes it.

A report is made where a message about the receipt's own new state is made, for the source of its event and for every
source that reported the same money; only sources that take results have a lane for them.
"""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import text

from app.db.unit_of_work import Tx
from app.domain.lifecycle import REPORTED
from app.queue.jobs import CHANNEL, JobKind

TOLD_OF = f"({', '.join(repr(status.value) for status in REPORTED)})"
"""States that are told, as SQL."""

INTO = "INSERT INTO crm_reports (id, merchant_id, source_id, receipt_id, event_id, version, status)"

REPORTERS = """
(SELECT {r}.event_id, {r}.source_id WHERE {r}.event_id IS NOT NULL
 UNION ALL SELECT l.id, l.source_id FROM events l WHERE l.linked_to = {r}.event_id)
"""
"""Who reported the money of a receipt `{r}`, as a lateral table of (event_id, source_id)."""

JOBS = f"""
SELECT kassa_uuid7(), {JobKind.REPORT}, o.report_lane, NULL::uuid, n.id, kassa_now()
FROM reported n JOIN sources o ON o.id = n.source_id
"""
"""Jobs of the rows that a statement's `reported` has made."""

_REPORT = text(f"""
WITH reported AS (
  {INTO}
  SELECT kassa_uuid7(), r.merchant_id, o.id, r.id, t.event_id, r.version, r.status
  FROM receipts r CROSS JOIN LATERAL {REPORTERS.format(r="r")} t
  JOIN sources o ON o.id = t.source_id AND o.report_lane IS NOT NULL
  WHERE r.id = :receipt AND r.status IN {TOLD_OF} AND 'receipt.' || r.status = :type
  ON CONFLICT DO NOTHING RETURNING id, source_id
), work AS (
  INSERT INTO jobs (id, kind, lane, chain, ref, run_at) {JOBS} RETURNING id
)
SELECT pg_notify('{CHANNEL}', '') WHERE EXISTS (SELECT 1 FROM work)
""")

# An event was linked while its receipt reached its end: neither transaction saw the other. Those of the last minutes
# are looked at, because later ones find the link.
_LINKED = text(f"""
WITH reported AS (
  {INTO}
  SELECT kassa_uuid7(), r.merchant_id, o.id, r.id, e.id, r.version, r.status
  FROM events e JOIN receipts r ON r.event_id = e.linked_to AND r.merchant_id = e.merchant_id
  JOIN sources o ON o.id = e.source_id AND o.report_lane IS NOT NULL
  WHERE e.linked_to IS NOT NULL AND e.received_at > kassa_now() - interval '15 minutes' AND r.status IN {TOLD_OF}
  ON CONFLICT DO NOTHING RETURNING id, source_id
), work AS (
  INSERT INTO jobs (id, kind, lane, chain, ref, run_at) {JOBS} RETURNING id
)
SELECT count(*), (SELECT pg_notify('{CHANNEL}', '') WHERE EXISTS (SELECT 1 FROM work)) FROM work
""")

# A kind whose adapter learned to take results, or unlearned it; locked in order, so that two workers do not cross.
_LANES_WANTED = text("""
WITH wrong AS (
  SELECT id, merchant_id, kind = ANY(:kinds) AS wanted FROM sources
  WHERE (kind = ANY(:kinds)) <> (report_lane IS NOT NULL) ORDER BY id FOR UPDATE SKIP LOCKED
), made AS (
  INSERT INTO lanes (id, kind, merchant_id, max_in_flight)
  SELECT kassa_uuid7(), 'report', merchant_id, :most FROM wrong WHERE wanted
  RETURNING id, merchant_id
), numbered AS (
  SELECT id, merchant_id, row_number() OVER (PARTITION BY merchant_id ORDER BY id) AS n FROM made
), paired AS (
  SELECT w.id, n.id AS lane FROM (
    SELECT id, merchant_id, row_number() OVER (PARTITION BY merchant_id ORDER BY id) AS n FROM wrong WHERE wanted
  ) w JOIN numbered n USING (merchant_id, n)
)
UPDATE sources s SET report_lane = p.lane
FROM wrong w LEFT JOIN paired p ON p.id = w.id WHERE s.id = w.id
""")


async def report(tx: Tx, receipt_id: UUID, type: str) -> None:
    """Reports of the state that a message of this `type` tells; the receipt was moved in the same transaction."""
    await tx.execute(_REPORT, {"receipt": receipt_id, "type": type})


async def report_linked(tx: Tx) -> int:
    """Reports that a race left out; how many."""
    return int((await tx.execute(_LINKED)).one()[0])


async def fit_lanes(tx: Tx, kinds: Collection[str], *, max_in_flight: int) -> None:
    """Every source of these kinds has a lane for results, no other has."""
    await tx.execute(_LANES_WANTED, {"kinds": list(kinds), "most": max_in_flight})
