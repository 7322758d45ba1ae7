"""How the demo shows what happened: a line for each receipt, the table at the end, and where to look next."""

import json
from typing import Any
from uuid import uuid4

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.cli.demo_town import Deed, Town
from app.cli.launch import Running
from app.cli.say import FAILED, OK, out, roubles

_WIDE = 216


def deed(console: Console, one: Deed, seconds: float) -> None:
    """One receipt, as soon as it is made."""
    fiscal = one.receipt["fiscal"]
    remark = f"  [dim]{escape(one.remark)}[/]" if one.remark else ""
    console.print(
        f"{OK} {escape(one.title):<38} {_signed(one):>13}  {one.came_by:<13} "
        f"FD [bold]{fiscal['fd']}[/] FP {fiscal['fpd']}  {escape(one.path)}  {seconds:.1f} s{remark}",
        soft_wrap=True,
    )


def refused(console: Console, title: str) -> None:
    """A step that rightly made nothing."""
    console.print(f"{OK} {escape(title):<38} {'–':>13}  refused with 401, nothing was made", soft_wrap=True)


def table(town: Town) -> None:
    """Source, payment → receipt number, fiscal sign, link, QR string, what was told."""
    # A file has no edge: there every row has its one width.
    console = out if out.is_terminal else Console(width=_WIDE, highlight=False)
    narrow = console.width < _WIDE
    shown = Table(title="The day", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("source", no_wrap=True)
    shown.add_column("payment")
    shown.add_column("sum", justify="right", no_wrap=True)
    shown.add_column("FD", justify="right", no_wrap=True)
    shown.add_column("fiscal sign", no_wrap=True)
    shown.add_column("webhooks")
    if not narrow:
        shown.add_column("link, QR", no_wrap=True)
    for one in town.deeds.values():
        fiscal = one.receipt["fiscal"]
        cells = [one.came_by, escape(one.title), _signed(one), str(fiscal["fd"]), fiscal["fpd"], _heard(one)]
        shown.add_row(*cells, *([] if narrow else [_links(one)]))
    console.print(shown)
    for one in town.deeds.values() if narrow else ():
        console.print(f"[bold]{escape(one.title)}[/]\n{_links(one)}", soft_wrap=True)


def _links(one: Deed) -> str:
    fiscal = one.receipt["fiscal"]
    return escape(f"{one.receipt['receipt_page_url']}\n{fiscal['qr']}")


def verdict(console: Console, town: Town, problems: list[str], seconds: float) -> None:
    """Whether the day was right."""
    if problems:
        for problem in problems:
            console.print(f"{FAILED} {escape(problem)}", soft_wrap=True)
        console.print(f"[bold red]{len(problems)} things are wrong.[/]")
        return
    sold = sum(one.amount for one in town.deeds.values() if one.operation == "sell")
    returned = sum(one.amount for one in town.deeds.values() if one.operation != "sell")
    sources = len({one.came_by for one in town.deeds.values()})
    console.print(
        f"{OK} {len(town.deeds)} payments and refunds from {sources} sources, "
        f"each with exactly one receipt: {roubles(sold)} sold, {roubles(returned)} returned; what two sources told was "
        f"printed once; forged ones made none; every webhook was verified. "
        f"{seconds:.0f} s in all.",
        soft_wrap=True,
    )


def where(console: Console, running: Running) -> None:
    """What a curious person tries next."""
    if running.shop is None:
        return
    event = {
        "type": "payment.succeeded",
        "external_id": f"try-{uuid4().hex[:6]}",
        "amount": 199000,
        "currency": "RUB",
        "customer": {"email": "anna@example.org"},
        "items": [{"name": "Абонемент", "quantity": "1", "price": 199000, "amount": 199000, "vat": "none"}],
    }
    console.print("\nStill running. Look around:")
    for name, value in (
        ("API documentation", f"{running.api_url}/docs"),
        ("Receipts printed", f"{running.simulator_url}/"),
        ("Webhooks heard", f"{running.simulator_url}/crm/hook/demo"),
        ("Admin key", running.admin_key),
    ):
        console.print(f"  {name:<19} {value}", soft_wrap=True)
    body = json.dumps(event, ensure_ascii=False)
    console.print("Report a payment yourself:\n")
    console.print(
        f"curl -s {running.api_url}/v1/events -H 'Authorization: Bearer {running.shop.api_key}' \\\n"
        f"  -H 'Content-Type: application/json' -H 'Prefer: wait=10' \\\n  -d '{body}'",
        markup=False,
        soft_wrap=True,
    )
    console.print("\nCtrl-C stops.")


def summary(town: Town, problems: list[str], seconds: float) -> dict[str, Any]:
    """The same for programs."""
    return {
        "ok": not problems,
        "problems": problems,
        "seconds": round(seconds, 1),
        "forged_refused": len(town.forged),
        "receipts": [
            {
                "payment": one.title,
                "came_by": one.came_by,
                "operation": one.operation,
                "amount": one.amount,
                "receipt_id": one.receipt["id"],
                "path": one.path,
                "link": one.receipt["receipt_page_url"],
                **{name: one.receipt["fiscal"][name] for name in ("fn", "fd", "fpd", "qr", "receipt_url")},
                "told": [message["type"] for message in one.told],
                "verified": all(message["verified"] for message in one.told),
            }
            for one in town.deeds.values()
        ],
    }


def _signed(one: Deed) -> str:
    return roubles(one.amount) if one.operation == "sell" else f"−{roubles(one.amount)}"


def _heard(one: Deed) -> str:
    words = [message["type"].removeprefix("receipt.") for message in one.told]
    mark = "✔" if words and all(message["verified"] for message in one.told) else "✘"
    return f"{', '.join(words) or 'nothing'} {mark}"
