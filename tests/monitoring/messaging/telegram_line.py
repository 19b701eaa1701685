"""Everything between a message and the server it is sent to."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from monitoring.language.base import words_of
from monitoring.messaging.message import Message
from monitoring.messaging.outbox import Outbox
from monitoring.messaging.sender import Courier, Pace
from monitoring.messaging.settings import TelegramSettings
from monitoring.messaging.telegram import TelegramDoor
from tests.monitoring.bot_api import CHAT, TOKEN, USER, BotApi


def configured(api: BotApi, **changes: Any) -> TelegramSettings:
    values: dict[str, Any] = {"bot_token": TOKEN, "chat_id": CHAT, "allowed_users": (USER,), "base_url": api.base_url}
    return TelegramSettings(enabled=True, **values | changes)


class Line:
    """An outbox, a courier and a door, and what the courier complained of."""

    def __init__(self, api: BotApi, folder: Path, **changes: Any) -> None:
        self.complaints: list[str] = []
        self.settings = configured(api, **changes)
        self.door = TelegramDoor(self.settings)
        self.outbox = Outbox(folder / "outbox.json", words_of("en"))
        self.courier = Courier("telegram", self.outbox, self.door, Pace(1000), self.complaints.append)

    def bring(self, *messages: Message, seconds: float = 20) -> None:
        """All of them, and wait until nothing is left."""
        for message in messages:
            self.outbox.put(message)
        if not self.courier.is_alive():
            self.courier.start()
        wait_until(lambda: len(self.outbox) == 0, seconds)

    def close(self) -> None:
        if self.courier.is_alive():
            self.courier.stop()
        self.door.close()


def wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.01)
