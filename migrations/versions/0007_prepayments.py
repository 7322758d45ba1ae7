"""Prepayments are listed while they are open, closings draw on several payments, older sales are returned from."""

from alembic import op

from app.db import online

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

PREPAID_SALE = (
    """operation = 'sell' AND document @? '$.items[*] ? (@.payment_method == "full_prepayment" """
    """|| @.payment_method == "prepayment" || @.payment_method == "advance")'::jsonpath"""
)

ORIGINAL = ("original", "JSONB")
CLOSED = ("prepayment_closed", "BOOLEAN DEFAULT false NOT NULL")

NOBODY = "nullif(current_setting('kassa.merchant', true), '')::uuid"


def upgrade() -> None:
    online.add_columns("chains", ORIGINAL)
    online.add_columns("receipts", CLOSED)
    online.create_index(
        "ix_receipts_prepaid", f"receipts (merchant_id, prepayment_closed, created_at, id) WHERE {PREPAID_SALE}"
    )
    op.execute(
        """
        CREATE TABLE settlement_parts (
          receipt_id UUID NOT NULL,
          chain_id UUID NOT NULL,
          merchant_id UUID NOT NULL,
          amount BIGINT NOT NULL,
          items JSONB NOT NULL,
          created_at TIMESTAMP WITH TIME ZONE DEFAULT kassa_now() NOT NULL,
          CONSTRAINT pk_settlement_parts PRIMARY KEY (receipt_id, chain_id),
          CONSTRAINT fk_settlement_parts_chain_id FOREIGN KEY(chain_id) REFERENCES chains (id) ON DELETE CASCADE,
          CONSTRAINT fk_settlement_parts_merchant_id FOREIGN KEY(merchant_id) REFERENCES merchants (id)
        )
        """
    )
    op.execute("CREATE INDEX ix_settlement_parts_chain_id ON settlement_parts (chain_id)")
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON settlement_parts TO kassa_pipeline")
    op.execute("GRANT SELECT ON settlement_parts TO kassa_api")
    op.execute("ALTER TABLE settlement_parts ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE settlement_parts FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY tenant ON settlement_parts TO kassa_api USING (merchant_id = {NOBODY})")
    op.execute("CREATE POLICY pipeline ON settlement_parts TO kassa_pipeline USING (true) WITH CHECK (true)")


def downgrade() -> None:
    online.drop_index("ix_receipts_prepaid")
    online.drop_columns("receipts", CLOSED)
    online.drop_columns("chains", ORIGINAL)
    op.execute("DROP TABLE settlement_parts")
