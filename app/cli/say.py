"""What the command line says: to people through rich, to programs as JSON on standard output and nothing else."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

_IDS, _ID_WIDTH = ("id", "merchant"), 36
_FILE_WIDTH = 200

OK, FAILED, WARNING = "[green]✔[/]", "[red]✘[/]", "[yellow]![/]"


def examples(*lines: str) -> str:
    """The examples at the end of a command's help."""
    return "\n\n".join(("[dim]Examples:[/]", *lines))


def as_json(value: Any) -> None:
    """One JSON value on standard output, unbroken and uncoloured."""
    plain(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def plain(text: str) -> None:
    """Text to be copied: no markup, no wrapping at the edge of the screen."""
    out.print(text, markup=False, soft_wrap=True)


def table(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Rows for people; empty cells show a dash."""
    found = list(rows)
    if not found:
        out.print(f"{title}: none yet.")
        return
    shown = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for head in heads:
        # An id is copied: it is never cut.
        shown.add_column(head, no_wrap=head in _IDS, overflow="fold", min_width=_ID_WIDTH if head in _IDS else None)
    for row in found:
        shown.add_row(*("–" if cell in (None, "") else escape(str(cell)) for cell in row))
    # A file has no edge.
    (out if out.is_terminal else Console(width=_FILE_WIDTH, highlight=False)).print(shown)


def roubles(kopecks: int) -> str:
    """1 990.00 ₽, with spaces that do not break."""
    whole, rest = divmod(kopecks, 100)
    return f"{whole:,}.{rest:02d}\N{NO-BREAK SPACE}₽".replace(",", "\N{NO-BREAK SPACE}")
