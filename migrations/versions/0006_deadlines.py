"""The deadline clock: when a receipt is late, when people are told, what correction it could become; fallback contacts."""

from app.db import online

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
WHERE id > :after AND id <= :upto AND alarm_at IS NULL
  AND status IN ('held', 'queued', 'sending', 'accepted', 'unknown', 'needs_attention')
"""


def upgrade() -> None:
    online.add_columns("receipts", *COLUMNS)
    online.fill("receipts", REMIND)
    online.create_index(
        "ix_receipts_alarm_at", "receipts (alarm_at) WHERE status = ANY (ARRAY['held', 'needs_attention', 'rejected'])"
    )


def downgrade() -> None:
    online.drop_index("ix_receipts_alarm_at")
    online.drop_columns("receipts", *COLUMNS)
