"""What looks back at a sale: a refund or a closing is planned from what the sale's receipts say, under their lock.

The sale is a payment of ours, all payments of an order, or a receipt that another program printed before us.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from app.db.repos import chains, planned
from app.db.repos.chains import Chain
from app.db.repos.events import EventRow
from app.db.repos.receipts import ReceiptRow
from app.db.repos.settings import BranchRow, KassaRow, SourceRow
from app.db.unit_of_work import Tx
from app.domain.causes import Who
from app.domain.codec import receipt_to_json
from app.domain.errors import Finding
from app.domain.event import EventType, PaymentEvent
from app.domain.lifecycle import BLOCKING, Status
from app.domain.plan import Held, HeldReason, Missing, Plan, Planned, Refused
from app.domain.planning import plan_sale
from app.domain.receipt import Customer, Item, Receipt
from app.domain.refund import refund_receipt
from app.domain.settlement import Prepaid, order_settlement, settlement_receipt
from app.infra.crypto import SecretBox
from app.infra.ids import new_id
from app.services.catalog import MerchantSettings
from app.services.customers import open_event
from app.services.sales import Sales, local_date
from app.services.story import NOT_COUNTED, Stories, Story, closings, original_of, refunds
from app.services.turns import SALE_NOT_FISCALIZED

_ON_THE_WAY = BLOCKING - {Status.NEEDS_ATTENTION}


@dataclass(frozen=True, slots=True)
class Scope:
    """Locked chains: `home` is where the event's receipt goes, `payments` are those that it looks back at."""

    home: Chain | None
    payments: tuple[Chain, ...]


@dataclass(frozen=True, slots=True)
class Draft:
    """A plan and where it is printed; `drawn` are the lines taken from each payment by the closing of an order.

    `original` is a sale printed elsewhere that is told for the first time.
    """

    plan: Plan
    kassa: KassaRow | None = None
    branch: BranchRow | None = None
    drawn: dict[UUID, tuple[Item, ...]] = field(default_factory=dict)
    original: Receipt | None = None


@dataclass(frozen=True, slots=True)
class _Sold:
    """A sale as it was printed, on which kassa, and for which branch."""

    receipt: Receipt
    kassa_id: UUID
    branch_id: UUID | None
    row: ReceiptRow | None = None


class LookBack:
    """Plans refunds and closings."""

    def __init__(self, sales: Sales, stories: Stories, box: SecretBox) -> None:
        self._sales = sales
        self._stories = stories
        self._box = box

    async def lock(self, tx: Tx, event: EventRow, payload: PaymentEvent) -> Scope:
        """Lock the event's own chain and those that it looks back at, in order of id."""
        merchant_id, target = event.merchant_id, event.chain_id
        payments: list[UUID] = []
        sold_in = None
        if event.payment_id is not None:
            sold_in = await chains.of_payment(tx, merchant_id, event.source_id, event.payment_id)
        if sold_in is not None:
            target = sold_in
        elif payload.original is not None:
            key = chains.document_key(payload.original.fn, payload.original.fd)
            target = await chains.of_document(tx, merchant_id, payload.original.fn, payload.original.fd)
            target = target or await chains.ensure(tx, merchant_id, key, new_id())
        elif closes_order(event):
            target = await chains.ensure(tx, merchant_id, chains.order_key(event.order_id or ""), new_id())
            payments = await chains.of_order(tx, merchant_id, event.order_id or "")
        found = {}
        for chain_id in sorted({one for one in (event.chain_id, target, *payments) if one is not None}):
            chain = await chains.lock(tx, merchant_id, chain_id)
            if chain is not None:
                found[chain_id] = chain
        home = None if target is None else found.get(target)
        if closes_order(event) and payload.original is None:
            return Scope(home, tuple(found[one] for one in payments if one in found))
        return Scope(home, () if home is None else (home,))

    async def too_early(self, tx: Tx, event: EventRow, scope: Scope) -> bool:
        """Whether a payment of the order is still on its way: its closing waits until it is printed."""
        if not closes_order(event):
            return False
        stories = [await self._stories.read(tx, chain) for chain in scope.payments]
        return any(story.sale is not None and Status(story.sale.status) in _ON_THE_WAY for story in stories)

    async def plan(
        self,
        tx: Tx,
        settings: MerchantSettings,
        source: SourceRow,
        event: EventRow,
        payload: PaymentEvent,
        scope: Scope,
    ) -> Draft:
        """What the event becomes; a switched-off kassa, or a sale without a receipt, holds it."""
        if closes_order(event) and payload.original is None:
            return await self._order(tx, settings, source, event, payload, scope)
        if scope.home is None:
            return Draft(_unknown(event))
        story = await self._stories.read(tx, scope.home)
        told = None
        sold = self._sold(story)
        if sold is None and payload.original is not None:
            found = self._original(settings, source, payload, scope.home)
            if not isinstance(found, _Sold):
                return Draft(found)
            sold, told = found, found.receipt
        elif sold is not None and sold.row is None and payload.original is not None and payload.original.items:
            again = self._original(settings, source, payload, scope.home)
            if not isinstance(again, _Sold) or again.receipt.items != sold.receipt.items:
                return Draft(Held(HeldReason.DATA_MISSING, (_ORIGINAL_DIFFERS,)))
        if sold is None:
            return Draft(_unknown(event) if story.sale is None else _not_fiscalized())
        place = self._place(settings, source, payload, sold)
        if isinstance(place, Held):
            return Draft(place)
        kassa, branch, receipt = place
        taken = refunds(story, besides=event.id)
        closed = closings(story, besides=event.id)
        today = local_date(payload.occurred_at, receipt.timezone)
        compiled = self._sales.plan_settings(settings, source, branch, kassa)
        if payload.type is EventType.REFUND_SUCCEEDED:
            plan = refund_receipt(
                payload,
                receipt,
                [*taken, *closed],
                today,
                max_items=compiled.max_items,
                carries=compiled.carries,
            )
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
                max_items=compiled.max_items,
                carries=compiled.carries,
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
        payments = [(story, sold) for story in stories if (sold := self._sold(story)) is not None]
        payments = [one for one in payments if one[0].sale is None or _printed(one[0].sale)]
        if not payments:
            return Draft(_unknown(event) if not stories else _not_fiscalized())
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
            )
            for story, sold in payments
        ]
        made = order_settlement(
            payload,
            prepaid,
            local_date(payload.occurred_at, receipt.timezone),
            None if any(named) else compiled.vat_policy,
            defaults=compiled.defaults,
            max_items=compiled.max_items,
            carries=compiled.carries,
        )
        drawn = {story.chain.id: lines for (story, _), lines in zip(payments, made.drawn, strict=False) if lines}
        return Draft(made.plan, kassa, branch, drawn)

    def _sold(self, story: Story) -> _Sold | None:
        """The sale of a payment, if it has a receipt that counts."""
        row = story.sale
        if row is None:
            receipt = original_of(story.chain)
            if receipt is None or story.chain.original is None:
                return None
            place = story.chain.original
            branch = place.get("branch_id")
            return _Sold(receipt, UUID(place["kassa_id"]), None if branch is None else UUID(branch))
        if row.document is None or row.status in NOT_COUNTED or row.kassa_id is None:
            return None
        return _Sold(self._stories.document(row), row.kassa_id, row.branch_id, row)

    def _original(
        self, settings: MerchantSettings, source: SourceRow, payload: PaymentEvent, chain: Chain
    ) -> _Sold | Plan:
        """A sale that another program printed, read from its document as the event tells it.

        Its rate and method are on that document and are asked for; only what a receipt does not show is filled from
        the settings.
        """
        told = payload.original
        if told is None or not told.items:
            return Held(HeldReason.DATA_MISSING, (_ORIGINAL_ITEMS,))
        branch, kassa = self._sales.place_of(settings, source, payload)
        if kassa is None:
            return Held(HeldReason.KASSA_MISSING, (_NO_KASSA,))
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
        defaults = replace(compiled.defaults, vat=None, payment_method=None)
        asked = replace(compiled, defaults=defaults, vat=None, carries=None)
        match plan_sale(sale, asked, local_date(told.at, compiled.timezone)):
            case Planned(receipts=(receipt, *_)):
                return _Sold(receipt, kassa.id, branch.id if branch else None)
            case Held() as held:
                return replace(held, missing=tuple(replace(one, pointer=_within(one.pointer)) for one in held.missing))
            case Refused(findings=found):
                return Refused(tuple(replace(one, pointer=_within(one.pointer)) for one in found))
            case _:
                return Held(HeldReason.DATA_MISSING, (_ORIGINAL_ITEMS,))

    def _place(
        self, settings: MerchantSettings, source: SourceRow, payload: PaymentEvent, sold: _Sold
    ) -> tuple[KassaRow, BranchRow | None, Receipt] | Held:
        """The kassa that sold, whatever its branch uses today; one that is switched off holds the receipt.

        Another kassa of the same legal entity takes over only where the event names its branch.
        """
        kassa = settings.kassas.get(sold.kassa_id)
        branch = settings.branches.get(sold.branch_id) if sold.branch_id else None
        if kassa is not None and kassa.status == "active":
            return kassa, branch, sold.receipt
        if payload.branch:
            branch, kassa = self._sales.place_of(settings, source, payload)
            if kassa is not None and sold.receipt.taxation.code in kassa.taxation:
                compiled = self._sales.plan_settings(settings, source, branch, kassa)
                receipt = replace(
                    sold.receipt,
                    place=compiled.place,
                    timezone=compiled.timezone,
                    internet=compiled.internet,
                    ffd=compiled.ffd,
                )
                return kassa, branch, receipt
        return Held(HeldReason.KASSA_MISSING, (_KASSA_OFF,))

    async def _named_rate(self, tx: Tx, sale: ReceiptRow | None) -> bool:
        """Whether the sale's source named the rate itself: then the settings' rate does not speak for its closing."""
        if sale is None:
            # A rate read off a printed document is that document's; the day of service has the settings' rate.
            return False
        event = None if sale.event_id is None else await planned.of_merchant(tx, sale.merchant_id, sale.event_id)
        if event is None:
            return False
        return any(item.vat for item in open_event(self._box, event.merchant_id, event.id, event.payload).items)


def closes_order(event: EventRow) -> bool:
    """A closing that names no payment: it is for the whole order."""
    return event.type == EventType.ORDER_SETTLED.value and event.payment_id is None and event.order_id is not None


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


def _printed(row: ReceiptRow) -> bool:
    return row.status == Status.FISCALIZED.value


def _unknown(event: EventRow) -> Held:
    return Held(HeldReason.PAYMENT_UNKNOWN, (_ORDER_UNKNOWN if closes_order(event) else _PAYMENT_UNKNOWN,))


def _not_fiscalized() -> Held:
    return Held(HeldReason.SALE_NOT_FISCALIZED, (SALE_NOT_FISCALIZED,))


def _within(pointer: str) -> str:
    """A pointer into the sale as a pointer into the event that tells it."""
    return pointer.replace("#/items", "#/original/items", 1)


_PAYMENT_UNKNOWN = Missing(
    "payment_id",
    "#/payment_id",
    "The payment that this refund returns has not been reported yet; it is planned by itself when it comes.",
    "Платёж, который возвращают, ещё не пришёл; возврат продолжится сам, когда он придёт.",
)
_ORDER_UNKNOWN = Missing(
    "order_id",
    "#/order_id",
    "No payment of this order has been reported yet; its closing is planned by itself when one comes.",
    "Ни один платёж этого заказа ещё не пришёл; закрытие продолжится само, когда платёж придёт.",
)
_ORIGINAL_ITEMS = Missing(
    "original",
    "#/original/items",
    "The sale was printed by another program: give the lines of its receipt once, with VAT and payment method.",
    "Чек продажи напечатала другая программа: один раз передайте его строки со ставкой НДС и способом расчёта.",
)
_ORIGINAL_DIFFERS = Missing(
    "original",
    "#/original/items",
    "An earlier refund told other lines of this very document: give them as they are printed, or leave them out.",
    "Прежний возврат по этому же документу назвал другие строки: передайте их как в чеке или не передавайте вовсе.",
)
_NO_KASSA = Missing(
    "kassa",
    "#/branch",
    "No switched-on kassa belongs to this refund's branch.",
    "Для филиала этого возврата нет включённой кассы.",
    Who.OPERATOR,
)
_KASSA_OFF = Missing(
    "kassa",
    "#/branch",
    "The kassa that printed the sale is switched off: switch it on, or name in `branch` a point of sale of the same "
    "legal entity whose kassa returns the money.",
    "Касса, пробившая продажу, выключена: включите её или укажите в branch точку той же организации с другой кассой.",
    Who.OPERATOR,
)
