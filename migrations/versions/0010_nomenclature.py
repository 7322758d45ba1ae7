"""Nomenclature: rules that fill the lines of receipts, in all their versions, and the policy where none fits."""

from app.db import online

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

COLUMNS = {
    "merchants": (
        ("unmapped", "TEXT DEFAULT 'default' NOT NULL"),
        ("nomenclature_version", "INTEGER DEFAULT 0 NOT NULL"),
        ("nomenclature_at", "TIMESTAMP WITH TIME ZONE"),
    ),
    "sources": (("unmapped", "TEXT"),),
    "receipts": (("nomenclature", "JSONB"),),
}

RULES = (
    """
    CREATE TABLE nomenclature_rules (
      id UUID NOT NULL,
      since INTEGER NOT NULL,
      until INTEGER,
      merchant_id UUID NOT NULL,
      priority INTEGER DEFAULT 0 NOT NULL,
      source_id UUID,
      branch_id UUID,
      payment_type TEXT,
      sku TEXT,
      pattern TEXT,
      name TEXT,
      payment_object TEXT,
      payment_method TEXT,
      vat TEXT,
      measure TEXT,
      agent JSONB,
      override BOOLEAN DEFAULT false NOT NULL,
      comment TEXT,
      actor TEXT NOT NULL,
      created_at TIMESTAMP WITH TIME ZONE DEFAULT kassa_now() NOT NULL,
      changed_at TIMESTAMP WITH TIME ZONE DEFAULT kassa_now() NOT NULL,
      CONSTRAINT pk_nomenclature_rules PRIMARY KEY (id, since),
      CONSTRAINT fk_nomenclature_rules_merchant_id FOREIGN KEY(merchant_id) REFERENCES merchants (id),
      CONSTRAINT fk_nomenclature_rules_source_id FOREIGN KEY(source_id) REFERENCES sources (id),
      CONSTRAINT fk_nomenclature_rules_branch_id FOREIGN KEY(branch_id) REFERENCES branches (id)
    )
    """,
    "CREATE INDEX ix_nomenclature_rules_merchant_id ON nomenclature_rules (merchant_id, created_at, id)",
)


def upgrade() -> None:
    for table, columns in COLUMNS.items():
        online.add_columns(table, *columns)
    online.create_tables(("nomenclature_rules",), *RULES, *online.of_tenants("nomenclature_rules"))


def downgrade() -> None:
    for table, columns in reversed(COLUMNS.items()):
        online.drop_columns(table, *columns)
    online.drop_tables("nomenclature_rules")
