"""Rate limit, lost alarms and memory of Telegram messages during ten thousand events in a minute.

`python -m benchmarks message_flood` takes two minutes; messages pass through the real client library to a local server.
Exits 1 when more messages are sent than allowed, or an alarm is lost.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

from benchmarks.reporting import conclude
from benchmarks.robustness.fake_bot_api import TOKEN, FakeBotApi
from monitoring.language import LANGUAGES
from monitoring.messaging.message import Message, Priority
from monitoring.messaging.outbox import Outbox
from monitoring.messaging.sender import MessageSender, RateLimit
from monitoring.messaging.settings import TelegramSettings
from monitoring.messaging.telegram import TelegramClient, TelegramRequest

EVENTS, ALARMS, MINUTE = 10_000, 10, 60.0
MAX_PER_MINUTE = 20


class CountingClient(TelegramClient):
    """Telegram client that records the time and text of each message."""

    def __init__(self, settings: TelegramSettings) -> None:
        super().__init__(settings)
        self.sent: list[tuple[float, str]] = []

    def send(self, request: TelegramRequest) -> None:
        super().send(request)
        self.sent.append((time.monotonic(), request.text))


def flood(outbox: Outbox) -> int:
    """Put a minute of events into the outbox, alarms among them; return the largest number that waited."""
    started, max_waiting = time.monotonic(), 0
    for i in range(EVENTS):
        if i % (EVENTS // ALARMS) == 0:
            outbox.put(Message("alarm", Priority.CRITICAL, f"alarm {i}", ("What was found.",)))
        outbox.put(Message("intervention", Priority.INTERVENTION, f"event {i}", ("What was done.",) * 5))
        max_waiting = max(max_waiting, len(outbox))
        time.sleep(max(0.0, started + (i + 1) * MINUTE / EVENTS - time.monotonic()))
    return max_waiting


def print_problem(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def max_per_minute(times: Sequence[float]) -> int:
    """Largest number of times within any 60 seconds."""
    return max((sum(first <= other < first + MINUTE for other in times) for first in times), default=0)


def main() -> int:
    os.environ["TELEGRAM_BOT_TOKEN"] = TOKEN
    api = FakeBotApi()
    client = CountingClient(TelegramSettings(enabled=True, chat_id=1, base_url=api.base_url))
    with tempfile.TemporaryDirectory() as folder:
        outbox = Outbox(Path(folder) / "outbox.json", LANGUAGES["en"])
        sender = MessageSender("telegram", outbox, client, RateLimit(MAX_PER_MINUTE), print_problem)
        sender.start()
        tracemalloc.start()
        max_waiting = flood(outbox)
        megabytes = tracemalloc.get_traced_memory()[1] / 1e6
        sender.finish(MINUTE)
    client.close()
    api.close()
    alarms = sum(text.startswith("alarm ") for _, text in client.sent)
    sent_per_minute = max_per_minute([at for at, _ in client.sent])
    rows = [
        ("events in a minute, alarms among them", f"{EVENTS:,} and {ALARMS}"),
        ("messages sent in any minute, at most", f"{sent_per_minute} (allowed: {MAX_PER_MINUTE})"),
        ("alarms that arrived", f"{alarms} of {ALARMS}"),
        ("messages waiting at a time, at most", str(max_waiting)),
        ("memory allocated meanwhile, at most", f"{megabytes:.1f} MB"),
    ]
    for name, figure in rows:
        sys.stdout.write(f"{name:<44} {figure}\n")
    return conclude(sys.stdout.write, is_met=sent_per_minute <= MAX_PER_MINUTE and alarms == ALARMS)


if __name__ == "__main__":
    sys.exit(main())
