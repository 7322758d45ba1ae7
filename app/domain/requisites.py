"""Requisites of a fiscal document as people read them: label, text, tag, and the value that the document carries."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.domain.ffd import FfdEnum
from app.domain.money import roubles
from app.domain.text import fit

_SPACE = "\u00a0"
_LONGEST = 1024


@dataclass(frozen=True, slots=True)
class Requisite:
    """One fact: `text` for people, `value` as the fiscal document carries it.

    An enumeration's value is its number, money is roubles with a dot, time is local ISO, a marking code is base64.
    Without a tag it is no part of the fiscal document. Without a text it is not drawn, because what is drawn beside it
    says it already; it can still be read by machine. `link` is an http(s) address.
    """

    label: str
    text: str
    tag: int | None = None
    value: str = ""
    link: str | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """A structure of the format (STLV), such as the supplier's data (1224); without a label its parts stand alone."""

    label: str
    tag: int
    parts: "tuple[Part, ...]"


Part = Requisite | Group


def values(parts: Sequence[Part] | Iterator[Part], above: str = "") -> Iterator[tuple[str, str]]:
    """Each tagged fact as (path of tags, value): `1059/1224/1225` → the supplier's name."""
    for part in parts:
        match part:
            case Group(tag=tag, parts=inner):
                yield from values(inner, f"{above}{tag}/")
            case Requisite(tag=int() as tag, value=value):
                yield f"{above}{tag}", value
            case _:
                pass


def term(label: str, tag: int, member: FfdEnum) -> Requisite:
    return Requisite(label, member.ru, tag, str(member.tag_value))


def plain(label: str, tag: int, text: str, limit: int = _LONGEST) -> Requisite:
    """A text: people see it as it was written, the document has it in the signs that a register can print (CP866)."""
    return Requisite(label, text, tag, fit(text, limit)[0])


def money(label: str, tag: int | None, kopecks: int) -> Requisite:
    return Requisite(label, roubles_text(kopecks), tag, str(roubles(kopecks)))


def grand_total(label: str, kopecks: int) -> Requisite:
    return Requisite(label, f"{roubles_text(kopecks)}{_SPACE}₽", 1020, str(roubles(kopecks)))


def roubles_text(kopecks: int) -> str:
    """`1 490,00`, its spaces not broken."""
    return f"{roubles(kopecks):,}".replace(",", _SPACE).replace(".", ",")


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]
