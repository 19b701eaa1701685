"""Settings of all tests that keep their numbers the same: one thread, fixed examples."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import torch
from hypothesis.configuration import set_hypothesis_home_dir

from tests.monitoring.bot_api import BotApi
from tests.support.postgres_server import PROGRAM_FOLDERS, PostgresServer

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
