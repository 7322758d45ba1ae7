"""What the protocol of a receipt keeps beside its states: late answers in full, hints, and since when is forgotten."""

from app.db import online

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

COLUMNS = {
    "attempts": ("found", "JSONB"),
    "jobs": ("hinted", "BOOLEAN DEFAULT false NOT NULL"),
    "installation": ("forgotten_from", "TIMESTAMP WITH TIME ZONE"),
}


def upgrade() -> None:
    for table, column in COLUMNS.items():
        online.add_columns(table, column)


def downgrade() -> None:
    for table, column in reversed(COLUMNS.items()):
        online.drop_columns(table, column)
