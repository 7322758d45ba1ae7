"""Business refusals as values of the language: a stable code and the facts, no HTTP (the edge maps them once)."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """What a finding means for the receipt: it cannot be sent, a person should look, or it was put right here."""

    ERROR = "error"
    WARNING = "warning"
    FIXED = "fixed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong with a request: where (JSON pointer), which rule and tag, in both languages, how to mend it."""

    pointer: str
    rule: str
    detail: str
    detail_ru: str
    tag: int | None = None
    fix: str | None = None
    severity: Severity = Severity.ERROR


class KassaError(Exception):
    """Root of all business refusals. `code` is a problem slug; `facts` are extra members of the problem document."""

    code = "internal-error"

    def __init__(self, detail: str, **facts: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.facts = facts


class NotFound(KassaError):
    """No such thing here; a foreign tenant's thing looks the same."""

    code = "not-found"


class Conflict(KassaError):
    """The present state forbids it."""

    code = "state-conflict"


class PreconditionFailed(KassaError):
    """The caller acted on a state that is no longer the present one."""

    code = "precondition-failed"


class DuplicateEvent(KassaError):
    """The same identity with other content."""

    code = "duplicate-event"


class Invalid(KassaError):
    """The request is well-formed but cannot become a receipt; all findings at once."""

    code = "fiscal-rule-violation"

    def __init__(self, detail: str, findings: tuple[Finding, ...] = (), **facts: object) -> None:
        super().__init__(detail, **facts)
        self.findings = findings


class TotalsMismatch(Invalid):
    """Lines, payments and amount do not add up to each other."""

    code = "receipt-totals-mismatch"


class RefundExceedsPayment(Invalid):
    """More would be returned than was sold."""

    code = "refund-exceeds-payment"


class ProviderNotConfigured(KassaError):
    """No driver of this name, or a kassa that cannot be used as it stands."""

    code = "provider-not-configured"


class UrlForbidden(KassaError):
    """A customer-supplied address that we must not call."""

    code = "webhook-url-forbidden"


class KeyReused(KassaError):
    """An Idempotency-Key came back with other content."""

    code = "idempotency-key-reused"


class RequestInProgress(KassaError):
    """The first request with this Idempotency-Key is still running."""

    code = "idempotency-request-in-progress"


class SignatureInvalid(KassaError):
    """A notification that its source cannot have sent."""

    code = "signature-invalid"


class Busy(KassaError):
    """Too much at once, or the database is away; the same request may be repeated."""

    code = "service-unavailable"

    def __init__(self, detail: str, retry_after_seconds: int = 1, **facts: object) -> None:
        super().__init__(detail, **facts)
        self.retry_after_seconds = retry_after_seconds


class Contended(Busy):
    """Others were changing the same rows at this moment; nothing was done."""
