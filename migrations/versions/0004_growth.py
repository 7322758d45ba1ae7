"""Lists and searches stay fast in a long history, vacuum keeps up with the queue, and pruning remembers its place."""

from app.db import online

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Searched by a contact that stands on very many receipts, a list must come out in its own order.
IN_ORDER = ("email_hash", "phone_hash", "phone_tail_hash")
INDEXES = (
    # Rare values: without these the whole history is walked for the few that match, or for none.
    ("ix_receipts_kassa_id", "receipts (kassa_id, created_at, id) WHERE kassa_id IS NOT NULL"),
    ("ix_receipts_branch_id", "receipts (branch_id, created_at, id) WHERE branch_id IS NOT NULL"),
    ("ix_receipts_operation", "receipts (merchant_id, operation, created_at, id) WHERE operation <> 'sell'"),
    ("ix_receipts_unfinished", "receipts (status, merchant_id, created_at, id) WHERE status <> 'fiscalized'"),
    ("ix_events_order_id", "events (merchant_id, order_id) WHERE order_id IS NOT NULL"),
    ("ix_events_payment_id", "events (merchant_id, payment_id) WHERE payment_id IS NOT NULL"),
    ("ix_events_source_id", "events (source_id, received_at, id)"),
    ("ix_events_type", "events (merchant_id, type, received_at, id) WHERE type <> 'payment.succeeded'"),
    ("ix_events_unplanned", "events (merchant_id, status, received_at, id) WHERE status <> 'planned'"),
)
# Not dropped before the one that takes its place is there.
OPEN = (
    "ix_receipts_open",
    "receipts (status, updated_at) "
    "WHERE status IN ('held', 'queued', 'sending', 'accepted', 'unknown', 'needs_attention')",
)

# A kassa, a branch and a buyer belong to one merchant. Taken for independent of it, a filter on one of them looks so rare
# that its whole history is sorted for a page.
STATISTICS = "merchant_id, kassa_id, branch_id, email_hash, phone_hash, phone_tail_hash"

# A fifth of a table that keeps five years is a year of dead rows; the queue's tables are rewritten all day.
HISTORY = (
    "events",
    "receipts",
    "attempts",
    "timeline",
    "messages",
    "message_endpoints",
    "deliveries",
    "notifications",
    "chains",
    "idempotency_keys",
)
_HISTORY = {
    "autovacuum_vacuum_scale_factor": "0.02",
    "autovacuum_vacuum_insert_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.02",
}
_QUEUE = {
    "autovacuum_vacuum_scale_factor": "0",
    "autovacuum_vacuum_threshold": "5000",
    "autovacuum_vacuum_cost_delay": "0",
}
_SMALL = {"autovacuum_vacuum_scale_factor": "0", "autovacuum_vacuum_threshold": "500"}
STORAGE = {
    **dict.fromkeys(HISTORY, _HISTORY),
    "jobs": _QUEUE,
    **dict.fromkeys(("lanes", "workers", "webhook_endpoints"), _SMALL),
}


COLUMNS = (("pruned_at", "TIMESTAMP WITH TIME ZONE"), ("exchanges_pruned_to", "UUID"))


def _told(parameters: dict[str, str]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in parameters.items())


def upgrade() -> None:
    for name in IN_ORDER:
        online.replace_index(f"ix_receipts_{name}", f"receipts ({name}, created_at, id) WHERE {name} IS NOT NULL")
    for name, definition in INDEXES:
        online.create_index(name, definition)
    online.drop_index(OPEN[0])
    online.mildly(
        "Statistics of receipts",
        f"CREATE STATISTICS IF NOT EXISTS st_receipts_merchant_id (dependencies) ON {STATISTICS} FROM receipts",
    )
    online.mildly(
        "Settings of vacuum", *(f"ALTER TABLE {table} SET ({_told(kept)})" for table, kept in STORAGE.items())
    )
    online.add_columns("installation", *COLUMNS)


def downgrade() -> None:
    online.drop_columns("installation", *COLUMNS)
    online.mildly(
        "Settings of vacuum", *(f"ALTER TABLE {table} RESET ({', '.join(kept)})" for table, kept in STORAGE.items())
    )
    online.mildly("Statistics of receipts", "DROP STATISTICS IF EXISTS st_receipts_merchant_id")
    online.create_index(*OPEN)
    for name, _ in INDEXES:
        online.drop_index(name)
    for name in IN_ORDER:
        online.replace_index(f"ix_receipts_{name}", f"receipts ({name}) WHERE {name} IS NOT NULL")
