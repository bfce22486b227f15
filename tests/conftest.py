"""How every test runs: the two event loops, and how long a search may take."""

from __future__ import annotations

import faulthandler
import signal
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.kit.scheduler import seed_trio

settings.register_profile(
    "default",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=40,
    stateful_step_count=30,
    suppress_health_check=list(HealthCheck),
)
settings.register_profile(
    "thorough",
    deadline=None,
    max_examples=2_000,
    stateful_step_count=60,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--thorough", action="store_true", help="search long and at random, not shortly and always alike")


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("thorough" if config.getoption("--thorough") else "default")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts what runs in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test that hangs ends the run (pyproject.toml, `faulthandler_timeout`); a thorough one may take long."""
    if item.config.getoption("--thorough"):
        faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def thorough(request: pytest.FixtureRequest) -> bool:
    """Whether the search may take long."""
    return bool(request.config.getoption("--thorough"))


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Tests marked anyio run on both; a module that cares for uvloop too overrides this."""
    return request.param


@pytest.fixture(autouse=True)
def _same_order_every_time() -> None:
    seed_trio(0)
