"""What a person in a chat gets for a command."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import numpy as np
import pytest

from monitoring.journal.control_file import RequestReader
from monitoring.language.base import words_of
from monitoring.messaging.bot_commands import LONGEST_SPEECH, MOST_SPEECHES, Person
from monitoring.messaging.message import Importance, Message
from monitoring.messaging.outbox import Outbox
from monitoring.report.plots import save_png
from tests.monitoring.journals import RunFolder, sick_run
from tests.monitoring.wave_file import write_pcm


class Chat:
    """One person, what they are answered and what they order."""

    def __init__(self, run: RunFolder) -> None:
        (run.path / "companion").mkdir()
        self.run = run.path
        self.outbox = Outbox(run.path / "outbox.json", words_of("en"))
        self.person = Person(run.path, self.outbox, words_of("en"), self._speak)
        self.spoken: list[str] = []
        self._orders = RequestReader(run.path)

    def _speak(self, text: str, path: Path) -> None:
        if text == "unspeakable":
            raise ValueError("it has no voice and no checkpoint yet")
        self.spoken.append(text)
        write_pcm(path, [0, 1] * 100, rate=22_050)

    def __call__(self, text: str, *, pressed: bool = False) -> Message | None:
        self.word = self.person.hear(text, 7, pressed=pressed)
        answer = self.outbox.first()
        if answer is not None:
            self.outbox.done(answer)
            assert answer.importance is Importance.ANSWER
        return answer

    def orders(self) -> list[dict[str, object]]:
        return [order.journal_fields() for order in self._orders.read()]


@pytest.fixture
def chat(tmp_path: Path) -> Chat:
    return Chat(sick_run(tmp_path / "run"))


@pytest.fixture
def training(tmp_path: Path) -> Chat:
    """With a run that is under way."""
    run = RunFolder(tmp_path / "run")
    run.start()
    return Chat(run)


def asked(chat: Chat, text: str) -> Message:
    answer = chat(text)
    assert answer is not None
    return answer


def test_status_says_how_it_stands(chat: Chat) -> None:
    answer = asked(chat, "status")
    assert answer.title == "Finished: run, step 60"
    assert "score: 0.7" in answer.lines and "Phase: alignment" in answer.lines
    assert "Last intervention: #1 lower the learning rate, helped" in answer.lines


def test_plot_sends_curves_and_attention(chat: Chat) -> None:
    assert asked(chat, "plot").pictures == (str(chat.run / "companion/plot.png"),)
    assert (chat.run / "companion/plot.png").read_bytes().startswith(b"\x89PNG")


def test_plot_shows_the_latest_sample_too(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.start()
    run.evaluation(10, **run.spoken(10))
    save_png(np.zeros((2, 2, 3), dtype=np.uint8), run.path / "samples/step-00000010-a.png")
    assert len(asked(Chat(run), "plot").pictures) == 2


def test_the_voice_speaks_what_is_asked(chat: Chat) -> None:
    answer = asked(chat, "say Hello, <b>you</b>!")
    assert (answer.title, chat.spoken) == ("Hello, <b>you</b>!", ["Hello, <b>you</b>!"])
    assert answer.voice is not None and Path(answer.voice).is_file()


@pytest.mark.parametrize("text", ["say", "say   ", "say " + "x" * (LONGEST_SPEECH + 1)])
def test_nothing_or_a_novel_is_not_spoken(chat: Chat, text: str) -> None:
    assert "at most 500 characters" in asked(chat, text).title and chat.spoken == []


def test_one_who_speaks_is_not_asked_to_speak_at_the_same_time(tmp_path: Path) -> None:
    run, began, may_end = sick_run(tmp_path / "run"), threading.Event(), threading.Event()
    chat = Chat(run)

    def speak_slowly(text: str, path: Path) -> None:
        began.set()
        assert may_end.wait(10)
        write_pcm(path, [0, 1] * 100, rate=22_050)

    chat.person = Person(run.path, chat.outbox, words_of("en"), speak_slowly)
    first = threading.Thread(target=chat.person.hear, args=("say one", 7), kwargs={"pressed": False})
    first.start()
    assert began.wait(10)
    assert asked(chat, "say two").title == "Still speaking; ask again in a moment"
    may_end.set()
    first.join(10)
    answer = chat.outbox.first()
    assert answer is not None and answer.title == "one"


def test_few_of_the_sounds_are_kept(chat: Chat) -> None:
    heard = [asked(chat, f"say {i}").voice for i in range(3 * MOST_SPEECHES)]
    assert len(set(heard)) == len(list((chat.run / "companion").glob("*.wav"))) == MOST_SPEECHES


def test_what_cannot_be_spoken_is_said_so(chat: Chat) -> None:
    answer = asked(chat, "say unspeakable")
    assert answer.lines == ("it has no voice and no checkpoint yet",) and answer.voice is None


def test_the_journal_tells_what_was_done(chat: Chat) -> None:
    answer = asked(chat, "journal")
    assert "#1 step 40: lower the learning rate: helped" in answer.lines


def test_a_journal_without_deeds_says_so(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.start()
    assert asked(Chat(run), "journal").title == "Nothing had to be done."


@pytest.mark.parametrize(
    ("text", "order"),
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
def test_orders_are_passed_on(training: Chat, text: str, order: dict[str, object]) -> None:
    assert training(text) is None
    assert training.orders() == [order | {"by": "user 7"}]


@pytest.mark.parametrize("text", ["pause", "set guide_sigma 0.5", "approve 3"])
def test_nothing_is_asked_of_a_training_that_is_over(chat: Chat, text: str) -> None:
    assert asked(chat, text).title == "The training is over"
    assert chat.orders() == []


def test_a_stop_is_confirmed_first(training: Chat) -> None:
    question = asked(training, "stop")
    assert training.orders() == []
    yes, no = question.buttons
    assert re.fullmatch(r"stop [0-9a-f]{8}", yes.command) and no.command == "stop no"
    assert training(yes.command, pressed=True) is None
    assert training.orders() == [{"order": "stop", "by": "user 7"}]
    training(yes.command, pressed=True)
    assert training.orders() == [] and training.word == "too late, ask again"


def test_a_stop_can_be_taken_back(training: Chat) -> None:
    yes, no = asked(training, "stop").buttons
    training(no.command, pressed=True)
    assert training.word == "it goes on"
    training(yes.command, pressed=True)
    assert training.orders() == []


def test_a_button_of_yesterday_stops_nothing(training: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitoring.messaging.bot_commands.CONFIRM_SECONDS", -1.0)
    yes, _ = asked(training, "stop").buttons
    for guess in (yes.command, "stop yes", "stop 00000000"):
        training(guess, pressed=True)
    assert training.orders() == [] and training.outbox.first() is None


@pytest.mark.parametrize("text", ["stop now", "stop no", "stop 00000000"])
def test_a_stop_that_is_typed_is_asked_about_however_it_is_said(training: Chat, text: str) -> None:
    assert asked(training, text).title.startswith("Really stop?")


@pytest.mark.parametrize(
    "text",
    ["", "start", "help", "hello there", "set guide_sigma", "approve", "approve 1 2", "status now", "pause it", "ы"],
)
def test_whatever_else_is_said_gets_help(chat: Chat, text: str) -> None:
    answer = asked(chat, text)
    assert answer.title == "What you can say" and any("/status" in line for line in answer.lines)
    assert chat.orders() == []


@pytest.mark.parametrize("number", ["x", "²", "9" * 4000, "-1"])
def test_a_number_that_is_none_is_refused(training: Chat, number: str) -> None:
    answer = asked(training, f"approve {number}")
    assert answer.title.endswith("is not a number") and len(answer.title) < 200
    assert training.orders() == []


def test_the_name_of_no_knob_may_be_long(training: Chat) -> None:
    assert training(f"set {'x' * 10_000} 0.5") is None
    assert len(str(training.orders()[0]["knob"])) == 100


@pytest.mark.parametrize("value", ["much", "nan", "inf", "1e400"])
def test_a_value_that_is_no_number_is_refused(training: Chat, value: str) -> None:
    assert asked(training, f"set guide_sigma {value}").title == f"{value} is not a number"
    assert training.orders() == []
