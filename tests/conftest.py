"""Settings of all tests that keep their numbers the same: one thread, reproducible products, fixed examples."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("MKL_CBWR", "COMPATIBLE")  # before torch: else sums depend on where in memory a matrix lies

import hypothesis  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis.configuration import set_hypothesis_home_dir  # noqa: E402

from tests.monitoring.bot_api import BotApi  # noqa: E402
from tests.support.postgres_server import PROGRAM_FOLDERS, PostgresServer  # noqa: E402

torch.set_num_threads(1)

set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "hypothesis")  # its files do not belong into the repository
hypothesis.settings.register_profile(
    "repository", database=None, deadline=None, derandomize=True, max_examples=80, print_blob=False
)
hypothesis.settings.load_profile("repository")


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """Restore the handler of Ctrl-C before and after each test, since commands replace it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def api() -> Iterator[BotApi]:
    api = BotApi()
    yield api
    api.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    if not PROGRAM_FOLDERS:
        pytest.skip("needs Debian's package postgresql")
    server = PostgresServer()
    yield server
    server.close()
