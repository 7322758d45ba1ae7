"""Corrections: which documents put which receipt right, and lists of payments without receipts that are confirmed."""

from app.db import online

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE corrections (
      id UUID NOT NULL,
      merchant_id UUID NOT NULL,
      receipt_id UUID NOT NULL,
      event_id UUID NOT NULL,
      chain_id UUID NOT NULL,
      "case" TEXT NOT NULL,
      basis JSONB NOT NULL,
      other_document JSONB,
      reason TEXT,
      differences JSONB DEFAULT '[]'::jsonb NOT NULL,
      notes JSONB DEFAULT '[]'::jsonb NOT NULL,
      actor TEXT NOT NULL,
      created_at TIMESTAMP WITH TIME ZONE DEFAULT kassa_now() NOT NULL,
      CONSTRAINT pk_corrections PRIMARY KEY (id),
      CONSTRAINT uq_corrections_event_id UNIQUE (event_id),
      CONSTRAINT fk_corrections_merchant_id FOREIGN KEY (merchant_id) REFERENCES merchants (id)
    )
    """,
    "CREATE INDEX ix_corrections_chain_id ON corrections (chain_id)",
    """
    CREATE TABLE correction_batches (
      id UUID NOT NULL,
      merchant_id UUID NOT NULL,
      source_id UUID NOT NULL,
      token_hash BYTEA NOT NULL,
      documents INTEGER NOT NULL,
      refused INTEGER NOT NULL,
      total BIGINT NOT NULL,
      actor TEXT NOT NULL,
      created_at TIMESTAMP WITH TIME ZONE DEFAULT kassa_now() NOT NULL,
      expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
      confirmed_at TIMESTAMP WITH TIME ZONE,
      confirmed_by TEXT,
      CONSTRAINT pk_correction_batches PRIMARY KEY (id),
      CONSTRAINT fk_correction_batches_merchant_id FOREIGN KEY (merchant_id) REFERENCES merchants (id)
    )
    """,
    "CREATE INDEX ix_correction_batches_merchant_id ON correction_batches (merchant_id, created_at)",
    """
    CREATE TABLE correction_rows (
      id UUID NOT NULL,
      merchant_id UUID NOT NULL,
      batch_id UUID NOT NULL,
      number INTEGER NOT NULL,
      external_id TEXT,
      amount BIGINT,
      state TEXT NOT NULL,
      findings JSONB DEFAULT '[]'::jsonb NOT NULL,
      digest BYTEA,
      payload BYTEA,
      event_id UUID,
      CONSTRAINT pk_correction_rows PRIMARY KEY (id),
      CONSTRAINT uq_correction_rows_batch_id_number UNIQUE (batch_id, number),
      CONSTRAINT fk_correction_rows_merchant_id FOREIGN KEY (merchant_id) REFERENCES merchants (id),
      CONSTRAINT fk_correction_rows_batch_id FOREIGN KEY (batch_id) REFERENCES correction_batches (id) ON DELETE CASCADE
    )
    """,
)
TENANT_TABLES = ("corrections", "correction_batches", "correction_rows")


def upgrade() -> None:
    rights = [statement for table in TENANT_TABLES for statement in online.of_tenants(table)]
    online.create_tables(TENANT_TABLES, *TABLES, *rights)


def downgrade() -> None:
    online.drop_tables(*reversed(TENANT_TABLES))
