"""Notifications: the messages that journal records lead to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from monitoring.journal.tail import JournalTail
from monitoring.language import LANGUAGES
from monitoring.language.base import LanguageCode
from monitoring.messaging.message import Message, Priority
from monitoring.messaging.notifications import Notifications
from monitoring.messaging.outbox import Outbox
from tests.monitoring.journals import DIAGNOSIS, FOLLOW_UP, INTERVENTION, RunFolder, sick_run
from tests.monitoring.wave_file import write_pcm


class Recipient:
    """Recipient of the messages about a run."""

    def __init__(self, run: RunFolder, language: LanguageCode = "en", **seconds: float) -> None:
        self.run, self._seconds = run, {"progress_seconds": 600.0, "sample_seconds": 600.0} | seconds
        (run.path / "companion").mkdir(exist_ok=True)
        self._language = LANGUAGES[language]

    def receive(self) -> list[Message]:
        """Follow the journal to its end and return the new messages."""
        outbox = Outbox(self.run.path / "outbox.json", self._language)

        def open_notifications() -> Notifications:
            return Notifications(self.run.path, outbox, self._language, **self._seconds)

        tail = JournalTail("telegram", self.run.path, open_notifications, warn=pytest.fail)
        tail.finish_requested.set()
        tail.run()
        messages = []
        while (first := outbox.first()) is not None:
            outbox.remove(first)
            messages.append(first)
        outbox.save()
        return messages


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def write_sample(run: RunFolder, step: int) -> dict[str, Any]:
    """Write sound and picture of a sample; return the fields of its evaluation."""
    fields = run.write_samples(step)
    stem = run.path / f"samples/step-{step:08d}-a"
    write_pcm(stem.with_name(f"{stem.name}.wav"), [0, 1] * 100, rate=22_050)
    stem.with_name(f"{stem.name}.png").write_bytes(b"picture")
    return dict(fields)


def test_the_messages_of_a_whole_run(tmp_path: Path) -> None:
    messages = Recipient(sick_run(tmp_path / "run")).receive()
    assert [(message.kind, message.priority.name) for message in messages] == [
        ("started", "INTERVENTION"),
        ("sample", "PROGRESS"),
        ("phase", "PHASE"),
        ("intervention", "INTERVENTION"),
        ("follow_up", "INTERVENTION"),
        ("finished", "END"),
    ]
    start, _, phase, intervention, follow_up, end = messages
    assert start.title == "Training started: run"
    assert start.lines == (
        "Model: tacotron2, 1.5 M, language en-us",
        "Data: corpus, 100 utterances",
        "About 10 min for 100 steps",
    )
    assert phase.title == "Phase: alignment"
    assert intervention.title == "#1 step 40: lower the learning rate"
    assert "Found: loss spike (warning): loss 9, before 2" in intervention.lines
    assert follow_up.title == "#1 helped: step 40: lower the learning rate"
    assert end.title.startswith("run: Finished: the voice speaks")
    assert (tmp_path / "run" / "companion" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_messages_in_russian(tmp_path: Path) -> None:
    titles = [message.title for message in Recipient(sick_run(tmp_path / "run"), "ru").receive()]
    assert titles[0] == "Обучение началось: run"
    assert titles[3] == "#1 шаг 40: снизить скорость обучения"


def test_nothing_is_sent_twice(run: RunFolder) -> None:
    recipient = Recipient(run)
    run.start()
    assert len(recipient.receive()) == 1
    assert recipient.receive() == []
    run.finish(0)
    assert [message.kind for message in recipient.receive()] == ["finished"]


def test_a_new_recipient_gets_no_old_news(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    run.start()
    run.finish(0)
    monkeypatch.setattr("monitoring.messaging.notifications.MAX_AGE_SECONDS", -1000.0)
    assert Recipient(run).receive() == []


def test_only_critical_diagnoses_are_sent_at_once(run: RunFolder) -> None:
    run.start()
    run.journal.write("diagnosis", 5, **DIAGNOSIS)
    run.journal.write("diagnosis", 6, **DIAGNOSIS | {"severity": "critical"})
    run.journal.write("diagnosis", 7, **DIAGNOSIS | {"severity": "critical"})
    alarm, start = Recipient(run).receive()
    assert (alarm.priority, alarm.headline) == (Priority.CRITICAL, "Problem: loss spike (× 2)")
    assert start.kind == "started"


def test_an_alarm_of_the_watchdog_is_critical(run: RunFolder) -> None:
    run.start()
    evidence = {"last_step": 7, "exit_code": None, "signal": "SIGKILL", "seconds_without_progress": 1.0}
    fields = {"ailment": "process_died", "severity": "critical", "evidence": evidence, "by": "watchdog"}
    run.journal.write("diagnosis", 7, **fields)
    run.journal.write("intervention", 7, remedy="restart_process", from_checkpoint=5, by="watchdog")
    alarm, _, restart = Recipient(run).receive()
    assert alarm.title == "Problem: the training process ended unexpectedly" and "SIGKILL" in " ".join(alarm.lines)
    assert restart.title == "#1 step 7: restart the training process"


def test_progress_is_sent_at_intervals(run: RunFolder) -> None:
    run.start()
    for first in range(1, 80, 20):
        run.steps(first, first + 19)
    assert [message.kind for message in Recipient(run).receive()] == ["started"]
    other = RunFolder(run.path.parent / "other")
    other.start()
    other.journal.phase = "alignment"
    for first in range(1, 80, 20):
        other.steps(first, first + 19)
    progress = Recipient(other, progress_seconds=0.0).receive()[-1]
    assert (progress.kind, progress.priority) == ("progress", Priority.PROGRESS)
    assert progress.title.startswith("other: step 80 of 100, ") and progress.title.endswith(" left")
    assert progress.lines[0] == "Phase: alignment" and "loss: 0.125" in progress.lines


def test_an_evaluation_brings_pictures_and_a_voice(run: RunFolder) -> None:
    run.start()
    for step in (10, 20):
        run.evaluation(step, **write_sample(run, step))
    _, sample = Recipient(run).receive()  # the second evaluation comes too soon after the first
    assert sample.pictures == (
        str(run.path / "companion/curves.png"),
        str(run.path / "samples/step-00000010-a.png"),
    )
    assert sample.voice == str(run.path / "samples/step-00000010-a.wav")


def test_the_end_brings_the_best_voice_and_advice(run: RunFolder) -> None:
    run.start()
    for step, score in ((10, 0.9), (20, 0.2)):
        run.evaluation(step, score, **write_sample(run, step))
    run.finish(20)
    end = Recipient(run).receive()[-1]
    assert end.voice == str(run.path / "samples/step-00000010-a.wav")
    assert any(line.startswith("• ") for line in end.lines)


@pytest.mark.parametrize("status", ["failed", "stopped"])
def test_a_bad_end_is_critical_and_names_its_reason(run: RunFolder, status: str) -> None:
    run.start()
    run.finish(3, status, "disk full: <b>")
    end = Recipient(run).receive()[0]
    assert end.priority is Priority.CRITICAL and end.lines[0] == "disk full: <b>"


def test_a_proposal_has_buttons(run: RunFolder) -> None:
    run.start()
    proposal_fields = INTERVENTION | {"number": 3, "timeout_seconds": 1800.0, "default": "reject"}
    run.journal.write("proposal", 5, **proposal_fields)
    proposal = Recipient(run).receive()[0]
    assert proposal.title == "May I? #3 lower the learning rate"
    assert [(button.label, button.command) for button in proposal.buttons] == [
        ("approve", "approve 3"),
        ("reject", "reject 3"),
    ]
    assert "Please answer within 30 min" in proposal.lines


def test_the_result_of_a_request_is_sent(run: RunFolder) -> None:
    run.start()
    run.journal.write("order", 5, order="pause", by="user 7", result="done")
    run.journal.write("order", 6, order="set", by="user 7", result="refused", reason="expected 1 to 2")
    _, done, refused = Recipient(run).receive()
    assert (done.title, done.priority) == ("Done: pause, step 5", Priority.ANSWER)
    assert (refused.title, refused.lines) == ("Refused: set, step 6", ("expected 1 to 2",))


def test_a_persons_change_of_a_knob_is_sent_as_theirs(run: RunFolder) -> None:
    run.start()
    run.journal.write("intervention", 5, by="person", knob="guide_sigma", **{"from": 0.4, "to": 0.2})
    run.journal.write("order", 5, order="set", by="user 7", knob="guide_sigma", value=0.2, result="done")
    run.journal.write("intervention", 6, knob="guide_sigma", on_the_way_to=0.1, **{"from": 0.2, "to": 0.15})
    run.finish(7)
    _, change, end = Recipient(run).receive()
    assert change.title == "#1 step 5: guidance width 0.4 → 0.2 (by a person)"
    assert "Last intervention: #1 guidance width 0.4 → 0.2, not judged" in end.lines


def test_follow_ups_without_a_verdict_are_not_sent(run: RunFolder) -> None:
    run.start()
    run.journal.write("intervention", 40, **INTERVENTION)
    fields = {"ailment": "loss_spike", "remedy": "lower_learning_rate"}
    run.journal.write("follow_up", 50, **fields, check="race", from_step=30)
    run.journal.write("follow_up", 50, **fields, superseded_by="person")
    run.journal.write("follow_up", 60, **FOLLOW_UP | {"remedy": "something else"})
    assert [message.kind for message in Recipient(run).receive()] == ["started", "intervention"]


def test_a_warm_start_is_a_start(run: RunFolder) -> None:
    run.start("warm_started")
    assert [message.title for message in Recipient(run).receive()] == ["Training started: run"]


def test_a_full_disk_neither_loses_nor_doubles_messages(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    run.start()
    run.evaluation(10)
    run.finish(10)
    n_failures, save = 2, Notifications._save_curves

    def fail_at_first(notifications: Notifications, picture: Any) -> str:
        nonlocal n_failures
        if n_failures > 0:
            n_failures -= 1
            raise OSError("No space left on device")
        return save(notifications, picture)

    monkeypatch.setattr(Notifications, "_save_curves", fail_at_first)
    monkeypatch.setattr("monitoring.journal.tail.FIRST_RETRY_SECONDS", 0.001)
    monkeypatch.setattr("tests.monitoring.messaging.test_notifications.pytest.fail", lambda _: None)
    assert [message.kind for message in Recipient(run).receive()] == ["started", "sample", "finished"]


def test_the_estimate_counts_the_remaining_steps(run: RunFolder) -> None:
    run.start("resumed", 95, forecast_seconds=12.0)
    assert "About 12 s for 5 steps" in Recipient(run).receive()[0].lines


def test_an_estimate_is_never_negative(run: RunFolder) -> None:
    run.start("resumed", 110, forecast_seconds=-7.0)
    assert "About 0 s for 0 steps" in Recipient(run).receive()[0].lines
