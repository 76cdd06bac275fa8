"""Options of the test suite: what is left out unless asked for."""

from __future__ import annotations

import pytest
import torch


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("landscape")
    group.addoption("--slow", action="store_true", help="also the tests that take minutes")
    group.addoption("--browser", action="store_true", help="also the tests that need a browser")
    group.addoption("--faults", type=int, default=1, metavar="N", help="rounds of tests that break a run on purpose")


def pytest_itemcollected(item: pytest.Item) -> None:
    if item.get_closest_marker("mpi"):  # one worker, so that ranks do not fight for cores and jobs can be shared
        item.add_marker(pytest.mark.xdist_group("mpi"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        for option in ("slow", "browser"):
            if item.get_closest_marker(option) and not config.getoption(option):
                item.add_marker(pytest.mark.skip(reason=f"needs --{option}"))


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test starts from the same random numbers, whichever tests its worker ran before."""
    torch.manual_seed(0)


@pytest.fixture
def faults(request: pytest.FixtureRequest) -> int:
    """How many rounds a test that breaks a run on purpose should do."""
    return int(request.config.getoption("--faults"))
