"""Who is heard, and what of that is for this bot."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitoring.messaging.telegram_listener import MOST_NOTED, TelegramListener
from tests.monitoring.bot_api import CHAT, STRANGER, USER, BotApi
from tests.monitoring.messaging.telegram_line import Line, wait_until


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


@pytest.mark.parametrize("text", ["/say@tuner_bot\nhello there", "/say\nhello there", "/say  hello there"])
def test_any_white_space_ends_a_command(ears: Ears, api: BotApi, text: str) -> None:
    listening(ears, api)
    api.write(text)
    wait_until(lambda: ears.heard)
    assert ears.heard == [("say hello there", USER)]


@pytest.mark.parametrize("text", ["/", "/ ", "/@tuner_bot"])
def test_a_bare_slash_is_helped(ears: Ears, api: BotApi, text: str) -> None:
    listening(ears, api)
    api.write(text)
    wait_until(lambda: ears.heard)
    assert ears.heard[0][0] in ("", "help")


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
    monkeypatch.setattr("monitoring.messaging.telegram_listener.LONGEST_WAIT_SECONDS", 0.05)
    api._is_polling = True
    ears.listener.start()
    wait_until(lambda: ears.said)
    time.sleep(0.2)
    assert len(ears.said) == 1 and "another program listens" in ears.said[0]
    api._is_polling = False
    wait_until(lambda: api._is_polling)
    api.write("/status")
    wait_until(lambda: ears.heard)


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
