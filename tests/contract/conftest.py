"""`--update-golden`: write the golden bodies anew instead of comparing with them."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="Write tests/contract/golden anew; read the diff.")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """False also where this file was found too late for its option to be read."""
    return bool(request.config.getoption("--update-golden", default=False))
