"""A run whose journal has begun; event publisher with a recorder; Telegram client connected to the test server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from commands.run.event_publisher import EventPublisher
from tests.monitoring.bot_api import BotApi
from tests.monitoring.journals import RunFolder
from tests.monitoring.messaging.telegram_setup import TelegramSetup
from tests.monitoring.recorders import open_recorder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "run")
    run.start()
    return run


@pytest.fixture
def publisher(tmp_path: Path) -> Iterator[EventPublisher]:
    publisher = EventPublisher(open_recorder(tmp_path))
    yield publisher
    publisher.recorder.close()


@pytest.fixture
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitoring.messaging.sender.FIRST_WAIT_SECONDS", 0.02)
    monkeypatch.setattr("monitoring.messaging.telegram.REQUEST_SECONDS", 1.0)
    monkeypatch.setattr("monitoring.messaging.telegram.MAX_CALL_SECONDS", 5.0)


@pytest.fixture
def telegram(api: BotApi, short_timeouts: None, tmp_path: Path) -> Iterator[TelegramSetup]:
    telegram = TelegramSetup(api, tmp_path)
    yield telegram
    telegram.close()
