"""The requisites of a receipt on the wire: what its page shows, for programs."""

from pydantic import Field

from app.api.types import ReceiptId, ResponseModel


class RequisiteOut(ResponseModel):
    """One requisite, or a structure with parts (STLV)."""

    tag: int | None = Field(description="Tag of the fiscal format; null for what is no part of the document.")
    label: str = Field(description="In Russian, as on the page; empty where the page shows no label.")
    text: str | None = Field(description="As people read it; null for a structure.")
    value: str | None = Field(
        description="As the document carries it: the number of an enumeration, roubles with a dot, local time without "
        "a zone, a marking code in base64; null for a structure."
    )
    link: str | None = Field(description="Where more can be read.")
    parts: list["RequisiteOut"] = Field(description="What a structure consists of.")


class RequisitesOut(ResponseModel):
    """Everything that stands on the page of a receipt, in its order."""

    receipt_id: ReceiptId
    title: str
    printed: bool = Field(description="Whether a register has printed it; before, this is a draft.")
    qr: str | None = Field(description="Text of the QR code (tag 1196).")
    requisites: list[RequisiteOut]
    notes: list[str] = Field(description="How lines and sums came about, in Russian.")
