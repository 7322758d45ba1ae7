"""A merchant's VAT rates have dates; what it was told of the bounds of its income is kept."""

from app.db import online

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

COLUMNS = (("vat", "JSONB DEFAULT '{}'::jsonb NOT NULL"), ("vat_reviewed_at", "TIMESTAMP WITH TIME ZONE"))

REVIEWS = """
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
"""


def upgrade() -> None:
    online.add_columns("merchants", *COLUMNS)
    online.create_tables(("vat_reviews",), REVIEWS, *online.of_tenants("vat_reviews"))


def downgrade() -> None:
    online.drop_columns("merchants", *COLUMNS)
    online.drop_tables("vat_reviews")
