"""What a register writes of itself: the forms of fiscal documents, and the warnings of its fiscal storage."""

from app.domain.ffd import FfdEnum, Term


class DocumentForm(FfdEnum):
    """Код формы фискального документа."""

    REGISTRATION_REPORT = Term(1, "отчет о регистрации")
    SHIFT_OPEN_REPORT = Term(2, "отчет об открытии смены")
    RECEIPT = Term(3, "кассовый чек")
    BSO = Term(4, "бланк строгой отчетности")
    SHIFT_CLOSE_REPORT = Term(5, "отчет о закрытии смены")
    FN_CLOSE_REPORT = Term(6, "отчет о закрытии ФН")
    OFD_CONFIRMATION = Term(7, "подтверждение оператора")
    REGISTRATION_CHANGE_REPORT = Term(11, "отчет об изменении параметров регистрации")
    SETTLEMENT_STATE_REPORT = Term(21, "отчет о текущем состоянии расчетов")
    CORRECTION_RECEIPT = Term(31, "кассовый чек коррекции")
    CORRECTION_BSO = Term(41, "бланк строгой отчетности коррекции")

    @classmethod
    def of_receipt(cls, *, correction: bool) -> "DocumentForm":
        """The form of a receipt that this program asks for."""
        return cls.CORRECTION_RECEIPT if correction else cls.RECEIPT


class FnWarning(FfdEnum):
    """Признаки состояния ФН: the value is the tag."""

    FN_KEYS_30_DAYS = Term(1050, "ресурс ключей ФН меньше 30 дней")
    FN_KEYS_3_DAYS = Term(1051, "ресурс ключей ФН меньше 3 дней")
    FN_MEMORY_99 = Term(1052, "память ФН заполнена на 99 %")
    OFD_TIMEOUT = Term(1053, "нет подтверждения ОФД больше 2 дней")
