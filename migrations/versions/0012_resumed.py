"""A lane keeps when it was last let go: what waited for it is on its way then, not forgotten."""

from app.db import online

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

RESUMED = ("resumed_at", "TIMESTAMP WITH TIME ZONE")


def upgrade() -> None:
    online.add_columns("lanes", RESUMED)


def downgrade() -> None:
    online.drop_columns("lanes", RESUMED)
