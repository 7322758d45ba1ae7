"""The deadline clock: when a receipt is late, when people are told, what correction it could become; fallback contacts."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

COLUMNS = (
    ("limit_at", "TIMESTAMP WITH TIME ZONE"),
    ("alarm_at", "TIMESTAMP WITH TIME ZONE"),
    ("contact_fallback", "BOOLEAN DEFAULT false NOT NULL"),
    ("correction_draft", "JSONB"),
)

# Receipts from before the clock are reminded of, and never held by it: nobody knew of a limit when they came.
REMIND = """
UPDATE receipts SET alarm_at = kassa_now() + interval '5 minutes'
WHERE status IN ('held', 'queued', 'sending', 'accepted', 'unknown', 'needs_attention')
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '1s'")
    for name, kind in COLUMNS:
        op.execute(f"ALTER TABLE receipts ADD COLUMN {name} {kind}")
    op.execute(REMIND)
    op.execute(
        "CREATE INDEX ix_receipts_alarm_at ON receipts (alarm_at) "
        "WHERE status = ANY (ARRAY['held', 'needs_attention', 'rejected'])"
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '1s'")
    op.execute("DROP INDEX ix_receipts_alarm_at")
    for name, _ in reversed(COLUMNS):
        op.execute(f"ALTER TABLE receipts DROP COLUMN {name}")
