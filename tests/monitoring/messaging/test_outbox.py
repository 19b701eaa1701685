"""What waits to be sent: bounded, merged, on the disk; nothing critical is ever lost."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from monitoring.language.base import words_of
from monitoring.messaging.message import Button, Importance, Message
from monitoring.messaging.outbox import CAPACITY, FEW, Outbox

ENGLISH = words_of("en")


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "outbox.json", ENGLISH)


def message(title: str, importance: Importance = Importance.INTERVENTION, kind: str = "note") -> Message:
    return Message(kind, importance, title)


def drained(outbox: Outbox) -> list[Message]:
    """All that waits, in the order in which it would be sent."""
    found = []
    while (first := outbox.first()) is not None:
        outbox.done(first)
        found.append(first)
    return found


def titles(outbox: Outbox) -> list[str]:
    return [found.headline for found in drained(outbox)]


def test_messages_leave_as_they_came_critical_ones_first(outbox: Outbox) -> None:
    for title in ("one", "two"):
        outbox.put(message(title))
    outbox.put(message("alarm", Importance.CRITICAL))
    assert titles(outbox) == ["alarm", "one", "two"]


def test_a_message_stays_until_it_is_done(outbox: Outbox) -> None:
    outbox.put(message("one"))
    assert outbox.first() == outbox.first() == message("one")
    outbox.done(message("one"))
    assert outbox.first() is None and len(outbox) == 0


def test_newer_progress_takes_the_place_of_older(outbox: Outbox) -> None:
    for step in range(5):
        outbox.put(message(f"step {step}", Importance.PROGRESS, "progress"))
        outbox.put(message(f"note {step}"))
    assert titles(outbox) == ["step 4", *(f"note {step}" for step in range(5))]


def test_an_alarm_that_repeats_is_counted(outbox: Outbox) -> None:
    for _ in range(3):
        outbox.put(message("gradients explode", Importance.CRITICAL, "alarm"))
    assert titles(outbox) == ["gradients explode (× 3)"]


def test_what_joined_a_message_under_way_is_sent_later(outbox: Outbox) -> None:
    outbox.put(message("alarm", Importance.CRITICAL))
    under_way = outbox.first()
    outbox.put(message("alarm", Importance.CRITICAL))
    assert under_way is not None
    outbox.done(under_way)
    assert titles(outbox) == ["alarm (× 2)"]


def test_only_critical_ones_leave_in_a_silence(outbox: Outbox) -> None:
    outbox.put(message("one"))
    assert outbox.first(only_critical=True) is None
    outbox.put(message("alarm", Importance.CRITICAL))
    assert outbox.first(only_critical=True) == message("alarm", Importance.CRITICAL)


def test_over_its_capacity_the_least_important_goes_first(outbox: Outbox) -> None:
    outbox.put(message("phase", Importance.PHASE))
    outbox.put(message("end", Importance.END))
    for i in range(CAPACITY):
        outbox.put(message(f"note {i}"))
    left = titles(outbox)
    assert len(left) == CAPACITY
    assert "phase" not in left and "note 0" not in left and "end" in left and f"note {CAPACITY - 1}" in left


def test_no_alarm_is_lost_however_many_there_are(outbox: Outbox) -> None:
    for i in range(3 * CAPACITY):
        outbox.put(message(f"alarm {i}", Importance.CRITICAL))
        outbox.put(message(f"note {i}"))
    left = drained(outbox)
    assert len(left) <= CAPACITY
    assert sum(found.times for found in left if found.importance is Importance.CRITICAL) == 3 * CAPACITY
    said = {line for found in left for line in (found.title, *found.lines)}
    assert {f"alarm {i}" for i in range(3 * CAPACITY)} <= said


def test_memory_stays_bounded(outbox: Outbox) -> None:
    for i in range(20_000):
        outbox.put(message(f"alarm {i} {'x' * 50}", Importance.CRITICAL))
    waiting = drained(outbox)
    size = sum(sys.getsizeof(line) for found in waiting for line in (found.title, *found.lines))
    assert size < 200_000
    assert sum(found.times for found in waiting) == 20_000


def test_what_waits_survives_the_process(outbox: Outbox, tmp_path: Path) -> None:
    whole = Message(
        *("kind", Importance.END, "title <b>ё\ud800", ("a", "b")),
        **{"step": 3, "pictures": ("x.png",), "voice": "x.wav", "buttons": (Button("yes", "approve 1"),), "times": 2},  # type: ignore[arg-type]
    )
    outbox.put(whole)
    outbox.save()
    (survivor,) = drained(Outbox(tmp_path / "outbox.json", ENGLISH))
    assert survivor == whole


def test_nothing_is_written_when_nothing_changed(outbox: Outbox, tmp_path: Path) -> None:
    outbox.put(message("one"))
    outbox.save()
    (tmp_path / "outbox.json").unlink()
    outbox.save()
    assert not (tmp_path / "outbox.json").exists()


def test_a_digest_names_all_and_counts_what_was_dropped(outbox: Outbox) -> None:
    for i in range(CAPACITY + 7):
        outbox.put(message(f"note {i}"))
    outbox.put(message("alarm", Importance.CRITICAL))
    outbox.put(Message("finished", Importance.END, "the end", voice="best.wav", pictures=("curves.png",)))
    outbox.digest()
    (digest,) = drained(outbox)
    assert digest.headline == f"While the connection was down (× {CAPACITY + 9})"
    assert digest.lines[0] == "alarm" and digest.lines[-1] == "the end" and "note 50" in digest.lines
    assert (digest.voice, digest.pictures, digest.importance) == ("best.wav", ("curves.png",), Importance.CRITICAL)


def test_a_digest_of_digests_counts_on(outbox: Outbox) -> None:
    for round_ in range(3):
        for i in range(FEW + 1):
            outbox.put(message(f"note {round_} {i}"))
        outbox.digest()
    (digest,) = drained(outbox)
    assert digest.times == 3 * (FEW + 1) and len(digest.lines) == 3 * (FEW + 1)


def test_a_few_messages_need_no_digest_and_late_answers_are_dropped(outbox: Outbox) -> None:
    for i in range(FEW):
        outbox.put(message(f"note {i}"))
    outbox.put(message("an answer", Importance.ANSWER))
    outbox.digest()
    assert titles(outbox) == [f"note {i}" for i in range(FEW)]


def test_a_question_keeps_its_buttons_through_an_outage(outbox: Outbox) -> None:
    question = Message("proposal", Importance.CRITICAL, "May I?", buttons=(Button("approve", "approve 1"),))
    outbox.put(question)
    for i in range(20):
        outbox.put(message(f"note {i}"))
    outbox.digest()
    assert outbox.first() == question and len(outbox) == 2
