"""Buyer contacts in places where they must not be read: logs, messages, timelines.

Only masking lives here; checking an address needs libraries and is done in `infra/contacts.py`.
"""

import re

_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]++(?:@|%40)(?:[\w-]++\.)++[\w-]+")
_E164 = re.compile(r"(?:\+|%2[Bb])[1-9][0-9]{9,14}(?![0-9])")
_GROUPED = r"[\s\u00a0]?[(-]?[\s\u00a0]?{area}[0-9]{{2}}[)-]?(?:[\s\u00a0-]{{0,2}}[0-9]){{7}}"
_RUSSIAN = re.compile(
    rf"(?:\+|%2[Bb])7{_GROUPED.format(area='[0-9]')}(?![0-9])|(?<![\w.-])[78]{_GROUPED.format(area='[3489]')}(?![\w-])"
)


def mask_email(email: str) -> str:
    """`ivan@example.org` → `i***@e***.org`."""
    local, _, domain = email.rpartition("@")
    if not local or not domain:
        return "***"
    name, dot, zone = domain.rpartition(".")
    return f"{local[0]}***@{(name or zone)[0]}***{dot}{zone if name else ''}"


def mask_phone(phone: str) -> str:
    """`+79990000000` → `+7******0000`; what is too short to be a phone becomes stars alone."""
    digits = _digits(phone)
    if len(digits) < 10:
        return "******"
    if len(digits) == 11 and digits[0] == "8" and not phone.strip().startswith("+"):
        digits = "7" + digits[1:]
    return f"+{digits[0]}******{digits[-4:]}"


def mask_contacts(text: str) -> str:
    """The text with every e-mail and phone masked.

    Longer and shorter runs of digits stay: a fiscal storage number (16), an INN (10 or 12), ids.
    """
    # Every line of the log passes here: a text without the sign that an expression starts from is not searched.
    if "@" in text or "%40" in text:
        text = _EMAIL.sub(lambda found: mask_email(found[0].replace("%40", "@")), text)
    if "+" in text or "%2" in text:
        text = _E164.sub(_masked_phone, text)
    return _RUSSIAN.sub(_masked_phone, text)


def phone_tail(phone: str) -> str:
    """The last four digits, by which an operator finds a buyer. ValueError when there are fewer."""
    digits = _digits(phone)
    if len(digits) < 4:
        raise ValueError("a phone has at least four digits")
    return digits[-4:]


def _masked_phone(found: re.Match[str]) -> str:
    text: str = found[0]
    return mask_phone("+" + text[3:] if text.startswith("%") else text)


def _digits(text: str) -> str:
    return "".join(char for char in text if char in "0123456789")
