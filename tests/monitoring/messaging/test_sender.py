"""Bringing messages: at the allowed pace, whatever comes in; alarms first; the rest later or never in the way."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from monitoring.language.base import words_of
from monitoring.messaging.message import Importance, Message
from monitoring.messaging.outbox import CAPACITY, Outbox
from monitoring.messaging.sender import Courier, Pace, Undeliverable, Unreachable


class Door:
    """Takes what it is given unless told otherwise."""

    def __init__(self) -> None:
        self.taken: list[Message] = []
        self.at: list[float] = []
        self.failures: list[Exception] = []
        self.parts = 1

    def parcels(self, message: Message) -> Sequence[Message]:
        return [message] * self.parts

    def send(self, parcel: Message) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.taken.append(parcel)
        self.at.append(time.monotonic())


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "outbox.json", words_of("en"))


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture(autouse=True)
def _short_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitoring.messaging.sender.MINUTE_SECONDS", 1.0)
    monkeypatch.setattr("monitoring.messaging.sender.FIRST_WAIT_SECONDS", 0.01)


@pytest.fixture
def courier(outbox: Outbox, door: Door) -> Iterator[Courier]:
    courier = Courier("courier", outbox, door, Pace(10), lambda _: None)
    yield courier
    if courier.is_alive():
        courier.stop()


def note(title: str, importance: Importance = Importance.INTERVENTION) -> Message:
    return Message("note", importance, title)


def test_ten_thousand_events_a_minute_leave_at_the_allowed_rate_and_no_alarm_is_lost(
    courier: Courier, outbox: Outbox, door: Door
) -> None:
    """A minute lasts a second here."""
    courier.start()
    for i in range(10_000):
        outbox.put(note(f"note {i}"))
        if i % 1000 == 0:
            outbox.put(note(f"alarm {i}", Importance.CRITICAL))
        assert len(outbox) <= CAPACITY
    time.sleep(2.2)
    courier.stop()
    for i, began in enumerate(door.at):
        assert sum(began <= at < began + 1.0 for at in door.at[i:]) <= 10
    assert 20 <= len(door.taken) <= 40
    alarms = [message.title for message in door.taken if message.importance is Importance.CRITICAL]
    assert sorted(alarms) == sorted(f"alarm {i}" for i in range(0, 10_000, 1000))


def test_a_request_counts_from_when_it_has_arrived(
    courier: Courier, outbox: Outbox, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first takes longer, as a first connection does."""
    send, arrived = door.send, list[float]()

    def slow_at_first(parcel: Message) -> None:
        time.sleep(0 if arrived else 0.4)
        arrived.append(time.monotonic())
        send(parcel)

    monkeypatch.setattr(door, "send", slow_at_first)
    for i in range(11):
        outbox.put(note(f"note {i}"))
    courier.start()
    courier.finish(5)
    assert arrived[10] - arrived[0] >= 1.0


def test_each_request_counts(courier: Courier, outbox: Outbox, door: Door) -> None:
    door.parts = 3
    for i in range(10):
        outbox.put(note(f"note {i}"))
    courier.start()
    time.sleep(0.5)
    assert len(door.taken) == 10


def test_what_was_sent_in_part_is_finished_and_not_begun_again(courier: Courier, outbox: Outbox, door: Door) -> None:
    door.parts = 3
    outbox.put(note("long"))
    send, sent = door.send, []

    def fails_once(parcel: Message) -> None:
        sent.append(parcel)
        if len(sent) == 2:
            raise Unreachable("no")
        send(parcel)

    door.send = fails_once  # type: ignore[method-assign]
    courier.start()
    courier.finish(5)
    assert len(door.taken) == 3 and len(sent) == 4 and len(outbox) == 0


def test_an_answer_outlives_a_short_failure_and_not_an_outage(
    courier: Courier, outbox: Outbox, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    door.failures = [Unreachable("no")]
    outbox.put(note("answer", Importance.ANSWER))
    courier.start()
    courier.finish(5)
    assert [message.title for message in door.taken] == ["answer"]

    monkeypatch.setattr("monitoring.messaging.sender.OUTAGE_SECONDS", 0.1)
    later = Courier("courier", outbox, door, Pace(10), lambda _: None)
    door.failures = [Unreachable("no")] * 6  # they take 0.01 + 0.02 + … + 0.32 s
    outbox.put(note("late answer", Importance.ANSWER))
    outbox.put(note("news"))
    later.start()
    later.finish(5)
    assert [message.title for message in door.taken] == ["answer", "news"]


def test_it_ends_when_all_is_brought(courier: Courier, outbox: Outbox, door: Door) -> None:
    courier.start()
    for i in range(5):
        outbox.put(note(f"note {i}"))
    courier.finish(5)
    assert [message.title for message in door.taken] == [f"note {i}" for i in range(5)]
    assert not courier.is_alive()


def test_what_could_not_be_brought_stays(courier: Courier, outbox: Outbox, door: Door, tmp_path: Path) -> None:
    door.failures = [Unreachable("no")] * 1000
    outbox.put(note("one"))
    courier.start()
    courier.finish(0.2)
    outbox.save()
    assert not courier.is_alive()
    assert [m.title for m in [Outbox(tmp_path / "outbox.json", words_of("en")).first()] if m] == ["one"]


def test_one_that_is_refused_costs_only_itself(outbox: Outbox, door: Door) -> None:
    said: list[str] = []
    courier = Courier("courier", outbox, door, Pace(10), said.append)
    door.failures = [Undeliverable("bad")]
    for i in range(3):
        outbox.put(note(f"note {i}"))
    courier.start()
    courier.finish(5)
    assert [message.title for message in door.taken] == ["note 1", "note 2"]
    assert said == ["courier: a message was refused (bad)"]


@pytest.mark.parametrize("where", ["parcels", "send"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_in_the_door_is_told_and_not_met_again(
    outbox: Outbox, door: Door, where: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said: list[str] = []
    working = getattr(door, where)

    def breaks(message: Message) -> object:
        if message.title == "bad":
            raise RuntimeError("a bug, with a secret")
        return working(message)

    monkeypatch.setattr(door, where, breaks)
    for title in ("bad", "good"):
        outbox.put(note(title))
    outbox.save()
    for _ in range(2):
        courier = Courier("courier", outbox, door, Pace(10), said.append)
        courier.start()
        courier.finish(5)
    assert [message.title for message in door.taken] == ["good"] and len(outbox) == 0
    assert len(Outbox(tmp_path / "outbox.json", words_of("en"))) == 0
    assert said == ["courier: ended by RuntimeError; companion/log.txt in the run's folder says more"]


def test_the_pace_is_of_any_minute() -> None:
    now = [0.0]
    pace = Pace(2, now=lambda: now[0])
    for at in (0.0, 0.5):
        now[0] = at
        assert pace.wait_seconds() == 0.0
        pace.note()
    assert pace.wait_seconds() == pytest.approx(0.5)
    now[0] = 1.2
    assert pace.wait_seconds() == 0.0
