"""The record of a run, in an empty folder; a line to a server that speaks the Bot API."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from monitoring.journal.recorder import Naming, RunRecord
from monitoring.terminal.progress import ProgressDisplay
from tests.monitoring.bot_api import BotApi
from tests.monitoring.messaging.telegram_line import Line


@pytest.fixture
def record(tmp_path: Path) -> Any:
    display = ProgressDisplay(Console(file=io.StringIO()), name="run", last_step=10, plan_steps=10, line_seconds=1000)
    naming = Naming(symbols="_abc", safe_name=lambda id: id)
    record = RunRecord(tmp_path, naming, model="tacotron2", n_samples=2, display=display)
    yield record
    record.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitoring.messaging.sender.FIRST_WAIT_SECONDS", 0.02)
    monkeypatch.setattr("monitoring.messaging.telegram.REQUEST_SECONDS", 1.0)
    monkeypatch.setattr("monitoring.messaging.telegram.LONGEST_CALL_SECONDS", 5.0)


@pytest.fixture
def line(api: BotApi, impatient: None, tmp_path: Path) -> Iterator[Line]:
    line = Line(api, tmp_path)
    yield line
    line.close()
