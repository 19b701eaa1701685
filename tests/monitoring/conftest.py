"""A publisher with a recorder in an empty folder; a connection to a server that speaks the Bot API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from commands.run.event_publisher import EventPublisher
from tests.monitoring.bot_api import BotApi
from tests.monitoring.messaging.telegram_line import Line
from tests.monitoring.recorders import open_recorder


@pytest.fixture
def publisher(tmp_path: Path) -> Iterator[EventPublisher]:
    publisher = EventPublisher(open_recorder(tmp_path))
    yield publisher
    publisher.recorder.close()


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
