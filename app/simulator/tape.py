"""One virtual fiscal storage: what was really printed, in order, never changed; the oracle of every test.

It numbers documents without gaps from 1 and keeps shifts, as a real storage does. It does not deduplicate: whoever
prints the same payment twice finds two documents here.
"""

import binascii
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from app.domain.ffd import Operation, Taxation

Kind = Literal["receipt", "correction", "shift_opened", "shift_closed"]

SHIFT_LIMIT = timedelta(hours=24)
"""A shift older than this must be closed before the next receipt."""


@dataclass(frozen=True, slots=True)
class Order:
    """A receipt to print. `total` is kopecks; `group` is the provider's register or group; `body` is what was sent."""

    provider: str
    provider_id: str
    group: str
    operation: Operation
    correction: bool
    total: int
    taxation: Taxation | None
    body: dict[str, Any]
    utc_offset_hours: int = 3
    body_sha256: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        return self.provider, self.group, self.provider_id


@dataclass(frozen=True, slots=True)
class Document:
    """One printed document. Shift reports take a number (FD) of their own and have no order behind them."""

    kind: Kind
    fn: str
    fd: int
    fpd: int
    kkt_rn: str
    kkt_serial: str
    shift: int
    number_in_shift: int
    at: datetime
    local_time: str
    provider: str | None = None
    provider_id: str | None = None
    group: str | None = None
    operation: str | None = None
    correction: bool = False
    total: int = 0
    taxation: str | None = None
    body: dict[str, Any] | None = None
    body_sha256: str | None = None
    qr: str | None = None

    @property
    def is_receipt(self) -> bool:
        return self.kind in ("receipt", "correction")

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "at": self.at.isoformat().replace("+00:00", "Z")}


@dataclass(frozen=True, slots=True)
class Shift:
    """The shift as it stands; `receipts` counts receipts and corrections (tag 1042)."""

    number: int
    opened_at: datetime
    receipts: int = 0


class ShiftError(Exception):
    """A shift was opened twice, closed twice, or is needed and closed."""


class Tape:
    """Append-only ledger of one fiscal storage. With a path every document is on disk before it is answered for."""

    def __init__(
        self,
        path: Path | None = None,
        *,
        fsync: bool = True,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        fn: str = "9999078902000001",
        kkt_serial: str = "00307900000001",
        inn: str = "7700000009",
    ) -> None:
        self.now = now
        self.fn, self.kkt_serial = fn, kkt_serial
        self.kkt_rn = registration_number(1, inn, kkt_serial)
        self.documents: list[Document] = []
        self.receipts: list[Document] = []  # the documents without shift reports
        self.waiting: dict[tuple[str, str, str], Order] = {}
        self.shift: Shift | None = None
        self.auto_shift = True
        self._by_key: dict[tuple[str, str, str], list[Document]] = {}
        self._fsync = fsync
        self._file = None if path is None else _open(path)
        if self._file is not None:
            self._reload(self._file)

    @property
    def persistent(self) -> bool:
        return self._file is not None

    @property
    def can_print(self) -> bool:
        """False when somebody chose to keep shifts by hand and none is open or it has expired."""
        return self.auto_shift or (self.shift is not None and not self._expired(self.shift))

    def find(self, provider: str, group: str, provider_id: str) -> list[Document]:
        """Every document printed under this id: two of them are the disaster the gateway exists to prevent."""
        return list(self._by_key.get((provider, group, provider_id), ()))

    def queue(self, order: Order) -> None:
        """Keep an order that was accepted and is printed later; it outlives a restart when the tape has a file."""
        self.waiting[order.key] = order
        self._write({"record": "queued", **asdict(order), **_codes(order), "body": masked(order.body)})

    def drop(self, key: tuple[str, str, str]) -> None:
        """Forget a queued order that will never be printed."""
        if self.waiting.pop(key, None) is not None:
            self._write({"record": "dropped", "key": list(key)})

    def print_receipt(self, order: Order) -> Document:
        """Print now, opening or renewing the shift when shifts are automatic; ShiftError otherwise."""
        shift = self._shift_for_printing()
        return self._print(
            "correction" if order.correction else "receipt",
            replace(shift, receipts=shift.receipts + 1),
            order.utc_offset_hours,
            provider=order.provider,
            provider_id=order.provider_id,
            group=order.group,
            correction=order.correction,
            total=order.total,
            body=masked(order.body),
            body_sha256=order.body_sha256 or fingerprint(order.body),
            **_codes(order),
        )

    def open_shift(self) -> Document:
        """Print the report that opens the next shift."""
        if self.shift is not None:
            raise ShiftError(f"shift {self.shift.number} is already open")
        last = self.documents[-1].shift if self.documents else 0
        return self._print("shift_opened", Shift(last + 1, self.now()))

    def close_shift(self) -> Document:
        """Print the report that closes the open shift."""
        if self.shift is None:
            raise ShiftError("no shift is open")
        return self._print("shift_closed", self.shift)

    def close(self) -> None:
        """Close the ledger file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _expired(self, shift: Shift) -> bool:
        return self.now() - shift.opened_at >= SHIFT_LIMIT

    def _shift_for_printing(self) -> Shift:
        if not self.can_print:
            raise ShiftError("shifts are kept by hand and none is open")
        if self.shift is not None and not self._expired(self.shift):
            return self.shift
        if self.shift is not None:
            self.close_shift()
        opened = self.open_shift()
        return Shift(opened.shift, opened.at)

    def _print(self, kind: Kind, shift: Shift, utc_offset_hours: int = 3, **about: Any) -> Document:
        at = self.now().astimezone(UTC).replace(microsecond=0)
        local = at.astimezone(timezone(timedelta(hours=utc_offset_hours)))
        fd = len(self.documents) + 1
        document = Document(
            kind=kind,
            fn=self.fn,
            fd=fd,
            fpd=_sign(self.fn, fd, kind, at, about),
            kkt_rn=self.kkt_rn,
            kkt_serial=self.kkt_serial,
            shift=shift.number,
            number_in_shift=shift.receipts,
            at=at,
            local_time=local.strftime("%Y-%m-%dT%H:%M:%S"),
            **about,
        )
        if document.is_receipt:
            document = replace(document, qr=qr_text(document))
        self._write({"record": "document", **document.as_json()})
        self._take(document)
        return document

    def _take(self, document: Document) -> None:
        self.documents.append(document)
        match document.kind:
            case "shift_opened":
                self.shift = Shift(document.shift, document.at)
            case "shift_closed":
                self.shift = None
            case "receipt" | "correction":
                self.receipts.append(document)
                if self.shift is not None:
                    self.shift = replace(self.shift, receipts=document.number_in_shift)
                key = (document.provider or "", document.group or "", document.provider_id or "")
                self._by_key.setdefault(key, []).append(document)
                self.waiting.pop(key, None)

    def _write(self, record: dict[str, Any]) -> None:
        if self._file is None:
            return
        os.write(self._file, json.dumps(record, ensure_ascii=False, default=_plain).encode() + b"\n")
        if self._fsync:
            os.fsync(self._file)

    def _reload(self, file: int) -> None:
        for record in _records(file):
            match record.pop("record"):
                case "document":
                    self._take(Document(**{**record, "at": datetime.fromisoformat(record["at"])}))
                case "queued":
                    taxation = record["taxation"]
                    order = Order(
                        **{
                            **record,
                            "operation": Operation.parse(record["operation"]),
                            "taxation": Taxation.parse(taxation) if taxation else None,
                        }
                    )
                    self.waiting[order.key] = order
                case "dropped":
                    first, second, third = record["key"]
                    self.waiting.pop((first, second, third), None)


def registration_number(ordinal: int, inn: str, kkt_serial: str) -> str:
    """РН ККТ, tag 1037: 10 digits of the ordinal and 6 check digits (CRC16-CCITT over ordinal, INN and serial)."""
    ten = str(ordinal).zfill(10)
    check = binascii.crc_hqx((ten + inn.zfill(12) + kkt_serial.zfill(20)).encode("ascii"), 0xFFFF)
    return f"{ten}{check:06d}"


def qr_text(document: Document) -> str:
    """The six fields of a receipt's QR, in the order of the fiscal format."""
    stamp = datetime.fromisoformat(document.local_time).strftime("%Y%m%dT%H%M")
    operation = Operation.parse(document.operation or "sell").tag_value
    roubles, kopecks = divmod(document.total, 100)
    fields = f"s={roubles}.{kopecks:02d}&fn={document.fn}&i={document.fd}&fp={document.fpd}&n={operation}"
    return f"t={stamp}&{fields}"


def fingerprint(body: dict[str, Any]) -> str:
    """Same content, same text: tells a repeat from another receipt under the same id."""
    text = json.dumps(body, ensure_ascii=False, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


_EMAIL = re.compile(r"^([^@\s])[^@\s]*@([^@\s]+)$")
_PHONE = re.compile(r"^\+?\d{7,15}$")


def masked(value: Any, member: str = "") -> Any:
    """The same value with every e-mail and telephone made unreadable: a ledger is shown to people."""
    if isinstance(value, dict):
        return {name: masked(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [masked(inner, member) for inner in value]
    if isinstance(value, Decimal):
        return _plain(value)
    if isinstance(value, str) and (address := _EMAIL.match(value)):
        return f"{address[1]}***@{address[2]}"
    if isinstance(value, str) and "phone" in member.lower() and _PHONE.match(value):
        return f"{value[:2]}***{value[-2:]}"
    return value


def _sign(fn: str, fd: int, kind: Kind, at: datetime, about: dict[str, Any]) -> int:
    """ФПД, tag 1077: ten digits that depend on everything printed, so that no two documents share one by habit."""
    text = json.dumps([fn, fd, kind, at.isoformat(), about], ensure_ascii=False, sort_keys=True, default=_plain)
    return 1_000_000_000 + int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % (2**32 - 1_000_000_000)


def _codes(order: Order) -> dict[str, str | None]:
    """The enumerations of an order as they stand in the ledger."""
    return {"operation": order.operation.code, "taxation": order.taxation.code if order.taxation else None}


def _plain(value: Any) -> int | float:
    """A Decimal of a parsed body as a JSON number, for the copy that is shown; sums are `total`."""
    return int(value) if value == int(value) else float(value)


def _open(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)


def _records(file: int) -> Iterator[dict[str, Any]]:
    """Whole lines of the ledger. A torn last line was never answered for: it is cut off."""
    os.lseek(file, 0, os.SEEK_SET)
    with os.fdopen(os.dup(file), "rb") as ledger:
        content = ledger.read()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.ftruncate(file, whole)
    for line in content[:whole].splitlines():
        yield json.loads(line)
