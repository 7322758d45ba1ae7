"""What failed because of others at the same moment is done again, a few times."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random

F = TypeVar("F", bound=Callable[..., Any])
TIMES = 4


def again(error: type[Exception]) -> Callable[[F], F]:
    """Decorates what does all its work in one transaction and raises this `error` when nothing was done.

    The fourth failure is the caller's. The transactions of people need it: whoever acts on a receipt locks its chain,
    then those that it looks back at, while the pipeline locks them by id, and the database breaks such a deadlock.
    """
    decorated = retry(
        retry=retry_if_exception_type(error), wait=wait_random(0.01, 0.1), stop=stop_after_attempt(TIMES), reraise=True
    )
    return cast("Callable[[F], F]", decorated)
