"""Sender: within the rate limit, alarms first, and again after failures, without blocking anyone."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from monitoring.language.english import ENGLISH
from monitoring.messaging.message import Message, Priority
from monitoring.messaging.outbox import CAPACITY, Outbox
from monitoring.messaging.sender import MessageRejected, MessageSender, RateLimit, ServerUnreachable


class FakeTransport:
    """Transport that accepts every request, unless `failures` has an error to raise."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.sent_at: list[float] = []
        self.failures: list[Exception] = []
        self.requests_per_message = 1

    def build_requests(self, message: Message) -> Sequence[Message]:
        return [message] * self.requests_per_message

    def send(self, request: Message) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.sent.append(request)
        self.sent_at.append(time.monotonic())

    @property
    def titles(self) -> list[str]:
        return [message.title for message in self.sent]


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "outbox.json", ENGLISH)


@pytest.fixture
def transport() -> FakeTransport:
    return FakeTransport()


@pytest.fixture(autouse=True)
def _one_second_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitoring.messaging.sender.MINUTE_SECONDS", 1.0)
    monkeypatch.setattr("monitoring.messaging.sender.FIRST_WAIT_SECONDS", 0.01)


@pytest.fixture
def sender(outbox: Outbox, transport: FakeTransport) -> Iterator[MessageSender]:
    sender = MessageSender("sender", outbox, transport, RateLimit(10), lambda _: None)
    yield sender
    if sender.is_alive():
        sender.stop()


def note(title: str, priority: Priority = Priority.INTERVENTION) -> Message:
    return Message("note", priority, title)


def test_ten_thousand_events_leave_at_the_allowed_rate_and_no_alarm_is_lost(
    sender: MessageSender, outbox: Outbox, transport: FakeTransport
) -> None:
    sender.start()
    for i in range(10_000):
        outbox.put(note(f"note {i}"))
        if i % 1000 == 0:
            outbox.put(note(f"alarm {i}", Priority.CRITICAL))
        assert len(outbox) <= CAPACITY
    time.sleep(2.2)
    sender.stop()
    for i, begin in enumerate(transport.sent_at):
        assert sum(begin <= at < begin + 1.0 for at in transport.sent_at[i:]) <= 10
    assert 20 <= len(transport.sent) <= 40
    alarms = [message.title for message in transport.sent if message.priority is Priority.CRITICAL]
    assert sorted(alarms) == sorted(f"alarm {i}" for i in range(0, 10_000, 1000))


def test_the_rate_limit_counts_a_request_from_its_arrival(
    sender: MessageSender, outbox: Outbox, transport: FakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, arrivals = transport.send, list[float]()

    def send_slowly_at_first(request: Message) -> None:
        time.sleep(0 if arrivals else 0.4)  # as for a first connection
        arrivals.append(time.monotonic())
        send(request)

    monkeypatch.setattr(transport, "send", send_slowly_at_first)
    for i in range(11):
        outbox.put(note(f"note {i}"))
    sender.start()
    sender.finish(5)
    assert arrivals[10] - arrivals[0] >= 1.0


def test_the_rate_limit_counts_each_request_of_a_message(
    sender: MessageSender, outbox: Outbox, transport: FakeTransport
) -> None:
    transport.requests_per_message = 3
    for i in range(10):
        outbox.put(note(f"note {i}"))
    sender.start()
    time.sleep(0.5)
    assert len(transport.sent) == 10


def test_a_partly_sent_message_continues_after_a_failure(
    sender: MessageSender, outbox: Outbox, transport: FakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport.requests_per_message = 3
    outbox.put(note("long"))
    send, attempts = transport.send, list[Message]()

    def fail_at_second_attempt(request: Message) -> None:
        attempts.append(request)
        if len(attempts) == 2:
            raise ServerUnreachable("no")
        send(request)

    monkeypatch.setattr(transport, "send", fail_at_second_attempt)
    sender.start()
    sender.finish(5)
    assert len(transport.sent) == 3 and len(attempts) == 4 and len(outbox) == 0


def test_an_answer_survives_a_short_failure_and_not_an_outage(
    sender: MessageSender, outbox: Outbox, transport: FakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport.failures = [ServerUnreachable("no")]
    outbox.put(note("answer", Priority.ANSWER))
    sender.start()
    sender.finish(5)
    assert transport.titles == ["answer"]

    monkeypatch.setattr("monitoring.messaging.sender.OUTAGE_SECONDS", 0.1)
    second_sender = MessageSender("sender", outbox, transport, RateLimit(10), lambda _: None)
    transport.failures = [ServerUnreachable("no")] * 6  # they take 0.01 + 0.02 + … + 0.32 s
    outbox.put(note("late answer", Priority.ANSWER))
    outbox.put(note("news"))
    second_sender.start()
    second_sender.finish(5)
    assert transport.titles == ["answer", "news"]


def test_finish_sends_all_messages(sender: MessageSender, outbox: Outbox, transport: FakeTransport) -> None:
    sender.start()
    for i in range(5):
        outbox.put(note(f"note {i}"))
    sender.finish(5)
    assert transport.titles == [f"note {i}" for i in range(5)]
    assert not sender.is_alive()


def test_unsent_messages_stay_in_the_outbox(
    sender: MessageSender, outbox: Outbox, transport: FakeTransport, tmp_path: Path
) -> None:
    transport.failures = [ServerUnreachable("no")] * 1000
    outbox.put(note("one"))
    sender.start()
    sender.finish(0.2)
    outbox.save()
    assert not sender.is_alive()
    waiting = Outbox(tmp_path / "outbox.json", ENGLISH).first()
    assert waiting is not None and waiting.title == "one"


def test_only_a_rejected_message_is_dropped(outbox: Outbox, transport: FakeTransport) -> None:
    warnings: list[str] = []
    sender = MessageSender("sender", outbox, transport, RateLimit(10), warnings.append)
    transport.failures = [MessageRejected("bad")]
    for i in range(3):
        outbox.put(note(f"note {i}"))
    sender.start()
    sender.finish(5)
    assert transport.titles == ["note 1", "note 2"]
    assert warnings == ["sender: a message was refused (bad)"]


@pytest.mark.parametrize("method", ["build_requests", "send"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_in_the_transport_is_reported_and_its_message_dropped(
    outbox: Outbox, transport: FakeTransport, method: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    warnings: list[str] = []
    original = getattr(transport, method)

    def fail_at_bad_message(message: Message) -> object:
        if message.title == "bad":
            raise RuntimeError("a bug, with a secret")
        return original(message)

    monkeypatch.setattr(transport, method, fail_at_bad_message)
    for title in ("bad", "good"):
        outbox.put(note(title))
    outbox.save()
    for _ in range(2):
        sender = MessageSender("sender", outbox, transport, RateLimit(10), warnings.append)
        sender.start()
        sender.finish(5)
    assert transport.titles == ["good"] and len(outbox) == 0
    assert len(Outbox(tmp_path / "outbox.json", ENGLISH)) == 0
    assert warnings == ["sender: ended by RuntimeError; companion/log.txt in the run's folder says more"]


def test_the_rate_limit_holds_for_any_minute() -> None:
    clock = [0.0]
    limit = RateLimit(2, now=lambda: clock[0])
    for clock[0] in (0.0, 0.5):
        assert limit.wait_seconds() == 0.0
        limit.count_request()
    assert limit.wait_seconds() == pytest.approx(0.5)
    clock[0] = 1.2
    assert limit.wait_seconds() == 0.0
