"""Ten thousand events in a minute: how many messages leave, whether an alarm is lost, and how much memory it takes.

`python -m benchmarks message_flood` takes two minutes; all goes through the real library to a server on this machine.
Exits 1 when more leave than allowed, or an alarm is lost.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

from benchmarks.robustness.fake_bot_api import TOKEN, AgreeableBotApi
from monitoring.language.base import words_of
from monitoring.messaging.message import Importance, Message
from monitoring.messaging.outbox import Outbox
from monitoring.messaging.sender import Courier, Pace
from monitoring.messaging.settings import TelegramSettings
from monitoring.messaging.telegram import Parcel, TelegramDoor

EVENTS, ALARMS, MINUTE = 10_000, 10, 60.0
MOST_A_MINUTE = 20


class CountingDoor(TelegramDoor):
    """Notes when what was sent."""

    def __init__(self, settings: TelegramSettings) -> None:
        super().__init__(settings)
        self.sent: list[tuple[float, str]] = []

    def send(self, parcel: Parcel) -> None:
        super().send(parcel)
        self.sent.append((time.monotonic(), parcel.text))


def flood(outbox: Outbox) -> int:
    """A minute of events, alarms among them; returns how many messages waited at most."""
    began, most = time.monotonic(), 0
    for i in range(EVENTS):
        if i % (EVENTS // ALARMS) == 0:
            outbox.put(Message("alarm", Importance.CRITICAL, f"alarm {i}", ("What was found.",)))
        outbox.put(Message("intervention", Importance.INTERVENTION, f"event {i}", ("What was done.",) * 5))
        most = max(most, len(outbox))
        time.sleep(max(0.0, began + (i + 1) * MINUTE / EVENTS - time.monotonic()))
    return most


def complain(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def most_in_a_minute(at: Sequence[float]) -> int:
    return max((sum(first <= other < first + MINUTE for other in at) for first in at), default=0)


def main() -> int:
    os.environ["TELEGRAM_BOT_TOKEN"] = TOKEN
    api = AgreeableBotApi()
    door = CountingDoor(TelegramSettings(enabled=True, chat_id=1, base_url=api.base_url))
    with tempfile.TemporaryDirectory() as folder:
        outbox = Outbox(Path(folder) / "outbox.json", words_of("en"))
        courier = Courier("telegram", outbox, door, Pace(MOST_A_MINUTE), complain)
        courier.start()
        tracemalloc.start()
        waiting = flood(outbox)
        megabytes = tracemalloc.get_traced_memory()[1] / 1e6
        courier.finish(MINUTE)
    door.close()
    api.close()
    alarms = sum(text.startswith("alarm ") for _, text in door.sent)
    pace = most_in_a_minute([at for at, _ in door.sent])
    rows = [
        ("events in a minute, alarms among them", f"{EVENTS:,} and {ALARMS}"),
        ("messages that left in any minute, at most", f"{pace} (allowed: {MOST_A_MINUTE})"),
        ("alarms that arrived", f"{alarms} of {ALARMS}"),
        ("messages that waited at a time, at most", str(waiting)),
        ("memory taken meanwhile, at most", f"{megabytes:.1f} MB"),
    ]
    for name, figure in rows:
        sys.stdout.write(f"{name:<44} {figure}\n")
    return 0 if pace <= MOST_A_MINUTE and alarms == ALARMS else 1


if __name__ == "__main__":
    sys.exit(main())
