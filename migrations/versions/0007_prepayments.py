"""Prepayments are listed while they are open, closings draw on several payments, older sales are returned from."""

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

PARTS = (
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
    """,
    "CREATE INDEX ix_settlement_parts_chain_id ON settlement_parts (chain_id)",
)


def upgrade() -> None:
    online.add_columns("chains", ORIGINAL)
    online.add_columns("receipts", CLOSED)
    online.create_index(
        "ix_receipts_prepaid", f"receipts (merchant_id, prepayment_closed, created_at, id) WHERE {PREPAID_SALE}"
    )
    online.create_tables(("settlement_parts",), *PARTS, *online.of_tenants("settlement_parts"))


def downgrade() -> None:
    online.drop_index("ix_receipts_prepaid")
    online.drop_columns("receipts", CLOSED)
    online.drop_columns("chains", ORIGINAL)
    online.drop_tables("settlement_parts")
