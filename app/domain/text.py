"""Text that a register can print: CP866, one byte per character, no control characters.

A provider refuses the whole receipt for one sign outside CP866 («», ₽, emoji), so names are fitted before sending.
"""

import re
import unicodedata
from functools import lru_cache

_QUOTES = dict.fromkeys('«»“”„‟‹›″〝〞＂"', '"') | dict.fromkeys("‘’‚‛′`´ʼ＇'", "'")
_DASHES = dict.fromkeys("‐‑‒–—―−﹘﹣－-", "-")
_WORDS = {
    "…": "...",
    "₽": "руб.",
    "€": "EUR",
    "£": "GBP",
    "×": "x",
    "÷": "/",
    "±": "+-",
    "•": "*",
    "©": "(c)",
    "®": "(R)",
    "™": "(TM)",
    "§": "п.",
    "µ": "u",
    "і": "i",
    "І": "I",
    "ґ": "г",
    "Ґ": "Г",
    "⁄": "/",
}
_CHANGE_OF = (
    dict.fromkeys(_QUOTES, "quotes")
    | dict.fromkeys(_DASHES, "dashes")
    | dict.fromkeys(_WORDS, "letters")
    | {"…": "ellipsis", "₽": "rouble"}
)
_REPLACEMENT = _QUOTES | _DASHES | _WORDS
_PRINTABLE = frozenset(bytes(range(0x20, 0x7F)).decode("cp866") + bytes(range(0x80, 0x100)).decode("cp866"))
_AS_IS = frozenset(char for char in _PRINTABLE if _REPLACEMENT.get(char, char) == char) - {"\u00a0"}

# An expression runs over a text ten times faster than a set.
_PRINTABLE_TEXT = re.compile(f"[{re.escape(''.join(sorted(_PRINTABLE)))}]*")
_FITTING_TEXT = re.compile(f"[{re.escape(''.join(sorted(_AS_IS)))}]*")

CHANGES = ("quotes", "dashes", "ellipsis", "rouble", "letters", "dropped", "control", "spaces", "truncated")
"""Everything `fit` may say that it did, in the order it says it."""


def cp866_safe(text: str) -> bool:
    """Whether a register prints the text as it stands."""
    return _PRINTABLE_TEXT.fullmatch(text) is not None


def fit(text: str, limit: int) -> tuple[str, tuple[str, ...]]:
    """The text as a register can print it, at most `limit` characters, and what was changed (members of CHANGES).

    Typographic signs get their plain twins, letters without one become "?", other signs a space; runs of spaces shrink
    to one. A long text ends at a word boundary where one is near. The result is empty only when nothing printable is
    left. ValueError for a limit below one.
    """
    if limit < 1:
        raise ValueError("a text needs room for at least one character")
    if len(text) <= limit and "  " not in text and text == text.strip(" ") and _FITTING_TEXT.fullmatch(text):
        return text, ()
    return _fitted(text, limit)


@lru_cache(maxsize=2048)
def _fitted(text: str, limit: int) -> tuple[str, tuple[str, ...]]:
    """Remembered, because a shop sells the same things all day."""
    changes: set[str] = set()
    composed = unicodedata.normalize("NFC", text)
    plain = composed.translate({ord(char): _plain(char, changes) for char in set(composed) - _AS_IS})
    words = " ".join(plain.split())
    if words != plain:
        changes.add("spaces")
    if len(words) > limit:
        changes.add("truncated")
        words = _cut(words, limit)
    return words, tuple(change for change in CHANGES if change in changes)


def _plain(char: str, changes: set[str]) -> str:
    if char in _REPLACEMENT:
        plain = _REPLACEMENT[char]
        if plain != char:
            changes.add(_CHANGE_OF[char])
        return plain
    kind = unicodedata.category(char)
    if kind == "Cc":
        changes.add("control")
        return " "
    if kind == "Zs":
        if char != " ":
            changes.add("spaces")
        return " "
    if char in _PRINTABLE:
        return char
    return _approximate(char, kind, changes)


def _approximate(char: str, kind: str, changes: set[str]) -> str:
    """é → e, ﬁ → fi, ½ → 1/2; a letter without such a twin "?"; emoji a space; joiners and marks nothing."""
    if kind[0] in "MC" or kind == "Sk":
        changes.add("dropped")
        return ""
    twin = "".join(
        _REPLACEMENT.get(part, part)
        for part in unicodedata.normalize("NFKD", char)
        if not unicodedata.category(part).startswith("M")
    )
    if twin and cp866_safe(twin):
        changes.add("letters")
        return twin
    changes.add("dropped")
    return "?" if kind[0] in "LN" else " "


def _cut(text: str, limit: int) -> str:
    if text[limit] == " ":
        return text[:limit].rstrip()
    at_word = text.rfind(" ", 0, limit)
    end = at_word if at_word >= limit * 3 // 4 else limit
    return text[:end].rstrip(" ,;:-(") or text[:limit]
