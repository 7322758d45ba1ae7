"""Lists and searches stay fast in a long history, vacuum keeps up with the queue, and pruning remembers its place."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

INDEXES = (
    # Searched by a contact that stands on very many receipts, a list must come out in its own order.
    ("ix_receipts_email_hash", "receipts (email_hash, created_at, id) WHERE email_hash IS NOT NULL"),
    ("ix_receipts_phone_hash", "receipts (phone_hash, created_at, id) WHERE phone_hash IS NOT NULL"),
    ("ix_receipts_phone_tail_hash", "receipts (phone_tail_hash, created_at, id) WHERE phone_tail_hash IS NOT NULL"),
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

# A kassa, a branch and a buyer belong to one merchant. Taken for independent of it, a filter on one of them looks so rare
# that its whole history is sorted for a page.
STATISTICS = "merchant_id, kassa_id, branch_id, email_hash, phone_hash, phone_tail_hash"

REPLACED = (
    ("ix_receipts_email_hash", "receipts (email_hash) WHERE email_hash IS NOT NULL"),
    ("ix_receipts_phone_hash", "receipts (phone_hash) WHERE phone_hash IS NOT NULL"),
    ("ix_receipts_phone_tail_hash", "receipts (phone_tail_hash) WHERE phone_tail_hash IS NOT NULL"),
    (
        "ix_receipts_open",
        "receipts (status, updated_at) "
        "WHERE status IN ('held', 'queued', 'sending', 'accepted', 'unknown', 'needs_attention')",
    ),
)

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


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '1s'")
    for name, _ in REPLACED:
        op.execute(f"DROP INDEX {name}")
    for name, definition in INDEXES:
        op.execute(f"CREATE INDEX {name} ON {definition}")
    op.execute(f"CREATE STATISTICS st_receipts_merchant_id (dependencies) ON {STATISTICS} FROM receipts")
    for table, parameters in STORAGE.items():
        told = ", ".join(f"{name} = {value}" for name, value in parameters.items())
        op.execute(f"ALTER TABLE {table} SET ({told})")
    op.execute("ALTER TABLE installation ADD COLUMN pruned_at TIMESTAMP WITH TIME ZONE")
    op.execute("ALTER TABLE installation ADD COLUMN exchanges_pruned_to UUID")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '1s'")
    op.execute("ALTER TABLE installation DROP COLUMN exchanges_pruned_to")
    op.execute("ALTER TABLE installation DROP COLUMN pruned_at")
    for table, parameters in STORAGE.items():
        op.execute(f"ALTER TABLE {table} RESET ({', '.join(parameters)})")
    op.execute("DROP STATISTICS st_receipts_merchant_id")
    for name, _ in INDEXES:
        op.execute(f"DROP INDEX {name}")
    for name, definition in REPLACED:
        op.execute(f"CREATE INDEX {name} ON {definition}")
