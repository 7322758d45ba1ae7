"""ИНН: ten digits of an organisation or twelve of a person, with their check digits."""

FOREIGN_SUPPLIER = "000000000000"
"""What an agent writes for a supplier without a Russian INN (FNS letter АБ-4-20/19338@)."""

_TEN = (2, 4, 10, 3, 5, 9, 4, 6, 8)
_ELEVENTH = (7, 2, 4, 10, 3, 5, 9, 4, 6, 8)
_TWELFTH = (3, 7, 2, 4, 10, 3, 5, 9, 4, 6, 8)


def inn_valid(inn: str) -> bool:
    """Whether the digits are an INN with right check digits (mod 11, mod 10)."""
    if not (inn.isascii() and inn.isdigit()) or inn == FOREIGN_SUPPLIER[: len(inn)]:
        return False
    digits = [int(char) for char in inn]
    match len(digits):
        case 10:
            return digits[9] == _check(digits, _TEN)
        case 12:
            return digits[10] == _check(digits, _ELEVENTH) and digits[11] == _check(digits, _TWELFTH)
        case _:
            return False


def _check(digits: list[int], weights: tuple[int, ...]) -> int:
    return sum(digit * weight for digit, weight in zip(digits, weights, strict=False)) % 11 % 10
