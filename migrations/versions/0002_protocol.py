"""What the protocol of a receipt keeps beside its states: late answers in full, hints, and since when is forgotten."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '1s'")
    # No default that has to be written: none of these rewrites a table.
    op.execute("ALTER TABLE attempts ADD COLUMN found JSONB")
    op.execute("ALTER TABLE jobs ADD COLUMN hinted BOOLEAN DEFAULT false NOT NULL")
    op.execute("ALTER TABLE installation ADD COLUMN forgotten_from TIMESTAMP WITH TIME ZONE")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '1s'")
    op.execute("ALTER TABLE installation DROP COLUMN forgotten_from")
    op.execute("ALTER TABLE jobs DROP COLUMN hinted")
    op.execute("ALTER TABLE attempts DROP COLUMN found")
