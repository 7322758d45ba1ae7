"""What looks back at a sale: a refund or a closing is planned from what the sale's receipts say, under their lock.

The sale is a payment of ours, all payments of an order, one payment found among them for a refund that names none, or
a receipt that another program printed before us.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from app.db.repos import chains, planned, prepayments
from app.db.repos.chains import Chain
from app.db.repos.events import EventRow
from app.db.repos.receipts import ReceiptRow
from app.db.repos.settings import BranchRow, KassaRow, SourceRow
from app.db.unit_of_work import Tx
from app.domain.codec import receipt_to_json
from app.domain.errors import Finding
from app.domain.event import EventType, PaymentEvent
from app.domain.lifecycle import BLOCKING, Status
from app.domain.lone_return import sale_behind
from app.domain.plan import Held, HeldReason, Missing, Plan, Planned, Refused, unanswered
from app.domain.planning import plan_sale
from app.domain.reading import offsets
from app.domain.receipt import Customer, Item, Receipt
from app.domain.refund import refund_receipt
from app.domain.settlement import Prepaid, order_settlement, settlement_receipt
from app.infra.crypto import SecretBox
from app.infra.ids import new_id
from app.services.catalog import MerchantSettings
from app.services.customers import open_event
from app.services.look_back_missing import KASSA_OFF, NO_KASSA, ORIGINAL_DIFFERS, ORIGINAL_ITEMS
from app.services.look_back_rules import rates_by_rule, retold, ruled_row
from app.services.offsets import Offsets, by_offset
from app.services.sales import Sales, local_date
from app.services.sold import Sold, printed, sold_in
from app.services.story import Stories, closings, moved, refunds
from app.services.told_twice import ToldTwice
from app.services.whole_orders import (
    Matching,
    closes_order,
    not_fiscalized,
    of_whole_order,
    payment_unknown,
    refunds_order,
)

_ON_THE_WAY = BLOCKING - {Status.NEEDS_ATTENTION}


@dataclass(frozen=True, slots=True)
class Scope:
    """Locked chains: `home` is where the event's receipt goes, `payments` are those that it looks back at."""

    home: Chain | None
    payments: tuple[Chain, ...]


@dataclass(frozen=True, slots=True)
class Draft:
    """A plan and where it is printed; `drawn` are the lines taken from each payment by what closes it.

    `original` is a sale printed elsewhere that is told for the first time, `matched` the payment that was found for a
    refund which named only its order.
    """

    plan: Plan
    kassa: KassaRow | None = None
    branch: BranchRow | None = None
    drawn: dict[UUID, tuple[Item, ...]] = field(default_factory=dict)
    original: Receipt | None = None
    matched: Chain | None = None


class LookBack:
    """Plans refunds and closings."""

    def __init__(self, sales: Sales, stories: Stories, box: SecretBox) -> None:
        self._sales = sales
        self._stories = stories
        self._matching = Matching(stories)
        self._box = box
        self._offsets = Offsets(sales, stories)
        self._told_twice = ToldTwice(box)

    async def lock(self, tx: Tx, event: EventRow, payload: PaymentEvent) -> Scope:
        """Lock the event's own chain and those that it looks back at, in order of id."""
        merchant_id, target = event.merchant_id, event.chain_id
        payments: list[UUID] = []
        known = None
        if event.payment_id is not None:
            known = await chains.of_payment(tx, merchant_id, event.source_id, event.payment_id)
        if known is not None:
            target = known
        elif payload.original is not None:
            key = chains.document_key(payload.original.fn, payload.original.fd)
            target = await chains.of_document(tx, merchant_id, payload.original.fn, payload.original.fd)
            target = target or await chains.ensure(tx, merchant_id, key, new_id())
        elif found_offsets := offsets(payload):
            payments = await self._offsets.payments(tx, event, found_offsets)
        elif await self._stands_alone(tx, event, payload):
            key = chains.return_key(event.source_id, event.external_id)
            target = await chains.ensure(tx, merchant_id, key, new_id())
        elif of_whole_order(event):
            target = await chains.ensure(tx, merchant_id, chains.order_key(event.order_id or ""), new_id())
            payments = await chains.of_order(tx, merchant_id, event.order_id or "")
        if known is not None and payload.type is EventType.REFUND_SUCCEEDED and by_offset(payload):
            payments = await prepayments.drawn_in(tx, merchant_id, known)
        found = {}
        for chain_id in sorted({one for one in (event.chain_id, target, *payments) if one is not None}):
            chain = await chains.lock(tx, merchant_id, chain_id)
            if chain is not None:
                found[chain_id] = chain
        home = None if target is None else found.get(target)
        if offsets(payload) or (of_whole_order(event) and payload.original is None):
            return Scope(home, tuple(found[one] for one in payments if one in found))
        return Scope(home, () if home is None else (home,))

    async def _stands_alone(self, tx: Tx, event: EventRow, payload: PaymentEvent) -> bool:
        """A return whose source keeps the books of its sales, of an order that nobody reported here."""
        if not (payload.stands_alone and payload.items):
            return False
        return not (refunds_order(event) and await chains.of_order(tx, event.merchant_id, event.order_id or ""))

    async def too_early(self, tx: Tx, event: EventRow, scope: Scope) -> bool:
        """Whether a prepayment is still on its way: what closes it waits until it is printed, and so does a refund for
        which no other payment is enough."""
        if not of_whole_order(event) and event.type != EventType.PAYMENT_SUCCEEDED.value:
            return False
        stories = [await self._stories.read(tx, chain) for chain in scope.payments]
        if refunds_order(event) and self._matching.enough(stories, event) is not None:
            return False
        return any(story.sale is not None and Status(story.sale.status) in _ON_THE_WAY for story in stories)

    async def plan(
        self,
        tx: Tx,
        settings: MerchantSettings,
        source: SourceRow,
        event: EventRow,
        payload: PaymentEvent,
        scope: Scope,
        *,
        other_money: bool = False,
    ) -> Draft:
        """What the event becomes; a kassa that was replaced, or a sale without a receipt, holds it. `other_money`: a
        person said that no receipt stands for this refund yet."""
        if asked := unanswered(payload):
            return Draft(Held(HeldReason.DATA_MISSING, asked))
        if payload.type is EventType.PAYMENT_SUCCEEDED:
            plan, kassa, branch, drawn = await self._offsets.plan(tx, settings, source, event, payload, scope.payments)
            return Draft(plan, kassa, branch, drawn)
        if closes_order(event) and payload.original is None:
            return await self._order(tx, settings, source, event, payload, scope)
        lone = scope.home is not None and scope.home.of_return
        if refunds_order(event) and payload.original is None and not lone:
            stories = [await self._stories.read(tx, chain) for chain in scope.payments]
            matched = self._matching.enough(stories, event)
            if matched is None:
                return Draft(self._matching.none_enough(stories, event))
            draft = await self._payment(tx, settings, source, event, payload, matched.chain, other_money)
            return replace(draft, matched=matched.chain)
        if scope.home is None:
            return Draft(payment_unknown(event))
        return await self._payment(tx, settings, source, event, payload, scope.home, other_money)

    async def _payment(
        self,
        tx: Tx,
        settings: MerchantSettings,
        source: SourceRow,
        event: EventRow,
        payload: PaymentEvent,
        home: Chain,
        other_money: bool,
    ) -> Draft:
        """A refund or closing of one payment, or of a sale that another program printed."""
        story = await self._stories.read(tx, home)
        told = None
        sold = sold_in(self._stories, story)
        if sold is None and payload.original is not None:
            found = self._original(settings, source, payload, home)
            if not isinstance(found, Sold):
                return Draft(found)
            sold, told = found, found.receipt
        elif sold is None and home.of_return:
            found = self._own_lines(settings, source, payload)
            if not isinstance(found, Sold):
                return Draft(found)
            sold, told = found, found.receipt
        elif sold is not None and sold.row is None and payload.original is not None and payload.original.items:
            again = self._original(settings, source, payload, home)
            if not isinstance(again, Sold) or again.receipt.items != sold.receipt.items:
                return Draft(Held(HeldReason.DATA_MISSING, (ORIGINAL_DIFFERS,)))
        if sold is None:
            return Draft(payment_unknown(event) if story.sale is None else not_fiscalized())
        place = self._place(settings, source, payload, sold)
        if isinstance(place, Held):
            return Draft(place)
        kassa, branch, receipt = place
        taken = refunds(story, besides=event.id)
        closed = closings(story, besides=event.id)
        offset_of_it, back_again = moved(story, besides=event.id)
        today = local_date(payload.occurred_at, receipt.timezone)
        compiled = self._sales.plan_settings(settings, source, branch, kassa)
        ruled = ruled_row([sold.row, *story.rows])
        payload = retold(payload, ruled, compiled.nomenclature, today)
        if payload.type is EventType.REFUND_SUCCEEDED:
            if other_money:
                payload = await self._told_twice.other_money(tx, event, payload, receipt.total)
            plan = refund_receipt(
                payload,
                receipt,
                [*taken, *closed],
                today,
                limits=compiled.limits,
                moved=offset_of_it,
                moved_back=back_again,
            )
            if not other_money:
                plan = await self._told_twice.judged(tx, source, event, payload, plan, story, receipt.total)
            if isinstance(plan, Planned) and by_offset(payload):
                back = await self._offsets.given_back(tx, story, plan.receipts[0], event.id)
                return Draft(plan, kassa, branch, back, told)
        else:
            rate = None if await self._named_rate(tx, sold.row) else compiled.vat_policy
            plan = settlement_receipt(
                payload,
                receipt,
                closed,
                taken,
                today,
                rate,
                defaults=compiled.defaults,
                limits=compiled.limits,
                moved=offset_of_it,
                moved_back=back_again,
                rates=rates_by_rule(ruled, compiled.nomenclature),
            )
        return Draft(plan, kassa, branch, original=told)

    async def _order(
        self,
        tx: Tx,
        settings: MerchantSettings,
        source: SourceRow,
        event: EventRow,
        payload: PaymentEvent,
        scope: Scope,
    ) -> Draft:
        stories = [await self._stories.read(tx, chain) for chain in scope.payments]
        stories.sort(key=lambda story: [(row.created_at, row.id) for row in story.rows[:1]])
        payments = [(story, sold) for story in stories if (sold := sold_in(self._stories, story)) is not None]
        payments = [one for one in payments if one[0].sale is None or printed(one[0].sale)]
        if not payments:
            return Draft(payment_unknown(event) if not stories else not_fiscalized())
        newest = payments[-1][1]
        # One receipt has one taxation: what was prepaid under another is closed by its payment's own closing.
        payments = [one for one in payments if one[1].receipt.taxation is newest.receipt.taxation]
        place = self._place(settings, source, payload, newest)
        if isinstance(place, Held):
            return Draft(place)
        kassa, branch, receipt = place
        compiled = self._sales.plan_settings(settings, source, branch, kassa)
        named = [await self._named_rate(tx, sold.row) for _, sold in payments]
        prepaid = [
            Prepaid(
                receipt if sold is newest else sold.receipt,
                closings(story, besides=event.id),
                refunds(story, besides=event.id),
                *moved(story, besides=event.id),
            )
            for story, sold in payments
        ]
        today = local_date(payload.occurred_at, receipt.timezone)
        ruled = [row for story, sold in payments for row in ruled_row([sold.row, *story.rows])]
        made = order_settlement(
            retold(payload, ruled, compiled.nomenclature, today),
            prepaid,
            today,
            None if any(named) else compiled.vat_policy,
            defaults=compiled.defaults,
            limits=compiled.limits,
            rates=rates_by_rule(ruled, compiled.nomenclature),
        )
        drawn = {story.chain.id: lines for (story, _), lines in zip(payments, made.drawn, strict=False) if lines}
        return Draft(made.plan, kassa, branch, drawn)

    def _original(
        self, settings: MerchantSettings, source: SourceRow, payload: PaymentEvent, chain: Chain
    ) -> Sold | Plan:
        """A sale that another program printed, read from its document as the event tells it.

        Its rate and method are on that document and are asked for; only what a receipt does not show is filled from
        the settings.
        """
        told = payload.original
        if told is None or not told.items:
            return Held(HeldReason.DATA_MISSING, (ORIGINAL_ITEMS,))
        branch, kassa = self._sales.place_of(settings, source, payload)
        if kassa is None:
            return Held(HeldReason.KASSA_MISSING, (NO_KASSA,))
        compiled = self._sales.plan_settings(settings, source, branch, kassa)
        sale = PaymentEvent(
            type=EventType.PAYMENT_SUCCEEDED,
            external_id=chain.payment_id,
            amount=sum(item.amount for item in told.items),
            occurred_at=told.at,
            customer=payload.customer,
            items=told.items,
            taxation=payload.taxation,
        )
        silent = replace(compiled.defaults, vat=None, payment_method=None)
        limits = replace(compiled.limits, carries=None)
        asked = replace(compiled, defaults=silent, nomenclature=None, vat=None, limits=limits)
        match plan_sale(sale, asked, local_date(told.at, compiled.timezone)):
            case Planned(receipts=(receipt, *_)):
                return Sold(receipt, kassa.id, branch.id if branch else None)
            case Held() as held:
                return replace(held, missing=tuple(replace(one, pointer=_within(one.pointer)) for one in held.missing))
            case Refused(findings=found):
                return Refused(tuple(replace(one, pointer=_within(one.pointer)) for one in found))
            case _:
                return Held(HeldReason.DATA_MISSING, (ORIGINAL_ITEMS,))

    def _own_lines(self, settings: MerchantSettings, source: SourceRow, payload: PaymentEvent) -> Sold | Plan:
        """The sale that a return stands for, when its source names none: what it returns was sold like this."""
        branch, kassa = self._sales.place_of(settings, source, payload)
        if kassa is None:
            return Held(HeldReason.KASSA_MISSING, (NO_KASSA,))
        compiled = self._sales.plan_settings(settings, source, branch, kassa)
        # Its lines are matched by what the source calls them: no rule may give them another name.
        compiled = replace(compiled, nomenclature=None)
        plan = sale_behind(payload, compiled, local_date(payload.occurred_at, compiled.timezone))
        if isinstance(plan, Planned) and plan.receipts:
            return Sold(plan.receipts[0], kassa.id, branch.id if branch else None)
        return plan

    def _place(
        self, settings: MerchantSettings, source: SourceRow, payload: PaymentEvent, sold: Sold
    ) -> tuple[KassaRow, BranchRow | None, Receipt] | Held:
        """The kassa that sold, whatever its branch uses today. Switched off, the receipt waits in its paused lane while
        payments wait there too; where another took its place, the receipt is held.

        Another kassa of the same legal entity takes over only where the event names its branch.
        """
        kassa = settings.kassas.get(sold.kassa_id)
        branch = settings.branches.get(sold.branch_id) if sold.branch_id else None
        if kassa is not None and kassa.status == "active":
            return kassa, branch, sold.receipt
        if payload.branch:
            named, found = self._sales.place_of(settings, source, payload)
        else:
            seller = source if sold.row is None else settings.sources[sold.row.source_id]
            named, found = branch, settings.awaited(seller, branch, test=payload.test)
        if found is not None and found.id == sold.kassa_id:
            return found, branch, sold.receipt
        if found is None or found.status != "active" or sold.receipt.taxation.code not in found.taxation:
            return Held(HeldReason.KASSA_MISSING, (KASSA_OFF,))
        put = self._sales.plan_settings(settings, source, named, found)
        receipt = replace(sold.receipt, place=put.place, timezone=put.timezone, internet=put.internet, ffd=put.ffd)
        return found, named, receipt

    async def _named_rate(self, tx: Tx, sale: ReceiptRow | None) -> bool:
        """Whether the sale's source named the rate itself: then the settings' rate does not speak for its closing."""
        if sale is None:
            # A rate read off a printed document is that document's; the day of service has the settings' rate.
            return False
        event = None if sale.event_id is None else await planned.of_merchant(tx, sale.merchant_id, sale.event_id)
        if event is None:
            return False
        return any(item.vat for item in open_event(self._box, event.merchant_id, event.id, event.payload).items)


def kept(draft: Draft) -> dict[str, object]:
    """A sale printed elsewhere as its chain keeps it: without its buyer."""
    if draft.original is None or draft.kassa is None:
        raise ValueError("there is no sale to keep")
    return {
        "receipt": receipt_to_json(replace(draft.original, customer=Customer())),
        "kassa_id": draft.kassa.id.hex,
        **({"branch_id": draft.branch.id.hex} if draft.branch else {}),
    }


def lines_json(items: Sequence[Item], like: Receipt) -> list[dict[str, object]]:
    """Lines as a receipt's document has them."""
    found: list[dict[str, object]] = receipt_to_json(replace(like, items=tuple(items)))["items"]
    return found


def as_held(findings: tuple[Finding, ...]) -> Held:
    """A report that was acknowledged cannot be refused any more: it waits for a person, with every finding."""
    return Held(HeldReason.DATA_MISSING, tuple(Missing(f.rule, f.pointer, f.detail, f.detail_ru) for f in findings))


def _within(pointer: str) -> str:
    """A pointer into the sale as a pointer into the event that tells it."""
    return pointer.replace("#/items", "#/original/items", 1)
