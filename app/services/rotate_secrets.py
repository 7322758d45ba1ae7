"""Sealed values and the keys they need: counted, tried, and sealed anew when the first key is another one.

To change keys: put the new one first in KASSA_SECRET_KEYS everywhere, restart, rotate, and take the old one away when
nothing is left under it.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from app.db.repos import sealed_columns
from app.db.repos.sealed_columns import COLUMNS, Resealed, SealedColumn, SealedValue
from app.db.unit_of_work import Database
from app.infra.crypto import CannotOpen, SecretBox, aad

BATCH = 500
_SAMPLE = 3

Progress = Callable[[str, int], None]
"""Told after each batch: the column, and how many of its values were sealed anew."""


@dataclass(frozen=True, slots=True)
class Rotated:
    """What a rotation did. `unreadable` values keep their old form: their key is gone, or they were changed."""

    resealed: int
    unreadable: int


class SealedStore:
    """All sealed values of the installation."""

    def __init__(self, database: Database, box: SecretBox) -> None:
        self._database = database
        self._box = box

    @property
    def current_key_id(self) -> int:
        return self._box.current_key_id

    async def key_ids(self) -> dict[int, int]:
        """How many values each key has sealed, over all columns."""
        counted: Counter[int] = Counter()
        for column in COLUMNS:
            async with self._database.pipeline() as tx:
                counted.update(await sealed_columns.key_ids(tx, column))
        return dict(sorted(counted.items()))

    async def unreadable(self) -> list[str]:
        """Of a sample of each column, what does not open: `table.column: why`, each cause once."""
        wrong: list[str] = []
        for column in COLUMNS:
            async with self._database.pipeline() as tx:
                values = await sealed_columns.sample(tx, column, _SAMPLE)
            for value in values:
                try:
                    self._box.open(value.blob, _where(column, value))
                except CannotOpen as error:
                    wrong.append(f"{column}: {error}")
        return list(dict.fromkeys(wrong))

    async def rotate(self, progress: Progress) -> Rotated:
        """Seal with the first key whatever another one has sealed; may be stopped and started again at any time."""
        resealed = unreadable = 0
        for column in COLUMNS:
            after = None
            while True:
                async with self._database.pipeline() as tx:
                    values = await sealed_columns.of_other_keys(tx, column, self._box.current_key_id, after, BATCH)
                    if not values:
                        break
                    fresh = [one for one in (self._reseal(column, value) for value in values) if one is not None]
                    if fresh:
                        resealed += await sealed_columns.replace(tx, column, fresh)
                unreadable += len(values) - len(fresh)
                after = values[-1].id
                progress(str(column), len(fresh))
        return Rotated(resealed, unreadable)

    def _reseal(self, column: SealedColumn, value: SealedValue) -> Resealed | None:
        try:
            return Resealed(value, self._box.reseal(value.blob, _where(column, value)))
        except CannotOpen:
            return None


def _where(column: SealedColumn, value: SealedValue) -> bytes:
    return aad(column.table, column.name, value.merchant_id, value.id)
