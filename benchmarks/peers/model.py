"""The event as a usual service declares it, and the three tables it keeps; shared by the echo and both peer ingests."""

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

Kopecks = Annotated[int, Field(ge=0, le=10**12)]
Text = Annotated[str, Field(min_length=1, max_length=255)]

TABLES = """
CREATE TABLE peer_events (
  id uuid PRIMARY KEY, external_id text NOT NULL UNIQUE, type text NOT NULL, amount bigint NOT NULL,
  payload jsonb NOT NULL, received_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE peer_receipts (
  id uuid PRIMARY KEY, event_id uuid NOT NULL REFERENCES peer_events (id), status text NOT NULL, total bigint NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON peer_receipts (event_id);
CREATE TABLE peer_jobs (
  id uuid PRIMARY KEY, kind text NOT NULL, receipt_id uuid NOT NULL REFERENCES peer_receipts (id),
  run_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON peer_jobs (run_at);
"""


class Customer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    email: Text | None = None
    phone: Text | None = None
    name: Text | None = None


class Item(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Text
    sku: Text | None = None
    quantity: Annotated[str, Field(pattern=r"^[0-9]{1,8}(\.[0-9]{1,6})?$")]
    price: Kopecks
    amount: Kopecks
    vat: Literal["none", "vat0", "vat10", "vat20"]
    payment_method: Literal["full_prepayment", "prepayment", "advance", "full_payment"]
    payment_object: Literal["service", "commodity", "payment"]
    measure: Literal["piece", "hour"]


class Event(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["payment.succeeded", "refund.succeeded", "order.settled"]
    external_id: Text
    order_id: Text | None = None
    occurred_at: AwareDatetime
    amount: Kopecks
    currency: Literal["RUB"]
    customer: Customer
    items: Annotated[list[Item], Field(min_length=1, max_length=100)]
    metadata: dict[str, Any] = {}


class Stored(BaseModel):
    """The answer: 202 with the id."""

    id: str
    status: str
