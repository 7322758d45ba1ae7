"""A program of the schema 0003 with a long history behind it, at work while newer migrations run.

Its statements name the columns of that schema and stand for what that program did: intake, claim and settle, lists and
reports. Each of its sessions lets the server end a statement that waits for a lock longer than the requirement allows.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg

SCHEMA = "0003"
MOST_SECONDS = 1.0
"""No statement of a running program waits longer for a lock."""

STATEMENTS = ("intake", "heard", "claim", "settle", "list", "search", "settings")

_EVERY_SECONDS = 0.003
_REPORT_SECONDS = 0.3
_WATCHED_SECONDS = 0.01

MERCHANT, SOURCE, OTHER_SOURCE, LANE = (UUID(int=n) for n in range(1, 5))

_ID = "('00000000-0000-7000-8000-' || lpad(to_hex({n}), 12, '0'))::uuid"
_N = _ID.format(n="n")
_ITEMS = """
('{"items": [{"name": "Абонемент", "price": 199000, "amount": 199000, "quantity": "1", "vat": "none",
"payment_method": "' || CASE WHEN n % 4 = 0 THEN 'full_prepayment' ELSE 'full_payment' END || '"}]}')::jsonb
"""
# Every tenth event is a second report of the money of the one before it; a quarter of the receipts is under way.
_HISTORY = (
    f"""INSERT INTO chains (id, merchant_id, source_id, payment_id, sold)
    SELECT {_N}, '{MERCHANT}', '{SOURCE}', 'p-' || n, 199000 FROM generate_series(1, $1::int) n""",
    f"""INSERT INTO event_identities (merchant_id, source_id, type, external_id, event_id, content_hash)
    SELECT '{MERCHANT}', '{SOURCE}', 'payment.succeeded', 'p-' || n, {_N}, '\\x00'
    FROM generate_series(1, $1::int) n""",
    f"""INSERT INTO events (id, merchant_id, source_id, type, external_id, payment_id, order_id, settlement_key,
      chain_id, status, amount, currency, occurred_at, payload)
    SELECT {_N}, '{MERCHANT}', CASE WHEN n % 10 = 0 THEN '{OTHER_SOURCE}' ELSE '{SOURCE}' END::uuid,
      'payment.succeeded', 'p-' || n, 'p-' || n, 'o-' || n, 's-' || (n - (n % 10 = 0)::int), {_N},
      CASE WHEN n % 10 = 0 THEN 'linked' ELSE 'planned' END, 199000, 'RUB', kassa_now(), '\\x00'
    FROM generate_series(1, $1::int) n""",
    f"""INSERT INTO settlement_keys (merchant_id, type, settlement_key, event_id)
    SELECT '{MERCHANT}', 'payment.succeeded', 's-' || n, {_N} FROM generate_series(1, $1::int) n WHERE n % 10 <> 0""",
    f"""INSERT INTO receipts (id, merchant_id, source_id, kassa_id, event_id, chain_id, provider_id, operation, status,
      total, order_id, external_id, document, email_hash, phone_hash, phone_tail_hash)
    SELECT {_N}, '{MERCHANT}', '{SOURCE}', '{LANE}', {_N}, {_N}, md5(n::text), 'sell',
      CASE WHEN n % 4 = 1 THEN 'queued' ELSE 'fiscalized' END, 199000, 'o-' || n, 'p-' || n, {_ITEMS},
      decode(md5(n::text), 'hex'), decode(md5(n::text), 'hex'), decode(left(md5(n::text), 4), 'hex')
    FROM generate_series(1, $1::int) n""",
    f"""INSERT INTO jobs (id, kind, lane, ref, run_at)
    SELECT {_N}, 1, '{LANE}', {_N}, kassa_now() FROM generate_series(1, $1::int) n""",
    f"""INSERT INTO messages (id, merchant_id, receipt_id, type, sequence, body)
    SELECT {_N}, '{MERCHANT}', {_N}, 'receipt.fiscalized', 1, '\\x00' FROM generate_series(1, $1::int) n""",
    f"""INSERT INTO notifications (id, merchant_id, source_id, part, digest, raw, status)
    SELECT {_N}, '{MERCHANT}', '{SOURCE}', 'pay', decode(md5(n::text), 'hex'), '\\x00',
      CASE WHEN n % 10 = 0 THEN 'received' ELSE 'processed' END FROM generate_series(1, $1::int) n""",
)

_NEW = _ID.format(n="$1::bigint")
_INTAKE = f"""
WITH ident AS (
  INSERT INTO event_identities (merchant_id, source_id, type, external_id, event_id, content_hash)
  VALUES ('{MERCHANT}', '{SOURCE}', 'payment.succeeded', 'n-' || $1::bigint, {_NEW}, '\\x00') RETURNING event_id
), keyed AS (
  INSERT INTO settlement_keys (merchant_id, type, settlement_key, event_id)
  SELECT '{MERCHANT}', 'payment.succeeded', 'n-' || $1::bigint, event_id FROM ident
), chained AS (
  INSERT INTO chains (id, merchant_id, source_id, payment_id, sold)
  SELECT event_id, '{MERCHANT}', '{SOURCE}', 'n-' || $1::bigint, 199000 FROM ident
), stored AS (
  INSERT INTO events (id, merchant_id, source_id, type, external_id, chain_id, status, amount, currency, occurred_at,
    payload)
  SELECT event_id, '{MERCHANT}', '{SOURCE}', 'payment.succeeded', 'n-' || $1::bigint, event_id, 'planned', 199000,
    'RUB', kassa_now(), '\\x00' FROM ident
), wanted AS (
  INSERT INTO receipts (id, merchant_id, source_id, event_id, chain_id, provider_id, operation, status, total, document)
  SELECT event_id, '{MERCHANT}', '{SOURCE}', event_id, event_id, 'n-' || $1::bigint, 'sell', 'queued', 199000,
    '{{"items": []}}' FROM ident
)
INSERT INTO jobs (id, kind, lane, ref, run_at) SELECT event_id, 1, '{LANE}', event_id, kassa_now() FROM ident
"""
_CLAIM = f"""
UPDATE jobs SET lease_token = id, lease_until = kassa_now() + interval '1 minute', attempt = attempt + 1
WHERE id = (SELECT id FROM jobs WHERE lane = '{LANE}' AND lease_token IS NULL ORDER BY run_at, id LIMIT 1
  FOR UPDATE SKIP LOCKED)
RETURNING ref
"""
_SETTLE = """
WITH gone AS (DELETE FROM jobs WHERE ref = $1), tried AS (
  INSERT INTO attempts (id, merchant_id, receipt_id, kind, provider_id, worker)
  SELECT kassa_uuid7(), merchant_id, id, 'submit', provider_id, 'w' FROM receipts WHERE id = $1
), told AS (
  INSERT INTO messages (id, merchant_id, receipt_id, type, sequence, body)
  SELECT kassa_uuid7(), merchant_id, id, 'receipt.fiscalized', sequence + 1, '\\x00' FROM receipts WHERE id = $1
)
UPDATE receipts SET status = 'fiscalized', sequence = sequence + 1, updated_at = kassa_now() WHERE id = $1
"""
_HEARD = f"UPDATE sources SET last_heard_at = kassa_now() WHERE id = '{SOURCE}'"
_LIST = f"""
SELECT id, status, total FROM receipts WHERE merchant_id = '{MERCHANT}' ORDER BY created_at DESC, id DESC LIMIT 20
"""
_SEARCH = "SELECT id, status FROM receipts WHERE email_hash = decode(md5('7'), 'hex')"
_SETTINGS = "SELECT m.status, s.defaults FROM merchants m JOIN sources s ON s.merchant_id = m.id"

_WAITING = """
SELECT extract(epoch FROM clock_timestamp() - waitstart)::float AS seconds, l.pid, l.mode,
  coalesce(relation::regclass::text, locktype) AS what
FROM pg_locks l WHERE NOT granted AND pid = ANY($1::int[]) AND waitstart IS NOT NULL ORDER BY waitstart LIMIT 1
"""


def id_of(number: int) -> UUID:
    """Of the event, the receipt and the rest of this payment of the history."""
    return UUID(f"00000000-0000-7000-8000-{number:012x}")


async def fill(connection: asyncpg.Connection, rows: int) -> None:
    """`rows` payments with all that belongs to each, in a schema 0003."""
    await connection.execute(f"INSERT INTO merchants (id, name, inn) VALUES ('{MERCHANT}', 'Школа', '7707083893')")
    await connection.execute(
        f"INSERT INTO sources (id, merchant_id, kind, name) VALUES ('{SOURCE}', '{MERCHANT}', 'api', 'API'),"
        f" ('{OTHER_SOURCE}', '{MERCHANT}', 'cloudpayments', 'Эквайринг')"
    )
    for statement in _HISTORY:
        await connection.execute(statement, rows)
    await connection.execute("ANALYZE")


@dataclass
class OldCode:
    """What it did so far: statements by name, those that the server ended because of a lock, the longest wait seen."""

    done: Counter[str] = field(default_factory=Counter)
    ended: list[str] = field(default_factory=list)
    longest: float = 0.0
    longest_at: str = ""

    async def does_more(self) -> None:
        """Until every statement was done a few times more; TimeoutError when one is not."""
        before = self.done.copy()
        async with asyncio.timeout(60):
            while any(self.done[name] < before[name] + 3 for name in STATEMENTS):
                await asyncio.sleep(0.01)


@asynccontextmanager
async def at_work(url: str, rows: int, *, reports: bool = True) -> AsyncIterator[OldCode]:
    """The old code works behind a history of `rows`, while the block runs; its errors end the block.

    Only a lock that was waited for too long is no error but a finding.
    """
    found, over = OldCode(), asyncio.Event()
    async with AsyncExitStack() as stack:

        async def session() -> asyncpg.Connection:
            made = await asyncpg.connect(
                url, server_settings={"role": "kassa_pipeline", "application_name": "old code"}
            )
            await made.execute(f"SET lock_timeout = '{MOST_SECONDS:g}s'")
            stack.push_async_callback(made.close)
            return made

        sessions = [await session() for _ in range(3)]
        watcher = await asyncpg.connect(url)
        stack.push_async_callback(watcher.close)
        intake, worker, reader = sessions
        numbers = iter(range(rows + 1, 2**40))
        work = [
            _repeat(over, lambda: _intake(found, intake, next(numbers))),
            _repeat(over, lambda: _work(found, worker)),
            _repeat(over, lambda: _read(found, reader)),
            _repeat(over, lambda: _watch(found, watcher, [one.get_server_pid() for one in sessions]), _WATCHED_SECONDS),
        ]
        if reports:
            reporter = await session()
            work.append(_repeat(over, lambda: _report(found, reporter, over)))
        async with asyncio.TaskGroup() as tasks:
            for one in work:
                tasks.create_task(one)
            try:
                yield found
            finally:
                over.set()


async def _repeat(over: asyncio.Event, act: Callable[[], Awaitable[None]], seconds: float = _EVERY_SECONDS) -> None:
    while not over.is_set():
        await act()
        await _until(over, seconds)


async def _until(over: asyncio.Event, seconds: float) -> None:
    """Until the work is over, or for so long."""
    try:
        async with asyncio.timeout(seconds):
            await over.wait()
    except TimeoutError:
        return


async def _ask(found: OldCode, name: str, statement: Awaitable[Any]) -> Any:
    try:
        answer = await statement
    except asyncpg.LockNotAvailableError:
        found.ended.append(name)
        return None
    found.done[name] += 1
    return answer


async def _intake(found: OldCode, session: asyncpg.Connection, number: int) -> None:
    await _ask(found, "intake", session.execute(_INTAKE, number))
    await _ask(found, "heard", session.execute(_HEARD))


async def _work(found: OldCode, session: asyncpg.Connection) -> None:
    ref = await _ask(found, "claim", session.fetchval(_CLAIM))
    if ref is not None:
        await _ask(found, "settle", session.execute(_SETTLE, ref))


async def _read(found: OldCode, session: asyncpg.Connection) -> None:
    await _ask(found, "list", session.fetch(_LIST))
    await _ask(found, "search", session.fetch(_SEARCH))
    await _ask(found, "settings", session.fetch(_SETTINGS))


async def _report(found: OldCode, session: asyncpg.Connection, over: asyncio.Event) -> None:
    """A transaction that stays open over what it has read: whoever wants such a table for himself has to wait."""
    async with session.transaction():
        await _ask(found, "report", session.fetchrow("SELECT sum(total) FROM (SELECT total FROM receipts LIMIT 100) r"))
        await _until(over, _REPORT_SECONDS)


async def _watch(found: OldCode, session: asyncpg.Connection, pids: list[int]) -> None:
    row = await session.fetchrow(_WAITING, pids)
    if row is not None and row["seconds"] > found.longest:
        found.longest, found.longest_at = row["seconds"], f"{row['mode']} on {row['what']}"
