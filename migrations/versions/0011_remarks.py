"""Receipts keep what planning noticed, put right and took from their lines; payments may offset prepayments."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '1s'")
    op.execute("ALTER TABLE receipts ADD COLUMN remarks JSONB")
    op.execute("ALTER TABLE settlement_parts ADD COLUMN moved BOOLEAN DEFAULT false NOT NULL")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '1s'")
    op.execute("ALTER TABLE settlement_parts DROP COLUMN moved")
    op.execute("ALTER TABLE receipts DROP COLUMN remarks")
