"""Outbox: bounded, merged, stored on disk, and no critical message is ever lost."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from monitoring.language.english import ENGLISH
from monitoring.messaging.message import Button, Message, Priority
from monitoring.messaging.outbox import CAPACITY, MAX_SINGLE_MESSAGES, Outbox


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "outbox.json", ENGLISH)


def message(title: str, priority: Priority = Priority.INTERVENTION, kind: str = "note") -> Message:
    return Message(kind, priority, title)


def drain(outbox: Outbox) -> list[Message]:
    """Remove all messages in the order in which they would be sent."""
    messages = []
    while (first := outbox.first()) is not None:
        outbox.remove(first)
        messages.append(first)
    return messages


def headlines(outbox: Outbox) -> list[str]:
    return [message.headline for message in drain(outbox)]


def test_messages_leave_in_order_of_arrival_critical_ones_first(outbox: Outbox) -> None:
    for title in ("one", "two"):
        outbox.put(message(title))
    outbox.put(message("alarm", Priority.CRITICAL))
    assert headlines(outbox) == ["alarm", "one", "two"]


def test_a_message_stays_until_it_is_removed(outbox: Outbox) -> None:
    outbox.put(message("one"))
    assert outbox.first() == outbox.first() == message("one")
    outbox.remove(message("one"))
    assert outbox.first() is None and len(outbox) == 0


def test_new_progress_replaces_waiting_progress(outbox: Outbox) -> None:
    for step in range(5):
        outbox.put(message(f"step {step}", Priority.PROGRESS, "progress"))
        outbox.put(message(f"note {step}"))
    assert headlines(outbox) == ["step 4", *(f"note {step}" for step in range(5))]


def test_a_repeated_alarm_is_counted(outbox: Outbox) -> None:
    for _ in range(3):
        outbox.put(message("exploding gradients", Priority.CRITICAL, "alarm"))
    assert headlines(outbox) == ["exploding gradients (× 3)"]


def test_an_alarm_that_repeats_while_it_is_sent_is_sent_again(outbox: Outbox) -> None:
    outbox.put(message("alarm", Priority.CRITICAL))
    being_sent = outbox.first()
    outbox.put(message("alarm", Priority.CRITICAL))
    assert being_sent is not None
    outbox.remove(being_sent)
    assert headlines(outbox) == ["alarm (× 2)"]


def test_only_critical_messages_can_be_asked_for(outbox: Outbox) -> None:
    outbox.put(message("one"))
    assert outbox.first(only_critical=True) is None
    outbox.put(message("alarm", Priority.CRITICAL))
    assert outbox.first(only_critical=True) == message("alarm", Priority.CRITICAL)


def test_beyond_the_capacity_the_lowest_priority_is_dropped(outbox: Outbox) -> None:
    outbox.put(message("phase", Priority.PHASE))
    outbox.put(message("end", Priority.END))
    for i in range(CAPACITY):
        outbox.put(message(f"note {i}"))
    titles = headlines(outbox)
    assert len(titles) == CAPACITY
    assert "phase" not in titles and "note 0" not in titles and "end" in titles and f"note {CAPACITY - 1}" in titles


def test_no_alarm_is_lost_among_many(outbox: Outbox) -> None:
    for i in range(3 * CAPACITY):
        outbox.put(message(f"alarm {i}", Priority.CRITICAL))
        outbox.put(message(f"note {i}"))
    messages = drain(outbox)
    assert len(messages) <= CAPACITY
    assert sum(message.times for message in messages if message.priority is Priority.CRITICAL) == 3 * CAPACITY
    texts = {line for message in messages for line in (message.title, *message.lines)}
    assert {f"alarm {i}" for i in range(3 * CAPACITY)} <= texts


def test_memory_stays_bounded(outbox: Outbox) -> None:
    for i in range(20_000):
        outbox.put(message(f"alarm {i} {'x' * 50}", Priority.CRITICAL))
    messages = drain(outbox)
    assert sum(sys.getsizeof(line) for message in messages for line in (message.title, *message.lines)) < 200_000
    assert sum(message.times for message in messages) == 20_000


def test_waiting_messages_survive_the_process(outbox: Outbox, tmp_path: Path) -> None:
    whole = Message(
        *("kind", Priority.END, "title <b>ё\ud800", ("a", "b")),
        **{"step": 3, "pictures": ("x.png",), "voice": "x.wav", "buttons": (Button("yes", "approve 1"),), "times": 2},  # type: ignore[arg-type]
    )
    outbox.put(whole)
    outbox.save()
    (survivor,) = drain(Outbox(tmp_path / "outbox.json", ENGLISH))
    assert survivor == whole


def test_the_file_keeps_its_keys(outbox: Outbox, tmp_path: Path) -> None:
    """Earlier versions wrote them too."""
    outbox.put(Message("note", Priority.END, "title", ("line",), buttons=(Button("yes", "approve 1"),)))
    outbox.save()
    content = json.loads((tmp_path / "outbox.json").read_text(encoding="utf-8"))
    (waiting,) = content["waiting"]
    assert content["dropped"] == 0
    assert waiting == {
        **{"kind": "note", "importance": 5, "title": "title", "lines": ["line"], "step": 0, "pictures": []},
        **{"voice": None, "buttons": [{"label": "yes", "command": "approve 1"}], "times": 1},
    }


def test_an_unchanged_outbox_is_not_written(outbox: Outbox, tmp_path: Path) -> None:
    outbox.put(message("one"))
    outbox.save()
    (tmp_path / "outbox.json").unlink()
    outbox.save()
    assert not (tmp_path / "outbox.json").exists()


def test_a_digest_names_all_messages_and_counts_dropped_ones(outbox: Outbox) -> None:
    for i in range(CAPACITY + 7):
        outbox.put(message(f"note {i}"))
    outbox.put(message("alarm", Priority.CRITICAL))
    outbox.put(Message("finished", Priority.END, "the end", voice="best.wav", pictures=("curves.png",)))
    outbox.condense()
    (digest,) = drain(outbox)
    assert digest.headline == f"While the connection was down (× {CAPACITY + 9})"
    assert digest.lines[0] == "alarm" and digest.lines[-1] == "the end" and "note 50" in digest.lines
    assert (digest.voice, digest.pictures, digest.priority) == ("best.wav", ("curves.png",), Priority.CRITICAL)


def test_a_digest_includes_earlier_digests(outbox: Outbox) -> None:
    for outage in range(3):
        for i in range(MAX_SINGLE_MESSAGES + 1):
            outbox.put(message(f"note {outage} {i}"))
        outbox.condense()
    (digest,) = drain(outbox)
    assert digest.times == 3 * (MAX_SINGLE_MESSAGES + 1) and len(digest.lines) == 3 * (MAX_SINGLE_MESSAGES + 1)


def test_few_messages_stay_single_and_late_answers_are_dropped(outbox: Outbox) -> None:
    for i in range(MAX_SINGLE_MESSAGES):
        outbox.put(message(f"note {i}"))
    outbox.put(message("an answer", Priority.ANSWER))
    outbox.condense()
    assert headlines(outbox) == [f"note {i}" for i in range(MAX_SINGLE_MESSAGES)]


def test_a_question_keeps_its_buttons_through_an_outage(outbox: Outbox) -> None:
    question = Message("proposal", Priority.CRITICAL, "May I?", buttons=(Button("approve", "approve 1"),))
    outbox.put(question)
    for i in range(20):
        outbox.put(message(f"note {i}"))
    outbox.condense()
    assert outbox.first() == question and len(outbox) == 2
