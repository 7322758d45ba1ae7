"""The QR text of a fiscal document: how anybody checks a receipt with the tax service.

Six fields in a fixed order, no URL. Written exactly as the format says (FNS order ЕД-7-20/662@); read as
generously as devices and links are.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

from app.domain.ffd import Operation
from app.domain.money import kopecks, roubles
from app.domain.receipt import FiscalData

_ISO = re.compile(r"([0-9]{4})-?([0-9]{2})-?([0-9]{2})[T ]([0-9]{2}):?([0-9]{2})(?::?([0-9]{2}))?(?:\.[0-9]+)?")
_RUSSIAN = re.compile(r"([0-9]{2})\.([0-9]{2})\.([0-9]{4})[T ,]+([0-9]{2}):([0-9]{2})(?::([0-9]{2}))?")
_OFFSET = re.compile(r"(?:[+-][0-9]{2}:?[0-9]{2})?")
_SUM = re.compile(r"[0-9]{1,12}(\.[0-9]{1,2})?")
_FN = re.compile(r"[0-9]{16}")
_NUMBER = re.compile(r"[0-9]{1,10}")


@dataclass(frozen=True, slots=True)
class QrData:
    """What a QR text says. `local_time` is ISO without a zone, as printed by the register; `total` is kopecks."""

    local_time: str
    total: int
    fn: str
    fd: int
    fpd: str
    operation: Operation


def qr_text(fiscal: FiscalData, operation: Operation, total: int, *, timezone: str | None = None) -> str:
    """`t=20261123T1505&s=1220.00&fn=…&i=…&fp=…&n=1` for a document; `total` in kopecks.

    The time is the register's own (`local_time`). Where a provider gave none that can be read, it is the UTC moment in
    `timezone` (IANA); ValueError when that is missing too.
    """
    moment = _local(fiscal.local_time)
    if moment is None:
        if timezone is None:
            raise ValueError("the provider's local time cannot be read, and no time zone was given instead")
        moment = fiscal.fiscalized_at.astimezone(ZoneInfo(timezone))
    return (
        f"t={moment:%Y%m%dT%H%M}&s={roubles(total)}&fn={fiscal.fn}&i={fiscal.fd}"
        f"&fp={int(fiscal.fpd)}&n={operation.tag_value}"
    )


def parse_qr(text: str) -> QrData:
    """What a QR text or a link carrying one says: any order, with or without seconds, dot or comma, leading zeros.

    Without `n` it is a sale. ValueError with a plain sentence when a field is missing or malformed.
    """
    fields = dict(reversed(parse_qsl(re.split(r"[?#]", text.strip())[-1], keep_blank_values=True)))
    moment = _local(fields.get("t", ""))
    if moment is None:
        raise ValueError("the QR text has no time such as t=20261123T1505")
    total = fields.get("s", "").replace(",", ".")
    if not _SUM.fullmatch(total):
        raise ValueError("the QR text has no sum such as s=1220.00")
    if not _FN.fullmatch(fields.get("fn", "")):
        raise ValueError("the QR text has no fiscal storage number (fn) of 16 digits")
    document, sign = fields.get("i", ""), fields.get("fp", "")
    if not _NUMBER.fullmatch(document) or not _NUMBER.fullmatch(sign):
        raise ValueError("the QR text lacks the document number (i) or the fiscal sign (fp)")
    operation = next((each for each in Operation if str(each.tag_value) == fields.get("n", "1")), None)
    if operation is None:
        raise ValueError("the QR text names no operation from n=1 to n=4")
    return QrData(moment.isoformat(), kopecks(total), fields["fn"], int(document), str(int(sign)), operation)


def _local(text: str) -> datetime | None:
    """Wall-clock time in one of the spellings that registers use; None for anything else, UTC included."""
    text = text.strip()
    if found := _ISO.match(text):
        year, month, day, hour, minute, second = found.groups(default="00")
    elif found := _RUSSIAN.match(text):
        day, month, year, hour, minute, second = found.groups(default="00")
    else:
        return None
    # "Z" would be UTC, and a receipt shows the time of its settlement address.
    if not _OFFSET.fullmatch(text[found.end() :]):
        return None
    try:
        return datetime.fromisoformat(f"{year}-{month}-{day}T{hour}:{minute}:{second}")
    except ValueError:
        return None
