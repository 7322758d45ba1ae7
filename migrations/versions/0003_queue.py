"""Leases of a lane in the order in which they were given, so that counting those alive skips the ones that ended."""

from app.db import online

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    online.replace_index("ix_jobs_leased", "jobs (lane, lease_token) WHERE lease_token IS NOT NULL")


def downgrade() -> None:
    online.replace_index("ix_jobs_leased", "jobs (lane, lease_until) WHERE lease_token IS NOT NULL")
