"""A lane keeps when it was last let go: what waited for it is on its way then, not forgotten."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '1s'")
    op.execute("ALTER TABLE lanes ADD COLUMN resumed_at TIMESTAMP WITH TIME ZONE")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '1s'")
    op.execute("ALTER TABLE lanes DROP COLUMN resumed_at")
