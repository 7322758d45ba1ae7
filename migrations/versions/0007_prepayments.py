"""Prepayments are listed while they are open, closings draw on several payments, older sales are returned from."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

PREPAID_SALE = (
    """operation = 'sell' AND document @? '$.items[*] ? (@.payment_method == "full_prepayment" """
    """|| @.payment_method == "prepayment" || @.payment_method == "advance")'::jsonpath"""
)

NOBODY = "nullif(current_setting('kassa.merchant', true), '')::uuid"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '1s'")
    op.execute("ALTER TABLE chains ADD COLUMN original JSONB")
    op.execute("ALTER TABLE receipts ADD COLUMN prepayment_closed BOOLEAN DEFAULT false NOT NULL")
    op.execute(
        "CREATE INDEX ix_receipts_prepaid ON receipts (merchant_id, prepayment_closed, created_at, id) "
        f"WHERE {PREPAID_SALE}"
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
    op.execute("SET LOCAL lock_timeout = '1s'")
    op.execute("DROP TABLE settlement_parts")
    op.execute("DROP INDEX ix_receipts_prepaid")
    op.execute("ALTER TABLE receipts DROP COLUMN prepayment_closed")
    op.execute("ALTER TABLE chains DROP COLUMN original")
