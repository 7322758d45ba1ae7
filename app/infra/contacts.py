"""A buyer's e-mail and phone as a receipt carries them (tag 1008), checked by libraries and without the network.

Errors never repeat the contact: they are shown, logged and stored.
"""

import re

import phonenumbers
from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email

MAX_CONTACT = 64
"""Tag 1008 holds 64 characters."""

# Shapes of which the libraries are known to give back the very same text; the tests hold both against each other.
_PLAIN_EMAIL = re.compile(
    r"(?=[^@]{1,64}@)[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*"
    r"@((?:[a-z0-9](?:[a-z0-9]|-(?!-)){0,40}(?<!-)\.)+[a-z]{2,20})"
)
_PLAIN_PHONE = re.compile(r"\+79[0-9]{9}")
_SPECIAL = tuple(f".{name}" for name in SPECIAL_USE_DOMAIN_NAMES)


def normalize_email(email: str) -> str:
    """The address in ASCII, its domain in lower case (a Cyrillic domain becomes punycode); no DNS is asked.

    ValueError with a plain sentence when no register would take it.
    """
    plain = _PLAIN_EMAIL.fullmatch(email)
    if plain is not None and len(email) <= MAX_CONTACT and not f".{plain[1]}".endswith(_SPECIAL):
        return email
    try:
        checked = validate_email(email.strip(), check_deliverability=False, allow_smtputf8=False)
    except EmailNotValidError:
        raise ValueError("the e-mail is not an address such as name@example.org") from None
    address = checked.ascii_email or checked.normalized
    if len(address) > MAX_CONTACT:
        raise ValueError(f"the e-mail is longer than the {MAX_CONTACT} characters that a receipt can carry")
    return address


def normalize_phone(phone: str) -> str:
    """The number in E.164; without a country code it is Russian, a leading 8 included.

    ValueError with a plain sentence when it cannot be a complete number.
    """
    if _PLAIN_PHONE.fullmatch(phone):
        return phone
    try:
        number = phonenumbers.parse(phone.strip(), "RU")
    except phonenumbers.NumberParseException:
        raise ValueError("the phone is not a number such as +79990000000") from None
    # Only the length is judged: ranges open faster than any table is updated, and a refused phone is a lost receipt.
    verdict = phonenumbers.is_possible_number_with_reason(number)
    if verdict != phonenumbers.ValidationResult.IS_POSSIBLE:
        raise ValueError("the phone has too few or too many digits; write it as +79990000000")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
