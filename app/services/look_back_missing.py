"""What a refund or closing may lack that looks back at a sale, in both languages."""

from app.domain.causes import Who
from app.domain.plan import Missing

ORIGINAL_ITEMS = Missing(
    "original",
    "#/original/items",
    "The sale was printed by another program: give the lines of its receipt once, with VAT and payment method.",
    "Чек продажи напечатала другая программа: один раз передайте его строки со ставкой НДС и способом расчёта.",
)
ORIGINAL_DIFFERS = Missing(
    "original",
    "#/original/items",
    "An earlier refund told other lines of this very document: give them as they are printed, or leave them out.",
    "Прежний возврат по этому же документу назвал другие строки: передайте их как в чеке или не передавайте вовсе.",
)
NO_KASSA = Missing(
    "kassa",
    "#/branch",
    "No switched-on kassa belongs to this refund's branch.",
    "Для филиала этого возврата нет включённой кассы.",
    Who.OPERATOR,
)
KASSA_OFF = Missing(
    "kassa",
    "#/branch",
    "The kassa that printed the sale is switched off: switch it on, or name in `branch` a point of sale of the same "
    "legal entity whose kassa returns the money.",
    "Касса, пробившая продажу, выключена: включите её или укажите в branch точку той же организации с другой кассой.",
    Who.OPERATOR,
)
