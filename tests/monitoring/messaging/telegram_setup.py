"""Outbox, sender and Telegram client, connected to a server that behaves as the Bot API does."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from monitoring.language.english import ENGLISH
from monitoring.messaging.message import Message
from monitoring.messaging.outbox import Outbox
from monitoring.messaging.sender import MessageSender, RateLimit
from monitoring.messaging.settings import TelegramSettings
from monitoring.messaging.telegram import TelegramClient
from tests.monitoring.bot_api import CHAT, TOKEN, USER, BotApi


class TelegramSetup:
    """Everything between a message and the server; `warnings` are those of the sender."""

    def __init__(self, api: BotApi, folder: Path, **changes: Any) -> None:
        self.warnings: list[str] = []
        values = {"bot_token": TOKEN, "chat_id": CHAT, "allowed_users": (USER,), "base_url": api.base_url}
        self.settings = TelegramSettings.model_validate({"enabled": True, **values, **changes})
        self.client = TelegramClient(self.settings)
        self.outbox = Outbox(folder / "outbox.json", ENGLISH)
        self.sender = MessageSender("telegram", self.outbox, self.client, RateLimit(1000), self.warnings.append)

    def send(self, *messages: Message, seconds: float = 20) -> None:
        """Send messages and wait until the outbox is empty."""
        for message in messages:
            self.outbox.put(message)
        if not self.sender.is_alive():
            self.sender.start()
        wait_until(lambda: len(self.outbox) == 0, seconds)

    def close(self) -> None:
        if self.sender.is_alive():
            self.sender.stop()
        self.client.close()


def wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"the condition was not met within {seconds} s"
        time.sleep(0.01)
