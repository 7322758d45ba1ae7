"""When a receipt may be corrected at all: its fate is known, and what was returned of it still fits.

A receipt with a send that is not proven absent is never corrected: it may be printed.
"""

from app.db.repos import receipts
from app.db.repos.receipts import ReceiptRow
from app.db.unit_of_work import Tx
from app.domain.correction import Case
from app.domain.errors import Conflict
from app.domain.ffd import Operation
from app.domain.lifecycle import Status
from app.services.correction_standing import Standing

_UNSENT = (Status.HELD, Status.REJECTED, Status.CANCELLED)
_UNKNOWN = (Status.SENDING, Status.ACCEPTED, Status.UNKNOWN, Status.NEEDS_ATTENTION)
_SALES = (Operation.SELL.code, Operation.BUY.code)


async def must_be_correctable(tx: Tx, row: ReceiptRow, case: Case) -> None:
    """Conflict when the state of a locked receipt forbids this case: its fate is open, or it is not what is told."""
    status = Status(row.status)
    if status in _UNKNOWN:
        raise forbidden("outcome_unknown", "whether this receipt was made is not known; find it out first", row)
    if case is not Case.NOT_REGISTERED:
        if status is not Status.FISCALIZED or row.fiscal is None or row.fpd is None:
            raise forbidden("receipt_not_made", "only a receipt that was made can be wrong", row)
        return
    if status is Status.FISCALIZED:
        raise forbidden("receipt_exists", "this payment has its receipt; it is not missing", row)
    if status not in _UNSENT:
        raise forbidden("receipt_under_way", "this receipt will be sent; cancel it first", row)
    if (row.failure or {}).get("answer") == "made_elsewhere":
        raise forbidden("receipt_made_elsewhere", "another receipt stands for this money", row)
    earlier = await receipts.earlier_attempts(tx, row.id, row.provider_id)
    if earlier.unproven or earlier.evidence or earlier.undecided_ids:
        raise forbidden(
            "attempt_not_proven_absent",
            "an earlier send of this receipt is not proven absent; look it up before correcting",
            row,
        )


def must_hold_the_rest(row: ReceiptRow, stands: Standing, total: int) -> None:
    """What was returned and closed of a sale must not be more than its right sum."""
    gone = (Status.CANCELLED.value, Status.REJECTED.value, Status.HELD.value)
    others = [one for one in stands.rows if one.id != row.id and one.status not in gone]
    sale = stands.sale
    returned = sum(one.total for one in others if Operation.parse(one.operation).is_refund)
    closed = sum(one.total for one in others if one.operation in _SALES and one is not sale)
    if sale is not None and row.id == sale.id and max(returned, closed) > total:
        raise forbidden("refunds_exceed", "more was returned or closed of this sale than its right sum", row)
    if sale is not None and Operation.parse(row.operation).is_refund and returned + total > sale.total:
        raise forbidden("refunds_exceed", "the right sum is more than what is left of the sale", row)


def forbidden(rule: str, detail: str, row: ReceiptRow) -> Conflict:
    """The refusal of a correction by the state of its receipt."""
    return Conflict(detail, rule=rule, current_state=row.status)
