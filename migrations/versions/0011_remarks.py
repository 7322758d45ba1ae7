"""Receipts keep what planning noticed, put right and took from their lines; payments may offset prepayments."""

from app.db import online

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

REMARKS = ("remarks", "JSONB")
MOVED = ("moved", "BOOLEAN DEFAULT false NOT NULL")


def upgrade() -> None:
    online.add_columns("receipts", REMARKS)
    online.add_columns("settlement_parts", MOVED)


def downgrade() -> None:
    online.drop_columns("settlement_parts", MOVED)
    online.drop_columns("receipts", REMARKS)
