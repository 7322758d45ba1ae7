"""Every tag of the fiscal format that a receipt can meet: number, our name, Russian term, kind of value, length.

FNS order ЕД-7-20/662@ of 2020-09-14 with its amendments: ЕД-7-20/236@ of 2025-03-26 (1125, 1234-1238, in force
2025-09-01) and ЕД-7-20/1050@ of 2025-12-08 (22 %, in force 2026-01-05). Lengths in bytes are those of the text of FFD
1.05, where one byte is one character (CP866); what FFD 1.2 may allow beyond is not relied on.
"""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """How a tag's value is written. Money is VLN kopecks, a struct (STLV) holds other tags."""

    BYTE = "byte"
    BITS = "bits"
    UINT32 = "uint32"
    MONEY = "money"
    VLN = "vln"
    FVLN = "fvln"
    STRING = "string"
    FIXED = "fixed"
    BYTES = "bytes"
    BYTES_FIXED = "bytes_fixed"
    TIME = "time"
    STRUCT = "struct"


@dataclass(frozen=True, slots=True)
class Tag:
    """A requisite of the format. `limit` is its length in bytes; None: it is not bounded by itself."""

    number: int
    name: str
    ru: str
    kind: Kind
    limit: int | None


RECEIPT_BYTES = 32_768
"""A whole receipt with the lengths and numbers of all its tags (TLV)."""

ITEM_BYTES = 1_024
"""One line, tag 1059."""

_ROWS: tuple[tuple[int, str, str, Kind, int | None], ...] = (
    (1005, "money_transfer_operator_address", "адрес оператора перевода", Kind.STRING, 256),
    (1008, "customer_contact", "телефон или электронный адрес покупателя", Kind.STRING, 64),
    (1009, "settlement_address", "адрес расчетов", Kind.STRING, 256),
    (1011, "timezone", "часовая зона", Kind.BYTE, 1),
    (1012, "datetime", "дата, время (местное)", Kind.TIME, 4),
    (1013, "kkt_serial", "заводской номер ККТ", Kind.STRING, 20),
    (1016, "money_transfer_operator_inn", "ИНН оператора перевода", Kind.FIXED, 12),
    (1017, "ofd_inn", "ИНН ОФД", Kind.FIXED, 12),
    (1018, "user_inn", "ИНН пользователя", Kind.FIXED, 12),
    (1020, "total", "сумма расчета", Kind.MONEY, 6),
    (1021, "cashier", "кассир", Kind.STRING, 64),
    (1023, "quantity", "количество предмета расчета", Kind.FVLN, 8),
    (1026, "money_transfer_operator_name", "наименование оператора перевода", Kind.STRING, 64),
    (1030, "item_name", "наименование предмета расчета", Kind.STRING, 128),
    (1031, "cash", "сумма наличными", Kind.MONEY, 6),
    (1036, "device_number", "номер автомата", Kind.STRING, 20),
    (1037, "kkt_reg_number", "регистрационный номер ККТ", Kind.FIXED, 20),
    (1038, "shift_number", "номер смены", Kind.UINT32, 4),
    (1040, "fd_number", "номер ФД", Kind.UINT32, 4),
    (1041, "fn_number", "номер ФН", Kind.FIXED, 16),
    (1042, "receipt_in_shift", "номер чека за смену", Kind.UINT32, 4),
    (1043, "item_sum", "стоимость предмета расчета", Kind.MONEY, 6),
    (1044, "paying_agent_operation", "операция платежного агента", Kind.STRING, 24),
    (1048, "user_name", "наименование пользователя", Kind.STRING, 256),
    (1054, "operation_type", "признак расчета", Kind.BYTE, 1),
    (1055, "taxation", "применяемая СНО", Kind.BITS, 1),
    (1057, "agent_sign", "признак агента", Kind.BITS, 1),
    (1059, "item", "предмет расчета", Kind.STRUCT, 1024),
    (1060, "fns_site", "адрес сайта ФНС", Kind.STRING, 256),
    (1073, "paying_agent_phone", "телефон платежного агента", Kind.STRING, 19),
    (1074, "receive_payments_operator_phone", "телефон оператора по приему платежей", Kind.STRING, 19),
    (1075, "money_transfer_operator_phone", "телефон оператора перевода", Kind.STRING, 19),
    (1077, "fiscal_sign", "ФП документа", Kind.BYTES_FIXED, 6),
    (1079, "item_price", "цена за единицу", Kind.MONEY, 6),
    (1081, "electronic", "сумма безналичными", Kind.MONEY, 6),
    (1082, "cashless_sum", "сумма оплаты безналичными", Kind.MONEY, 6),
    (1084, "user_prop", "дополнительный реквизит пользователя", Kind.STRUCT, 320),
    (1085, "user_prop_name", "наименование доп. реквизита пользователя", Kind.STRING, 64),
    (1086, "user_prop_value", "значение доп. реквизита пользователя", Kind.STRING, 256),
    (1102, "vat20_total", "сумма НДС чека 20%", Kind.MONEY, 6),
    (1103, "vat10_total", "сумма НДС чека 10%", Kind.MONEY, 6),
    (1104, "vat0_turnover", "сумма расчета с НДС 0%", Kind.MONEY, 6),
    (1105, "no_vat_turnover", "сумма расчета без НДС", Kind.MONEY, 6),
    (1106, "vat120_total", "сумма НДС чека 20/120", Kind.MONEY, 6),
    (1107, "vat110_total", "сумма НДС чека 10/110", Kind.MONEY, 6),
    (1108, "internet_only_kkt", "ККТ для Интернет", Kind.BYTE, 1),
    (1115, "vat_totals", "суммы НДС чека", Kind.STRUCT, None),
    (1117, "sender_email", "адрес электронной почты отправителя чека", Kind.STRING, 64),
    (1119, "vat_total", "сумма НДС чека (строка)", Kind.STRUCT, None),
    (1120, "vat_total_sum", "сумма НДС", Kind.MONEY, 6),
    (1125, "internet", "признак расчета в Интернет", Kind.BYTE, 1),
    (1162, "product_code_105", "код товара (ФФД 1.05)", Kind.BYTES, 32),
    (1163, "product_code", "код товара (ФФД 1.2)", Kind.STRUCT, 64),
    (1171, "supplier_phone", "телефон поставщика", Kind.STRING, 19),
    (1173, "correction_type", "тип коррекции", Kind.BYTE, 1),
    (1174, "correction_base", "основание для коррекции", Kind.STRUCT, 292),
    (1177, "correction_base_name", "описание коррекции", Kind.STRING, 256),
    (1178, "correction_date", "дата корректируемого расчета", Kind.TIME, 4),
    (1179, "correction_number", "номер предписания", Kind.STRING, 32),
    (1187, "settlement_place", "место расчетов", Kind.STRING, 256),
    (1191, "item_prop", "доп. реквизит предмета расчета", Kind.STRING, 64),
    (1192, "receipt_prop", "доп. реквизит чека", Kind.STRING, 16),
    (1197, "measure_name_105", "единица измерения (ФФД 1.05)", Kind.STRING, 16),
    (1198, "unit_vat", "размер НДС за единицу", Kind.MONEY, 6),
    (1199, "vat_rate", "ставка НДС", Kind.BYTE, 1),
    (1200, "item_vat", "сумма НДС за предмет расчета", Kind.MONEY, 6),
    (1203, "cashier_inn", "ИНН кассира", Kind.FIXED, 12),
    (1208, "receipt_site", "сайт чеков", Kind.STRING, 256),
    (1209, "ffd_version", "версия ФФД", Kind.BYTE, 1),
    (1212, "payment_object", "признак предмета расчета", Kind.BYTE, 1),
    (1214, "payment_method", "признак способа расчета", Kind.BYTE, 1),
    (1215, "prepaid", "сумма предоплатой", Kind.MONEY, 6),
    (1216, "credit", "сумма постоплатой", Kind.MONEY, 6),
    (1217, "other", "сумма встречным предоставлением", Kind.MONEY, 6),
    (1222, "item_agent_sign", "признак агента по предмету расчета", Kind.BITS, 1),
    (1223, "agent_data", "данные агента", Kind.STRUCT, 512),
    (1224, "supplier_data", "данные поставщика", Kind.STRUCT, 512),
    (1225, "supplier_name", "наименование поставщика", Kind.STRING, 256),
    (1226, "supplier_inn", "ИНН поставщика", Kind.FIXED, 12),
    (1227, "customer_name", "покупатель (клиент)", Kind.STRING, 256),
    (1228, "customer_inn", "ИНН покупателя", Kind.FIXED, 12),
    (1229, "excise", "акциз", Kind.MONEY, 8),
    (1230, "country_code", "код страны происхождения", Kind.FIXED, 3),
    (1231, "customs_declaration", "номер декларации на товар", Kind.STRING, 32),
    (1234, "cashless_payments", "сведения обо всех оплатах безналичными", Kind.STRUCT, None),
    (1235, "cashless_payment", "сведения об оплате безналичными", Kind.STRUCT, None),
    (1236, "cashless_method", "признак способа оплаты безналичными", Kind.BYTE, 1),
    (1237, "cashless_id", "идентификаторы безналичной оплаты", Kind.STRING, 256),
    (1238, "cashless_info", "доп. сведения о безналичной оплате", Kind.STRING, 256),
    (1243, "customer_birth_date", "дата рождения покупателя", Kind.FIXED, 10),
    (1244, "customer_citizenship", "гражданство", Kind.FIXED, 3),
    (1245, "customer_doc_code", "код вида документа", Kind.STRING, None),
    (1246, "customer_doc_data", "данные документа", Kind.STRING, 64),
    (1254, "customer_address", "адрес покупателя", Kind.STRING, 256),
    (1256, "customer_info", "сведения о покупателе", Kind.STRUCT, 1024),
    (1260, "sectoral_item_prop", "отраслевой реквизит предмета расчета", Kind.STRUCT, None),
    (1261, "sectoral_receipt_prop", "отраслевой реквизит чека", Kind.STRUCT, None),
    (1262, "foiv_id", "идентификатор ФОИВ", Kind.STRING, 3),
    (1263, "foundation_date", "дата документа основания", Kind.FIXED, 10),
    (1264, "foundation_number", "номер документа основания", Kind.STRING, 32),
    (1265, "sectoral_value", "значение отраслевого реквизита", Kind.STRING, 256),
    (1270, "operating_prop", "операционный реквизит чека", Kind.STRUCT, 144),
    (1271, "operation_id", "идентификатор операции", Kind.BYTE, 1),
    (1272, "operation_data", "данные операции", Kind.STRING, 64),
    (1273, "operation_datetime", "дата, время операции", Kind.TIME, 4),
    (1291, "fractional_quantity", "дробное количество маркированного товара", Kind.STRUCT, 52),
    (1292, "fraction_text", "дробная часть", Kind.STRING, 24),
    (1293, "numerator", "числитель", Kind.VLN, 8),
    (1294, "denominator", "знаменатель", Kind.VLN, 8),
    (2000, "mark_code", "код маркировки", Kind.STRING, 256),
    (2003, "item_state", "планируемый статус товара", Kind.BYTE, 1),
    (2004, "mark_check_result", "результат проверки КМ", Kind.BYTE, 1),
    (2005, "request_result", "результаты обработки запроса", Kind.BYTE, 1),
    (2007, "marked_item_data", "данные о маркированном товаре", Kind.STRUCT, 512),
    (2040, "related_fd_number", "номер ФД кассового чека", Kind.UINT32, 4),
    (2100, "mark_code_type", "тип кода маркировки", Kind.BYTE, 1),
    (2101, "product_id", "идентификатор товара", Kind.STRING, 34),
    (2102, "mark_processing_mode", "режим обработки КМ", Kind.BYTE, 1),
    (2105, "request_code", "коды обработки запроса", Kind.BYTE, 1),
    (2106, "item_check_result", "результат проверки сведений о товаре", Kind.BYTE, 1),
    (2107, "receipt_check_result", "результаты проверки маркированных товаров", Kind.BYTE, 1),
    (2108, "measure", "мера количества", Kind.BYTE, 1),
    (2109, "oism_answer", "ответ ОИСМ о статусе товара", Kind.BYTE, 1),
    (2110, "assigned_item_state", "присвоенный статус товара", Kind.BYTE, 1),
    (2112, "bad_codes_flag", "признак некорректных КМ", Kind.BYTE, 1),
    (2113, "bad_requests_flag", "признак некорректных запросов и уведомлений", Kind.BYTE, 1),
    (2114, "request_datetime", "дата и время запроса", Kind.TIME, 4),
    (2115, "mark_control_code", "контрольный код КМ", Kind.FIXED, 4),
    (2116, "mark_operation_kind", "вид операции", Kind.BYTE, 1),
)

TAGS = {row[0]: Tag(*row) for row in _ROWS}
"""By number."""


def limit_of(number: int) -> int:
    """The most characters that a text of this tag may have. KeyError for a tag that is not here or has no limit."""
    limit = TAGS[number].limit
    if limit is None:
        raise KeyError(number)
    return limit
