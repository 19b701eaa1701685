"""Messages through the real library to a server that speaks the Bot API, in every mood."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from monitoring.courier import Courier, Pace
from monitoring.message import Button, Importance, Message
from monitoring.message_settings import TelegramSettings
from monitoring.outbox import Outbox
from monitoring.plots import save_png
from monitoring.telegram import TelegramDoor
from monitoring.telegram_listener import MOST_NOTED, TelegramListener
from monitoring.words import words_of
from tests.monitoring.bot_api import CHAT, STRANGER, TOKEN, USER, BotApi
from tests.monitoring.wave_file import write_pcm


@pytest.fixture
def api() -> Iterator[BotApi]:
    api = BotApi()
    yield api
    api.close()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitoring.courier.FIRST_WAIT_SECONDS", 0.02)
    monkeypatch.setattr("monitoring.telegram.REQUEST_SECONDS", 1.0)
    monkeypatch.setattr("monitoring.telegram.LONGEST_CALL_SECONDS", 5.0)


def configured(api: BotApi, **changes: Any) -> TelegramSettings:
    values: dict[str, Any] = {"bot_token": TOKEN, "chat_id": CHAT, "allowed_users": (USER,), "base_url": api.base_url}
    return TelegramSettings(enabled=True, **values | changes)


class Line:
    """An outbox, a courier and a door, and what the courier complained of."""

    def __init__(self, api: BotApi, folder: Path, **changes: Any) -> None:
        self.complaints: list[str] = []
        self.settings = configured(api, **changes)
        self.door = TelegramDoor(self.settings)
        self.outbox = Outbox(folder / "outbox.json", words_of("en"))
        self.courier = Courier("telegram", self.outbox, self.door, Pace(1000), self.complaints.append)

    def bring(self, *messages: Message, seconds: float = 20) -> None:
        """All of them, and wait until nothing is left."""
        for message in messages:
            self.outbox.put(message)
        if not self.courier.is_alive():
            self.courier.start()
        wait_until(lambda: len(self.outbox) == 0, seconds)

    def close(self) -> None:
        if self.courier.is_alive():
            self.courier.stop()
        self.door.close()


@pytest.fixture
def line(api: BotApi, tmp_path: Path) -> Iterator[Line]:
    line = Line(api, tmp_path)
    yield line
    line.close()


def wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.01)


def note(title: str, importance: Importance = Importance.INTERVENTION, **more: Any) -> Message:
    return Message("note", importance, title, **more)


def picture(path: Path, size: int = 8) -> str:
    save_png(np.zeros((size, size, 3), dtype=np.uint8), path)
    return str(path)


def sound(path: Path) -> str:
    write_pcm(path, [0, 1000] * 1000, rate=22_050)
    return str(path)


def test_a_message_arrives_with_its_title_in_bold(line: Line, api: BotApi) -> None:
    line.bring(note("Title & more", lines=("a < b", "second")))
    (sent,) = api.sent
    assert sent.method == "sendMessage"
    assert sent.parameters["text"] == "<b>Title &amp; more</b>\na &lt; b\nsecond"
    assert sent.text == "Title & more\na < b\nsecond"


def test_only_what_matters_makes_a_noise(line: Line, api: BotApi) -> None:
    line.bring(note("quiet"), note("loud", Importance.CRITICAL))
    loudness = {sent.text: sent.parameters["disable_notification"] for sent in api.sent}
    assert loudness == {"quiet": "true", "loud": "false"}


def test_progress_is_one_message_that_changes(line: Line, api: BotApi) -> None:
    for step in (1, 2, 2, 3):
        line.bring(Message("progress", Importance.PROGRESS, f"step {step}"))
    assert [(sent.method, sent.text) for sent in api.sent] == [
        ("sendMessage", "step 1"),
        ("editMessageText", "step 2"),
        ("editMessageText", "step 3"),
    ]
    assert list(api.texts.values()) == ["step 3"]


def test_a_progress_message_that_was_deleted_is_sent_anew(line: Line, api: BotApi) -> None:
    line.bring(Message("progress", Importance.PROGRESS, "step 1"))
    api.texts.clear()
    line.bring(Message("progress", Importance.PROGRESS, "step 2"))
    assert [sent.method for sent in api.sent] == ["sendMessage", "sendMessage"]


def test_pictures_and_voice_go_along(line: Line, api: BotApi, tmp_path: Path) -> None:
    pictures = tuple(picture(tmp_path / f"{i}.png") for i in range(2))
    voice = sound(tmp_path / "x.wav")
    line.bring(note("one", pictures=pictures[:1]))
    line.bring(note("two", pictures=pictures, voice=voice))
    line.bring(note("spoken", voice=voice))
    assert [sent.method for sent in api.sent] == ["sendPhoto", "sendMediaGroup", "sendVoice", "sendVoice"]
    assert [sent.text for sent in api.sent] == ["one", "two", "", "spoken"]
    assert len(api.sent[1].files) == 2


def test_more_pictures_than_an_album_holds_are_cut(line: Line, api: BotApi, tmp_path: Path) -> None:
    line.bring(note("many", pictures=tuple(picture(tmp_path / f"{i}.png") for i in range(12))))
    assert len(api.sent[0].files) == 10


def test_what_is_gone_or_too_large_is_left_out_and_named(
    line: Line, api: BotApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitoring.telegram.MOST_PHOTO_BYTES", 100)
    large = tmp_path / "large.png"
    large.write_bytes(b"\x89PNG" + bytes(200))
    line.bring(note("large", pictures=(str(large), str(tmp_path / "gone.png"))))
    (sent,) = api.sent
    assert sent.method == "sendMessage" and sent.text == f"large\n{large}"


def test_a_long_text_comes_in_parts_and_whole(line: Line, api: BotApi, tmp_path: Path) -> None:
    lines = tuple(f"line {i} " + "ж😀" * 100 for i in range(60))
    line.bring(note("title", lines=lines))
    assert len(api.sent) > 3
    assert "\n".join(sent.text for sent in api.sent) == "\n".join(["title", *lines])
    line.bring(note("caption", lines=lines, pictures=(picture(tmp_path / "x.png"),)))
    photo = next(sent for sent in api.sent if sent.method == "sendPhoto")
    later = api.sent[api.sent.index(photo) :]
    assert "\n".join(sent.text for sent in later) == "\n".join(["caption", *lines])


def test_buttons_are_under_the_message(line: Line, api: BotApi) -> None:
    line.bring(note("May I?", buttons=(Button("yes", "approve 3"), Button("no", "reject 3"))))
    keyboard = json.loads(api.sent[0].parameters["reply_markup"])["inline_keyboard"]
    assert keyboard == [[{"text": "yes", "callback_data": "approve 3"}, {"text": "no", "callback_data": "reject 3"}]]


@pytest.mark.parametrize("mood", ["500", "502", "reset", "hang", "403", "400:Bad Request: chat not found"])
def test_after_any_failure_it_arrives_once(line: Line, api: BotApi, mood: str) -> None:
    api.moods += [mood, mood]
    line.bring(note("important"))
    assert api.said() == ["important"]
    assert len(line.complaints) == 1
    line.bring(note("next"))
    assert api.said() == ["important", "next"]


def test_a_blocked_bot_is_told_as_such(line: Line, api: BotApi) -> None:
    api.moods.append("403")
    line.bring(note("x"))
    assert "blocked by the user" in line.complaints[0] and "press Start" in line.complaints[0]


def test_silence_is_kept_as_long_as_it_is_asked_for(line: Line, api: BotApi) -> None:
    api.moods.append("429:1")
    began = time.monotonic()
    line.bring(note("patient"))
    assert time.monotonic() - began >= 1.0 and api.said() == ["patient"]
    assert api.requests == 2


def test_however_long_silence_is_asked_for_critical_messages_come_through(
    line: Line, api: BotApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitoring.courier.LONGEST_CRITICAL_HOLD_SECONDS", 0.3)
    api.moods.append("429:86400")
    line.outbox.put(note("can wait"))
    line.courier.start()
    wait_until(lambda: api.requests == 1)
    line.outbox.put(note("alarm", Importance.CRITICAL))
    wait_until(lambda: api.said() == ["alarm"])
    time.sleep(0.3)
    assert api.said() == ["alarm"] and len(line.outbox) == 1


def test_what_will_never_be_taken_does_not_stand_in_the_way(line: Line, api: BotApi) -> None:
    api.moods.append("400:Bad Request: message is somehow wrong")
    line.bring(note("poison"), note("good"))
    assert api.said() == ["good"]
    assert "somehow wrong" in line.complaints[0]


def test_text_that_is_not_understood_as_markup_is_sent_plain(line: Line, api: BotApi) -> None:
    api.moods.append("400:Bad Request: can't parse entities: something")
    line.bring(note("Title", lines=("a < b",)))
    assert api.sent[0].parameters.get("parse_mode") is None and api.said() == ["Title\na < b"]


def test_after_an_outage_one_digest_comes(line: Line, api: BotApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitoring.courier.OUTAGE_SECONDS", 0.0)
    api.moods += ["reset"] * 3
    messages = [note(f"event {i}") for i in range(20)] + [note("alarm", Importance.CRITICAL)]
    line.bring(*messages)
    assert len(api.said()) == 1
    digest = api.said()[0].split("\n")
    assert digest[:3] == ["While the connection was down (× 21)", "alarm", "event 0"]
    assert digest[-1] == "event 19"


def test_a_wrong_token_is_told_and_never_shown(api: BotApi, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    secret = "999:another-secret"
    line = Line(api, tmp_path, bot_token=secret)
    with caplog.at_level(logging.DEBUG):
        line.outbox.put(note("x"))
        line.courier.start()
        wait_until(lambda: line.complaints)
    line.close()
    assert "refused (401)" in line.complaints[0]
    everything = caplog.text + "".join(line.complaints) + repr(line.settings) + line.settings.model_dump_json()
    assert secret not in everything and "another-secret" not in everything


def test_requests_are_not_logged_with_the_token(line: Line, api: BotApi, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        line.bring(note("x"))
    assert TOKEN not in caplog.text


TEXTS = st.text(max_size=300) | st.sampled_from(
    ["<b>", "</b>&lt;", "&", "<a href='x'>", "\ud83d", "\x00", " ", "\u202e"]
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(title=TEXTS, lines=st.lists(TEXTS, max_size=4))
def test_whatever_the_data_says_arrives(line: Line, api: BotApi, title: str, lines: list[str]) -> None:
    before = len(api.sent)
    line.bring(note(title, lines=tuple(lines)))
    assert len(api.sent) > before and line.complaints == []


# listening


class Ears:
    """What was heard, by whom."""

    def __init__(self, line: Line) -> None:
        self.heard: list[tuple[str, int]] = []
        self.pressed: list[bool] = []
        self.said: list[str] = []
        self.listener = TelegramListener(line.door, line.settings, self.hear, self.said.append)

    def hear(self, text: str, user: int, *, pressed: bool) -> str:
        self.heard.append((text.strip(), user))
        self.pressed.append(pressed)
        return "heard"


@pytest.fixture
def ears(line: Line) -> Iterator[Ears]:
    ears = Ears(line)
    yield ears
    ears.listener.stop()


def listening(ears: Ears, api: BotApi) -> None:
    ears.listener.start()
    wait_until(lambda: api._is_polling)


def test_commands_of_those_who_may_are_heard(ears: Ears, api: BotApi) -> None:
    listening(ears, api)
    api.write("/status")
    api.write("/set learning_rate_multiplier 0.5")
    wait_until(lambda: len(ears.heard) == 2)
    assert ears.heard == [("status", USER), ("set learning_rate_multiplier 0.5", USER)]
    assert ears.pressed == [False, False]


def test_in_a_group_only_its_own_commands_are_for_it(ears: Ears, api: BotApi) -> None:
    listening(ears, api)
    for text in ("/pause@other_bot", "pause the music please", "/pause@Tuner_Bot", "/status"):
        api.write(text, group="voices")
    wait_until(lambda: len(ears.heard) >= 2)
    assert ears.heard == [("pause", USER), ("status", USER)]


def test_who_says_anything_in_private_is_helped(ears: Ears, api: BotApi) -> None:
    listening(ears, api)
    api.write("pause the music please")
    wait_until(lambda: ears.heard)
    assert ears.heard == [("help", USER)]


def test_a_chat_may_be_known_by_its_name(api: BotApi, tmp_path: Path) -> None:
    line = Line(api, tmp_path, chat_id="@voices")
    ears = Ears(line)
    listening(ears, api)
    api.write("/stop", group="noises")
    api.write("/status", group="voices")
    wait_until(lambda: ears.heard)
    ears.listener.stop()
    line.close()
    assert ears.heard == [("status", USER)]


def test_a_crowd_of_strangers_is_noted_in_part(ears: Ears, api: BotApi) -> None:
    listening(ears, api)
    for stranger in range(1000, 1000 + 2 * MOST_NOTED):
        api.write("/stop", user=stranger)
    api.write("/status")
    wait_until(lambda: ears.heard)
    assert len(ears.said) == MOST_NOTED


def test_a_pressed_button_is_heard_and_answered(ears: Ears, api: BotApi) -> None:
    listening(ears, api)
    api.press("approve 3")
    wait_until(lambda: api.answered)
    assert ears.heard == [("approve 3", USER)] and ears.pressed == [True] and api.answered[0]["text"] == "heard"


@pytest.mark.parametrize(("chat", "user"), [(CHAT, STRANGER), (STRANGER, USER), (STRANGER, STRANGER)])
def test_others_are_ignored_and_noted_once(ears: Ears, api: BotApi, chat: int, user: int) -> None:
    listening(ears, api)
    for _ in range(3):
        api.write("/stop", chat=chat, user=user)
        api.press("stop yes", chat=chat, user=user)
    api.write("/status")
    wait_until(lambda: ears.heard)
    assert ears.heard == [("status", USER)] and api.answered == []
    assert len(ears.said) == 1 and str(user) in ears.said[0]


def test_what_was_said_before_it_listened_is_not_for_it(ears: Ears, api: BotApi) -> None:
    api.write("/stop")
    listening(ears, api)
    api.write("/status")
    wait_until(lambda: ears.heard)
    time.sleep(0.1)
    assert ears.heard == [("status", USER)]


def test_nobody_is_heard_where_nobody_is_allowed(api: BotApi, tmp_path: Path) -> None:
    line = Line(api, tmp_path, allowed_users=())
    ears = Ears(line)
    ears.listener.start()
    api.write("/stop")
    time.sleep(0.2)
    line.close()
    assert ears.heard == []


def test_another_listener_is_said_once_and_waited_for(ears: Ears, api: BotApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitoring.telegram_listener.LONGEST_WAIT_SECONDS", 0.05)
    api._is_polling = True
    ears.listener.start()
    wait_until(lambda: ears.said)
    time.sleep(0.2)
    assert len(ears.said) == 1 and "another program listens" in ears.said[0]
    api._is_polling = False
    wait_until(lambda: api._is_polling)
    api.write("/status")
    wait_until(lambda: ears.heard)


def test_a_token_is_wanted_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TELEGRAM_BOT_TOKEN", raising=False)
    with pytest.raises(ValueError, match="TELEGRAM_BOT_TOKEN"):
        TelegramSettings(enabled=True, chat_id=1)
    with pytest.raises(ValueError, match="chat_id"):
        TelegramSettings(enabled=True, bot_token=SecretStr(TOKEN))


def test_the_environments_token_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "from the environment")
    assert TelegramSettings(enabled=True, chat_id=1, bot_token=SecretStr("x")).token == "from the environment"


def test_a_command_that_fails_is_said_and_the_next_one_is_heard(
    line: Line, api: BotApi, caplog: pytest.LogCaptureFixture
) -> None:
    ears = Ears(line)

    def fail_once(text: str, user: int, *, pressed: bool) -> str:
        ears.hear(text, user, pressed=pressed)
        if text.strip() == "plot":
            raise ZeroDivisionError
        return "heard"

    ears.listener = TelegramListener(line.door, line.settings, fail_once, ears.said.append)
    listening(ears, api)
    api.write("/plot")
    wait_until(lambda: ears.said)
    api.write("/status")
    wait_until(lambda: len(ears.heard) == 2)
    ears.listener.stop()
    assert ears.said == ["telegram: a command failed (ZeroDivisionError); companion/log.txt says more"]
