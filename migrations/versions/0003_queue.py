"""Leases of a lane in the order in which they were given, so that counting those alive skips the ones that ended."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '1s'")
    op.execute("DROP INDEX ix_jobs_leased")
    op.execute("CREATE INDEX ix_jobs_leased ON jobs (lane, lease_token) WHERE lease_token IS NOT NULL")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '1s'")
    op.execute("DROP INDEX ix_jobs_leased")
    op.execute("CREATE INDEX ix_jobs_leased ON jobs (lane, lease_until) WHERE lease_token IS NOT NULL")
