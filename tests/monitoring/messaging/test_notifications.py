"""What people are told of a run, and when."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from monitoring.journal.tail import JournalTail
from monitoring.language.base import words_of
from monitoring.messaging.message import Importance, Message
from monitoring.messaging.notifications import Messages
from monitoring.messaging.outbox import Outbox
from tests.monitoring.journals import DIAGNOSIS, FOLLOW_UP, INTERVENTION, RunFolder, sick_run
from tests.monitoring.wave_file import write_pcm


class Told:
    """The messages that a journal leads to."""

    def __init__(self, run: RunFolder, language: Any = "en", **seconds: float) -> None:
        self.run, self._seconds = run, {"progress_seconds": 600.0, "sample_seconds": 600.0} | seconds
        (run.path / "companion").mkdir(exist_ok=True)
        self._words = words_of(language)

    def __call__(self) -> list[Message]:
        """Those that are new."""
        outbox = Outbox(self.run.path / "outbox.json", self._words)
        make: Callable[[], Messages] = lambda: Messages(self.run.path, outbox, self._words, **self._seconds)  # noqa: E731
        tail = JournalTail("telegram", self.run.path, make, warn=pytest.fail)
        tail.finish_requested.set()
        tail.run()
        found = []
        while (first := outbox.first()) is not None:
            outbox.done(first)
            found.append(first)
        outbox.save()
        return found


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def test_a_whole_run_is_told_in_short(tmp_path: Path) -> None:
    told = Told(sick_run(tmp_path / "run"))()
    assert [(message.kind, message.importance.name) for message in told] == [
        ("started", "INTERVENTION"),
        ("sample", "PROGRESS"),
        ("phase", "PHASE"),
        ("intervention", "INTERVENTION"),
        ("follow_up", "INTERVENTION"),
        ("finished", "END"),
    ]
    start, _, phase, intervention, follow_up, end = told
    assert start.title == "Training has begun: run"
    assert start.lines == (
        "Model: tacotron2, 1.5 M, language en-us",
        "Data: corpus, 100 utterances",
        "About 10 min for 100 steps",
    )
    assert phase.title == "Phase: alignment"
    assert intervention.title == "#1 step 40: lower the learning rate"
    assert "Found: the loss has leapt up (warning): loss 9, before 2" in intervention.lines
    assert follow_up.title == "#1 helped: step 40: lower the learning rate"
    assert end.title.startswith("run: Finished: the voice speaks")
    assert (tmp_path / "run" / "companion" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_in_russian(tmp_path: Path) -> None:
    titles = [message.title for message in Told(sick_run(tmp_path / "run"), "ru")()]
    assert titles[0] == "Обучение началось: run"
    assert titles[3] == "#1 шаг 40: снизить скорость обучения"


def test_nothing_is_told_twice(run: RunFolder) -> None:
    told = Told(run)
    run.start()
    assert len(told()) == 1
    assert told() == []
    run.finish(0)
    assert [message.kind for message in told()] == ["finished"]


def test_what_happened_long_before_anybody_was_told_is_no_news(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    run.start()
    run.finish(0)
    monkeypatch.setattr("monitoring.messaging.notifications.HISTORY_SECONDS", -1000.0)
    assert Told(run)() == []


def test_critical_trouble_is_told_at_once_and_lesser_trouble_with_its_remedy(run: RunFolder) -> None:
    run.start()
    run.journal.write("diagnosis", 5, **DIAGNOSIS)
    run.journal.write("diagnosis", 6, **DIAGNOSIS | {"severity": "critical"})
    run.journal.write("diagnosis", 7, **DIAGNOSIS | {"severity": "critical"})
    alarm, start = Told(run)()
    assert (alarm.importance, alarm.headline) == (Importance.CRITICAL, "Trouble: the loss has leapt up (× 2)")
    assert start.kind == "started"


def test_the_watchdogs_alarm_is_critical(run: RunFolder) -> None:
    run.start()
    evidence = {"last_step": 7, "exit_code": None, "signal": "SIGKILL", "seconds_without_progress": 1.0}
    fields = {"ailment": "process_died", "severity": "critical", "evidence": evidence, "by": "watchdog"}
    run.journal.write("diagnosis", 7, **fields)
    run.journal.write("intervention", 7, remedy="restart_process", from_checkpoint=5, by="watchdog")
    alarm, _, restart = Told(run)()
    assert alarm.title == "Trouble: the training process died" and "SIGKILL" in " ".join(alarm.lines)
    assert restart.title == "#1 step 7: start the process again"


def test_progress_comes_every_so_often(run: RunFolder) -> None:
    run.start()
    for first in range(1, 80, 20):
        run.steps(first, first + 19)
    assert [message.kind for message in Told(run)()] == ["started"]
    other = RunFolder(run.path.parent / "other")
    other.start()
    other.journal.phase = "alignment"
    for first in range(1, 80, 20):
        other.steps(first, first + 19)
    progress = Told(other, progress_seconds=0.0)()[-1]
    assert (progress.kind, progress.importance) == ("progress", Importance.PROGRESS)
    assert progress.title.startswith("other: step 80 of 100, ") and progress.title.endswith(" left")
    assert progress.lines[0] == "Phase: alignment" and "loss: 0.125" in progress.lines


def test_an_evaluation_brings_pictures_and_a_voice(run: RunFolder) -> None:
    run.start()
    for step in (10, 20):
        told = run.spoken(step)
        stem = run.path / f"samples/step-{step:08d}-a"
        write_pcm(stem.with_name(f"{stem.name}.wav"), [0, 1] * 100, rate=22_050)
        stem.with_name(f"{stem.name}.png").write_bytes(b"picture")
        run.evaluation(step, **told)
    _, sample = Told(run)()  # the second evaluation comes too soon after the first
    assert sample.pictures == (
        str(run.path / "companion/curves.png"),
        str(run.path / "samples/step-00000010-a.png"),
    )
    assert sample.voice == str(run.path / "samples/step-00000010-a.wav")


def test_the_end_brings_the_best_voice_and_advice(run: RunFolder) -> None:
    run.start()
    for step, score in ((10, 0.9), (20, 0.2)):
        told = run.spoken(step)
        write_pcm(run.path / f"samples/step-{step:08d}-a.wav", [0, 1] * 100, rate=22_050)
        run.evaluation(step, score, **told)
    run.finish(20)
    end = Told(run)()[-1]
    assert end.voice == str(run.path / "samples/step-00000010-a.wav")
    assert any(line.startswith("• ") for line in end.lines)


@pytest.mark.parametrize("status", ["failed", "stopped"])
def test_a_bad_end_is_critical_and_says_why(run: RunFolder, status: str) -> None:
    run.start()
    run.finish(3, status, "disk full: <b>")
    end = Told(run)()[0]
    assert end.importance is Importance.CRITICAL and end.lines[0] == "disk full: <b>"


def test_a_proposal_has_buttons(run: RunFolder) -> None:
    run.start()
    asked = INTERVENTION | {"number": 3, "timeout_seconds": 1800.0, "default": "reject"}
    run.journal.write("proposal", 5, **asked)
    proposal = Told(run)()[0]
    assert proposal.title == "May I? #3 lower the learning rate"
    assert [(button.label, button.command) for button in proposal.buttons] == [
        ("approve", "approve 3"),
        ("reject", "reject 3"),
    ]
    assert "An answer is waited for 30 min" in proposal.lines


def test_an_order_is_answered(run: RunFolder) -> None:
    run.start()
    run.journal.write("order", 5, order="pause", by="user 7", result="done")
    run.journal.write("order", 6, order="set", by="user 7", result="refused", reason="expected 1 to 2")
    _, done, refused = Told(run)()
    assert (done.title, done.importance) == ("Done: pause, step 5", Importance.ANSWER)
    assert (refused.title, refused.lines) == ("Not done: set, step 6", ("expected 1 to 2",))


def test_what_a_person_turned_is_told_as_theirs(run: RunFolder) -> None:
    run.start()
    run.journal.write("intervention", 5, by="person", knob="guide_sigma", **{"from": 0.4, "to": 0.2})
    run.journal.write("order", 5, order="set", by="user 7", knob="guide_sigma", value=0.2, result="done")
    run.journal.write("intervention", 6, knob="guide_sigma", on_the_way_to=0.1, **{"from": 0.2, "to": 0.15})
    run.finish(7)
    _, turned, end = Told(run)()
    assert turned.title == "#1 step 5: width of the guidance 0.4 → 0.2 (by a person)"
    assert "Last intervention: #1 width of the guidance 0.4 → 0.2, not judged" in end.lines


def test_a_follow_up_without_a_verdict_is_no_news(run: RunFolder) -> None:
    run.start()
    run.journal.write("intervention", 40, **INTERVENTION)
    fields = {"ailment": "loss_spike", "remedy": "lower_learning_rate"}
    run.journal.write("follow_up", 50, **fields, check="race", from_step=30)
    run.journal.write("follow_up", 50, **fields, superseded_by="person")
    run.journal.write("follow_up", 60, **FOLLOW_UP | {"remedy": "something else"})
    assert [message.kind for message in Told(run)()] == ["started", "intervention"]


def test_a_warm_start_is_a_beginning(run: RunFolder) -> None:
    run.start("warm_started")
    assert [message.title for message in Told(run)()] == ["Training has begun: run"]


def test_a_full_disk_costs_no_message_and_doubles_none(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    run.start()
    run.evaluation(10)
    run.finish(10)
    failures, save = [1, 1], Messages._save

    def fail_first(messages: Messages, picture: Any) -> str:
        if failures:
            failures.pop()
            raise OSError("No space left on device")
        return save(messages, picture)

    monkeypatch.setattr(Messages, "_save", fail_first)
    monkeypatch.setattr("monitoring.journal.tail.FIRST_RETRY_SECONDS", 0.001)
    monkeypatch.setattr("tests.monitoring.messaging.test_notifications.pytest.fail", lambda _: None)
    assert [message.kind for message in Told(run)()] == ["started", "sample", "finished"]


def test_how_long_is_told_of_what_is_left(run: RunFolder) -> None:
    run.start("resumed", 95, forecast_seconds=12.0)
    assert "About 12 s for 5 steps" in Told(run)()[0].lines


def test_time_that_has_run_out_is_not_negative(run: RunFolder) -> None:
    run.start("resumed", 110, forecast_seconds=-7.0)
    assert "About 0 s for 0 steps" in Told(run)()[0].lines
