"""Tables as people save them: CSV with `;`, `,` or tabs, heads in English or Russian, words in either."""

import csv
import io
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from app.domain.errors import Finding
from app.domain.ffd import FfdEnum
from app.domain.sheet import plain

if TYPE_CHECKING:
    import _csv

_DELIMITERS = ";,\t"
_SPACES = re.compile(r"[\s\u00a0\u202f]+")


def read_table(text: str) -> list[tuple[int, list[str]]]:
    """Lines with cells, each with its number in the file, cells without spaces around them.

    A byte order mark and empty lines are passed over. ValueError when a quote is not closed.
    """
    text = text.removeprefix("\ufeff")
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(_DELIMITERS, key=first.count)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        return [(line, [cell.strip() for cell in cells]) for line, cells in _numbered(reader)]
    except csv.Error as error:
        raise ValueError(str(error)) from None


def unspaced(text: str) -> str:
    """Without any space, also those between thousands."""
    return _SPACES.sub("", text)


def word(text: str, kind: type[FfdEnum], known: Mapping[str, FfdEnum]) -> FfdEnum | None:
    """The member that a cell names: by its API name, its Russian term, or one of `known`."""
    found = known.get(unspaced(plain(text)).removeprefix("ндс").removesuffix("%"))
    if found is not None:
        return found
    return next((one for one in kind if plain(text) in (one.code, plain(one.ru))), None)


def file_finding(rule: str, told: str, told_ru: str, fix: str | None = None) -> Finding:
    """What is wrong with a file as a whole."""
    return Finding("#/csv", rule, told, told_ru, fix=fix)


NOT_CLOSED = file_finding("list_format", "A quote of the file is not closed.", "В файле не закрыта кавычка.")
EMPTY = file_finding("list_empty", "The file is empty.", "Файл пуст.")


def read_heads(heads: list[str], columns: Mapping[str, tuple[str, ...]]) -> tuple[list[str], list[Finding]]:
    """Names of the columns by their heads (`columns`: each name with how else it may be headed), and what is wrong."""
    by_head = {plain(head): name for name, others in columns.items() for head in (name, *others)}
    names: list[str] = []
    faults = []
    for place, head in enumerate(heads, start=1):
        name = by_head.get(plain(head))
        if name is None:
            faults.append(
                file_finding(
                    "column_unknown",
                    f"Column {place} has a head that is not known.",
                    f"Заголовок столбца {place} не распознан.",
                    f"Known columns: {', '.join(columns)}, or in Russian: "
                    f"{', '.join(others[0] for others in columns.values() if others)}.",
                )
            )
        elif name in names:
            told, told_ru = f"The column {name} stands twice.", f"Столбец «{head}» встречается дважды."
            faults.append(file_finding("column_repeated", told, told_ru))
        names.append(name or "")
    return names, faults


def _numbered(reader: "_csv.Reader") -> Iterator[tuple[int, list[str]]]:
    before = 0
    for cells in reader:
        if any(cell.strip() for cell in cells):
            yield before + 1, cells
        before = reader.line_num
