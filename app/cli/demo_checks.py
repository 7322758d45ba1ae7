"""What must be true when the demo's day is over: one receipt for each payment, the totals, and what was told."""

from collections import Counter
from collections.abc import Iterator

from app.cli.demo_scenes import COUNTS
from app.cli.demo_town import Deed, Json, Town
from app.cli.say import roubles

_PATIENCE = 20.0


async def check_day(town: Town, printed_before: int, heard_before: int) -> list[str]:
    """Everything that does not hold, in sentences; empty when the day was right."""
    deeds = list(town.deeds.values())
    heard = await _all_heard(town, deeds, heard_before)
    for deed in deeds:
        deed.told = [one for one in heard if one["receipt_id"] == deed.receipt["id"]]
    printed = (await town.tape())[printed_before:]
    return [
        *_counts(deeds),
        *_one_document_each(deeds, printed),
        *_totals(deeds, printed),
        *[problem for forged in town.forged for problem in await _made_nothing(town, forged)],
        *_everybody_told(deeds, heard),
    ]


async def _all_heard(town: Town, deeds: list[Deed], before: int) -> list[Json]:
    """Messages of this run; each receipt ends with one, so at least so many come."""
    at_least = before + sum(deed.receipt["sequence"] for deed in deeds)
    return (await town.heard(at_least, _PATIENCE))[before:]


def _counts(deeds: list[Deed]) -> Iterator[str]:
    """Where the day lacks something of a source, or has too much."""
    for source, wanted in COUNTS.items():
        made = Counter(deed.operation for deed in deeds if deed.came_by == source)
        for operation in ("sell", "sell_refund"):
            if made[operation] != wanted[operation]:
                yield f"{source}: {made[operation]} receipts of {operation}, the day has {wanted[operation]}"


def _one_document_each(deeds: list[Deed], printed: list[Json]) -> Iterator[str]:
    found = Counter(document["provider_id"] for document in printed)
    expected = {provider_id for deed in deeds for provider_id in deed.provider_ids}
    for deed in deeds:
        documents = [document for document in printed if document["provider_id"] in deed.provider_ids]
        if len(documents) != 1:
            yield f"{deed.title}: {len(documents)} documents on the tape instead of one"
            continue
        (document,), fiscal = documents, deed.receipt["fiscal"]
        told = (fiscal["fn"], fiscal["fd"], fiscal["fpd"])
        on_tape = (document["fn"], document["fd"], str(document["fpd"]))
        if told != on_tape:
            yield f"{deed.title}: the receipt says FN, FD, FP {told}, the tape {on_tape}"
        if (document["operation"], document["total"]) != (deed.operation, deed.amount):
            yield (
                f"{deed.title}: printed {document['operation']} {roubles(document['total'])}, "
                f"meant {deed.operation} {roubles(deed.amount)}"
            )
    for provider_id in found.keys() - expected:
        yield f"the tape has a document that nobody asked for: {provider_id}"


def _totals(deeds: list[Deed], printed: list[Json]) -> Iterator[str]:
    for operation in ("sell", "sell_refund"):
        meant = sum(deed.amount for deed in deeds if deed.operation == operation)
        there = sum(document["total"] for document in printed if document["operation"] == operation)
        if meant != there:
            yield f"{operation}: {roubles(there)} on the tape, {roubles(meant)} meant"


async def _made_nothing(town: Town, transaction_id: str) -> list[str]:
    found = await town.read("/v1/events", source=town.shop.sources["cloudpayments"], external_id=transaction_id)
    return [f"the forged payment {transaction_id} became an event"] if found["data"] else []


def _everybody_told(deeds: list[Deed], heard: list[Json]) -> Iterator[str]:
    for message in heard:
        if not message["verified"]:
            yield f"the school's program could not verify {message['id']}: {message['reason']}"
        if message["changed"]:
            yield f"the school's program got two bodies under {message['id']}"
    for deed in deeds:
        sequences = sorted(message["sequence"] for message in deed.told)
        if sequences != list(range(1, deed.receipt["sequence"] + 1)):
            last = deed.receipt["sequence"]
            yield f"{deed.title}: the school's program heard changes {sequences}, the last is {last}"
        if not any(message["type"] == "receipt.fiscalized" for message in deed.told):
            yield f"{deed.title}: the school's program was not told that the receipt is made"
