"""Providers of the four classes: the real digitalkassa driver under other promises, and a register that keeps them.

A deduplicates and can be asked; B only can be asked; C only deduplicates; D neither.
"""

from dataclasses import replace
from typing import Any

from app.domain.outcome import CannotTell, LookupOutcome
from app.domain.receipt import Receipt
from app.kassas.digitalkassa import CAPABILITIES, DigitalkassaDriver
from app.ports.kassa import DriverContext

WIRE_SECONDS = 2.0
VISIBILITY_SECONDS = 1.0
FRESHNESS_SECONDS = 1.0

CLASSES: dict[str, tuple[bool, bool]] = {"A": (True, True), "B": (False, True), "C": (True, False), "D": (False, False)}
"""Class → (the id deduplicates, the id can be asked for)."""

PACKAGE = "tests.chaos.drivers"


def code(letter: str) -> str:
    return f"class_{letter.lower()}"


def make(letter: str) -> type[Any]:
    """The driver of a class, as a plug-in of this package."""
    deduplicates, can_ask = CLASSES[letter]

    class Driver(DigitalkassaDriver):
        """digitalkassa, with the windows of this class and the short times of a test."""

        capabilities = replace(
            CAPABILITIES,
            dedup_seconds=None if deduplicates else 0,
            lookup_seconds=None if can_ask else 0,
            visibility_seconds=VISIBILITY_SECONDS,
            wire_seconds=WIRE_SECONDS,
            poll_schedule_seconds=(0.3, 0.5, 1.0),
        )

        async def lookup(self, provider_id: str, receipt: Receipt, context: DriverContext) -> LookupOutcome:
            if not can_ask:
                return CannotTell("this provider cannot be asked by our id")
            return await super().lookup(provider_id, receipt, context)

    Driver.code = code(letter)
    Driver.title = f"Class {letter}"
    return Driver
