"""`crm-kassa privacy`: a buyer is forgotten."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated

import typer

from app.cli.actor import ACTOR
from app.cli.chosen import AsJson, OfMerchant, merchant_of
from app.cli.configure import DataDir, for_administration
from app.cli.errors import Stop
from app.cli.loop import run
from app.cli.place import administration
from app.cli.say import OK, as_json, err, examples, out, table
from app.infra.contacts import normalize_email, normalize_phone
from app.services.privacy import Erased, Privacy
from app.settings import Settings

ERASE_EXAMPLES = examples(
    "crm-kassa privacy erase --email anna@example.org --dry-run",
    "crm-kassa privacy erase --email anna@example.org --phone +79990000000",
    "crm-kassa privacy erase --phone +79990000000 --merchant mer_… --json",
)


def erase(
    email: Annotated[str | None, typer.Option(help="The buyer's e-mail.")] = None,
    phone: Annotated[str | None, typer.Option(help="The buyer's phone.")] = None,
    merchant: OfMerchant = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count; nothing is changed.")] = False,
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Forget a buyer of a merchant: his contacts and whatever else is known of him. It cannot be undone.

    Fiscal documents, sums and history stay, as the law wants. Receipts that are not finished keep their buyer: run it
    again when they are. Answers remembered under an Idempotency-Key go by themselves after 7 days.
    """
    settings = for_administration(data_dir)
    if email is None and phone is None:
        raise Stop("Say who: --email, --phone or both.", 2)
    done = run(_erase(settings, merchant, _checked(email, normalize_email), _checked(phone, normalize_phone), dry_run))
    if json:
        as_json({"dry_run": dry_run, **asdict(done)})
        return
    if done == Erased():
        out.print(f"{OK} Nothing is known of this buyer.")
        return
    gone = [(name, count) for name, count in asdict(done).items() if name != "unfinished" and count]
    table("Would be forgotten" if dry_run else "Forgotten", ("of", "how many"), gone)
    if done.unfinished:
        err.print(f"{done.unfinished} receipts are not finished and keep their buyer: run this again when they are.")


def _checked(text: str | None, normalize: Callable[[str], str]) -> str | None:
    try:
        return None if text is None else normalize(text)
    except ValueError as wrong:
        raise Stop(f"{str(wrong).capitalize()}.", 2) from None


async def _erase(settings: Settings, merchant: str | None, email: str | None, phone: str | None, dry: bool) -> Erased:
    async with administration(settings) as runtime:
        privacy = Privacy(runtime.database, runtime.keys.box, runtime.keys.hasher)
        return await privacy.erase(ACTOR, await merchant_of(runtime, merchant), email=email, phone=phone, dry=dry)
