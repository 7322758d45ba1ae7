"""A merchant's VAT rates have dates; what it was told of the bounds of its income is kept."""

from alembic import op

from app.db import online

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

COLUMNS = (("vat", "JSONB DEFAULT '{}'::jsonb NOT NULL"), ("vat_reviewed_at", "TIMESTAMP WITH TIME ZONE"))

NOBODY = "nullif(current_setting('kassa.merchant', true), '')::uuid"

TABLES = {
    "vat_reviews": """
        CREATE TABLE vat_reviews (
          merchant_id UUID NOT NULL,
          year SMALLINT NOT NULL,
          kind TEXT NOT NULL,
          bound_year SMALLINT NOT NULL,
          percent SMALLINT NOT NULL,
          income BIGINT NOT NULL,
          bound BIGINT NOT NULL,
          told_at TIMESTAMP WITH TIME ZONE DEFAULT kassa_now() NOT NULL,
          CONSTRAINT pk_vat_reviews PRIMARY KEY (merchant_id, year, kind, bound_year, percent),
          CONSTRAINT fk_vat_reviews_merchant_id FOREIGN KEY(merchant_id) REFERENCES merchants (id)
        )
        """,
}


def upgrade() -> None:
    online.add_columns("merchants", *COLUMNS)
    for table, definition in TABLES.items():
        op.execute(definition)
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO kassa_pipeline")
        op.execute(f"GRANT SELECT ON {table} TO kassa_api")
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY tenant ON {table} TO kassa_api USING (merchant_id = {NOBODY})")
        op.execute(f"CREATE POLICY pipeline ON {table} TO kassa_pipeline USING (true) WITH CHECK (true)")


def downgrade() -> None:
    online.drop_columns("merchants", *COLUMNS)
    for table in TABLES:
        op.execute(f"DROP TABLE {table}")
