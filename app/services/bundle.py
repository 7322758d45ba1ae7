"""All use cases of the program in one bundle: the runtime fills it, the API and the command line take from it."""

from dataclasses import dataclass

from app.services.access import Access
from app.services.actions import Actions
from app.services.by_hand import ByHand
from app.services.catalog import Catalog
from app.services.correction_batches import CorrectionBatches
from app.services.corrections import Corrections
from app.services.endpoints import Endpoints
from app.services.explain import Explain
from app.services.health import Health
from app.services.idempotency import Idempotency
from app.services.inbound import Inbound
from app.services.intake import Intake
from app.services.kassas import Kassas
from app.services.late import Late
from app.services.merchants import Merchants
from app.services.missing_receipts import MissingReceipts
from app.services.nomenclature import Nomenclature
from app.services.nomenclature_diff import NomenclatureDiff
from app.services.nomenclature_import import NomenclatureImport
from app.services.notices import Notices
from app.services.prepayments import Prepayments
from app.services.previews import Previews
from app.services.providers import Providers
from app.services.reads import Reads
from app.services.receipt_page import ReceiptPages
from app.services.registrations import Registrations
from app.services.source_polls import SourcePolls
from app.services.sources import Sources
from app.services.vat import Vat


@dataclass(slots=True)
class Services:
    """One of each; the FastAPI app finds it at `app.state.services`."""

    merchants: Merchants
    vat: Vat
    kassas: Kassas
    sources: Sources
    registrations: Registrations
    nomenclature: Nomenclature
    nomenclature_import: NomenclatureImport
    nomenclature_diff: NomenclatureDiff
    access: Access
    endpoints: Endpoints
    providers: Providers
    health: Health
    catalog: Catalog
    intake: Intake
    previews: Previews
    actions: Actions
    by_hand: ByHand
    corrections: Corrections
    missing: MissingReceipts
    correction_batches: CorrectionBatches
    late: Late
    explain: Explain
    reads: Reads
    prepayments: Prepayments
    pages: ReceiptPages
    idempotency: Idempotency
    inbound: Inbound
    source_polls: SourcePolls
    notices: Notices
