"""Bot commands: their answers, and the requests that reach the training."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import numpy as np
import pytest

from monitoring.journal.control_file import RequestReader
from monitoring.language.english import ENGLISH
from monitoring.messaging.bot_commands import MAX_TEXT_LENGTH, MAX_WAITING_SOUNDS, BotCommands
from monitoring.messaging.message import Message, Priority
from monitoring.messaging.outbox import Outbox
from monitoring.report.plots import save_png
from tests.monitoring.journals import RunFolder, sick_run
from tests.monitoring.wave_file import write_pcm


class Chat:
    """Chat of user 7 with the bot: answers, spoken texts and requests."""

    def __init__(self, run: RunFolder) -> None:
        (run.path / "companion").mkdir()
        self.run = run.path
        self.outbox = Outbox(run.path / "outbox.json", ENGLISH)
        self.commands = BotCommands(run.path, self.outbox, ENGLISH, self._synthesize)
        self.spoken_texts: list[str] = []
        self.reply = ""  # to a pressed button
        self._requests = RequestReader(run.path)

    def _synthesize(self, text: str, path: Path) -> None:
        if text == "unspeakable":
            raise ValueError("it has no voice and no checkpoint yet")
        self.spoken_texts.append(text)
        write_pcm(path, [0, 1] * 100, rate=22_050)

    def send(self, text: str, *, pressed: bool = False) -> Message | None:
        """Send a command and return the bot's answer, if there is one."""
        self.reply = self.commands.handle(text, 7, pressed=pressed)
        answer = self.outbox.first()
        if answer is not None:
            self.outbox.remove(answer)
            assert answer.priority is Priority.ANSWER
        return answer

    def ask(self, text: str) -> Message:
        answer = self.send(text)
        assert answer is not None
        return answer

    def requests(self) -> list[dict[str, object]]:
        return [request.journal_fields() for request in self._requests.read()]


@pytest.fixture
def finished(tmp_path: Path) -> Chat:
    """Chat about a run that is over."""
    return Chat(sick_run(tmp_path / "run"))


@pytest.fixture
def training(tmp_path: Path) -> Chat:
    """Chat about a run that is being trained."""
    run = RunFolder(tmp_path / "run")
    run.start()
    return Chat(run)


def test_status_describes_the_run(finished: Chat) -> None:
    answer = finished.ask("status")
    assert answer.title == "Finished: run, step 60"
    assert "score: 0.7" in answer.lines and "Phase: alignment" in answer.lines
    assert "Last intervention: #1 lower the learning rate, helped" in answer.lines


def test_plot_sends_the_curves(finished: Chat) -> None:
    assert finished.ask("plot").pictures == (str(finished.run / "companion/plot.png"),)
    assert (finished.run / "companion/plot.png").read_bytes().startswith(b"\x89PNG")


def test_plot_sends_the_latest_sample_too(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.start()
    run.evaluation(10, **run.write_samples(10))
    save_png(np.zeros((2, 2, 3), dtype=np.uint8), run.path / "samples/step-00000010-a.png")
    assert len(Chat(run).ask("plot").pictures) == 2


def test_say_sends_the_spoken_text(finished: Chat) -> None:
    answer = finished.ask("say Hello, <b>you</b>!")
    assert (answer.title, finished.spoken_texts) == ("Hello, <b>you</b>!", ["Hello, <b>you</b>!"])
    assert answer.voice is not None and Path(answer.voice).is_file()


@pytest.mark.parametrize("text", ["say", "say   ", "say " + "x" * (MAX_TEXT_LENGTH + 1)])
def test_empty_and_long_texts_are_not_spoken(finished: Chat, text: str) -> None:
    assert "at most 500 characters" in finished.ask(text).title and finished.spoken_texts == []


def test_one_text_is_spoken_at_a_time(tmp_path: Path) -> None:
    run, has_begun, may_end = sick_run(tmp_path / "run"), threading.Event(), threading.Event()
    chat = Chat(run)

    def synthesize_slowly(text: str, path: Path) -> None:
        has_begun.set()
        assert may_end.wait(10)
        write_pcm(path, [0, 1] * 100, rate=22_050)

    chat.commands = BotCommands(run.path, chat.outbox, ENGLISH, synthesize_slowly)
    first = threading.Thread(target=chat.commands.handle, args=("say one", 7), kwargs={"pressed": False})
    first.start()
    assert has_begun.wait(10)
    assert chat.ask("say two").title == "Still speaking; please ask again in a moment"
    may_end.set()
    first.join(10)
    answer = chat.outbox.first()
    assert answer is not None and answer.title == "one"


def test_every_waiting_message_keeps_its_own_sound(finished: Chat) -> None:
    for i in range(MAX_WAITING_SOUNDS + 2):
        finished.commands.handle(f"say {i}", 7, pressed=False)
    answers = []
    while (answer := finished.outbox.first()) is not None:
        answers.append(answer)
        finished.outbox.remove(answer)
    spoken = answers[:MAX_WAITING_SOUNDS]
    assert [a.title for a in spoken] == finished.spoken_texts == [str(i) for i in range(MAX_WAITING_SOUNDS)]
    assert len({a.voice for a in spoken}) == MAX_WAITING_SOUNDS
    assert all(a.voice is None for a in answers[MAX_WAITING_SOUNDS:])


def test_sounds_that_were_sent_are_deleted_by_the_next_text(finished: Chat) -> None:
    sounds = [finished.ask(f"say {i}").voice for i in range(3)]
    assert [str(path) for path in (finished.run / "companion").glob("*.wav")] == sounds[-1:]


def test_a_failed_synthesis_is_reported(finished: Chat) -> None:
    answer = finished.ask("say unspeakable")
    assert answer.lines == ("it has no voice and no checkpoint yet",) and answer.voice is None


def test_journal_lists_the_interventions(finished: Chat) -> None:
    answer = finished.ask("journal")
    assert "#1 step 40: lower the learning rate: helped" in answer.lines


def test_journal_of_a_run_without_interventions(training: Chat) -> None:
    assert training.ask("journal").title == "No intervention was needed."


@pytest.mark.parametrize(
    ("text", "request_fields"),
    [
        ("pause", {"order": "pause"}),
        ("RESUME", {"order": "resume"}),
        ("set\nguide_sigma  0.5", {"order": "set", "knob": "guide_sigma", "value": 0.5}),
        ("set guide_sigma 0.5", {"order": "set", "knob": "guide_sigma", "value": 0.5}),
        ("set guide_sigma 0,5", {"order": "set", "knob": "guide_sigma", "value": 0.5}),
        ("approve 3", {"order": "approve", "number": 3}),
        ("reject #12", {"order": "reject", "number": 12}),
    ],
)
def test_requests_reach_the_training(training: Chat, text: str, request_fields: dict[str, object]) -> None:
    assert training.send(text) is None
    assert training.requests() == [request_fields | {"by": "user 7"}]


@pytest.mark.parametrize("text", ["pause", "set guide_sigma 0.5", "approve 3"])
def test_a_finished_training_gets_no_requests(finished: Chat, text: str) -> None:
    assert finished.ask(text).title == "The training is over"
    assert finished.requests() == []


def test_stop_is_confirmed_first(training: Chat) -> None:
    question = training.ask("stop")
    assert training.requests() == []
    yes, no = question.buttons
    assert re.fullmatch(r"stop [0-9a-f]{8}", yes.command) and no.command == "stop no"
    assert training.send(yes.command, pressed=True) is None
    assert training.requests() == [{"order": "stop", "by": "user 7"}]
    training.send(yes.command, pressed=True)
    assert training.requests() == [] and training.reply == "too late, please ask again"


def test_stop_can_be_cancelled(training: Chat) -> None:
    yes, no = training.ask("stop").buttons
    training.send(no.command, pressed=True)
    assert training.reply == "training continues"
    training.send(yes.command, pressed=True)
    assert training.requests() == []


def test_an_expired_button_does_not_stop(training: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitoring.messaging.bot_commands.CONFIRM_SECONDS", -1.0)
    yes, _ = training.ask("stop").buttons
    for command in (yes.command, "stop yes", "stop 00000000"):
        training.send(command, pressed=True)
    assert training.requests() == [] and training.outbox.first() is None


@pytest.mark.parametrize("text", ["stop now", "stop no", "stop 00000000"])
def test_a_typed_stop_always_needs_confirmation(training: Chat, text: str) -> None:
    assert training.ask(text).title.startswith("Really stop?")


@pytest.mark.parametrize(
    "text",
    ["", "start", "help", "hello there", "set guide_sigma", "approve", "approve 1 2", "status now", "pause it", "ы"],
)
def test_anything_else_gets_help(finished: Chat, text: str) -> None:
    answer = finished.ask(text)
    assert answer.title == "Commands" and any("/status" in line for line in answer.lines)
    assert finished.requests() == []


@pytest.mark.parametrize("number", ["x", "²", "9" * 4000, "-1"])
def test_an_invalid_number_of_a_proposal_is_refused(training: Chat, number: str) -> None:
    answer = training.ask(f"approve {number}")
    assert answer.title.endswith("is not a number") and len(answer.title) < 200
    assert training.requests() == []


def test_a_long_knob_name_is_cut(training: Chat) -> None:
    assert training.send(f"set {'x' * 10_000} 0.5") is None
    assert len(str(training.requests()[0]["knob"])) == 100


@pytest.mark.parametrize("value", ["much", "nan", "inf", "1e400"])
def test_an_invalid_value_of_a_knob_is_refused(training: Chat, value: str) -> None:
    assert training.ask(f"set guide_sigma {value}").title == f"{value} is not a number"
    assert training.requests() == []
