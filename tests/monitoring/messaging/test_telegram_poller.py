"""Poller: commands of allowed users are handled, everything else is ignored."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitoring.messaging.telegram_poller import MAX_STRANGER_WARNINGS, TelegramPoller
from tests.monitoring.bot_api import CHAT, STRANGER, USER, BotApi
from tests.monitoring.messaging.telegram_setup import TelegramSetup, wait_until


class RecordingPoller:
    """Poller whose commands are recorded."""

    def __init__(self, telegram: TelegramSetup) -> None:
        self.commands: list[tuple[str, int]] = []
        self.pressed: list[bool] = []
        self.warnings: list[str] = []
        self.poller = TelegramPoller(telegram.client, telegram.settings, self.handle, self.warnings.append)

    def handle(self, text: str, user: int, *, pressed: bool) -> str:
        self.commands.append((text.strip(), user))
        self.pressed.append(pressed)
        return "received"

    def start(self, api: BotApi) -> None:
        self.poller.start()
        wait_until(lambda: api.is_polling)


@pytest.fixture
def recorder(telegram: TelegramSetup) -> Iterator[RecordingPoller]:
    recorder = RecordingPoller(telegram)
    yield recorder
    recorder.poller.stop()


def test_commands_of_an_allowed_user_are_handled(recorder: RecordingPoller, api: BotApi) -> None:
    recorder.start(api)
    api.receive_message("/status")
    api.receive_message("/set learning_rate_multiplier 0.5")
    wait_until(lambda: len(recorder.commands) == 2)
    assert recorder.commands == [("status", USER), ("set learning_rate_multiplier 0.5", USER)]
    assert recorder.pressed == [False, False]


def test_in_a_group_only_the_bots_own_commands_are_handled(recorder: RecordingPoller, api: BotApi) -> None:
    recorder.start(api)
    for text in ("/pause@other_bot", "pause the music please", "/pause@Tuner_Bot", "/status"):
        api.receive_message(text, group="voices")
    wait_until(lambda: len(recorder.commands) >= 2)
    assert recorder.commands == [("pause", USER), ("status", USER)]


@pytest.mark.parametrize("text", ["/say@tuner_bot\nhello there", "/say\nhello there", "/say  hello there"])
def test_any_white_space_ends_a_command(recorder: RecordingPoller, api: BotApi, text: str) -> None:
    recorder.start(api)
    api.receive_message(text)
    wait_until(lambda: recorder.commands)
    assert recorder.commands == [("say hello there", USER)]


@pytest.mark.parametrize("text", ["/", "/ ", "/@tuner_bot"])
def test_a_bare_slash_asks_for_help(recorder: RecordingPoller, api: BotApi, text: str) -> None:
    recorder.start(api)
    api.receive_message(text)
    wait_until(lambda: recorder.commands)
    assert recorder.commands[0][0] in ("", "help")


def test_any_private_text_asks_for_help(recorder: RecordingPoller, api: BotApi) -> None:
    recorder.start(api)
    api.receive_message("pause the music please")
    wait_until(lambda: recorder.commands)
    assert recorder.commands == [("help", USER)]


def test_a_chat_may_be_given_by_its_name(api: BotApi, tmp_path: Path) -> None:
    telegram = TelegramSetup(api, tmp_path, chat_id="@voices")
    recorder = RecordingPoller(telegram)
    recorder.start(api)
    api.receive_message("/stop", group="noises")
    api.receive_message("/status", group="voices")
    wait_until(lambda: recorder.commands)
    recorder.poller.stop()
    telegram.close()
    assert recorder.commands == [("status", USER)]


def test_warnings_about_strangers_are_limited(recorder: RecordingPoller, api: BotApi) -> None:
    recorder.start(api)
    for stranger in range(1000, 1000 + 2 * MAX_STRANGER_WARNINGS):
        api.receive_message("/stop", user=stranger)
    api.receive_message("/status")
    wait_until(lambda: recorder.commands)
    assert len(recorder.warnings) == MAX_STRANGER_WARNINGS


def test_a_pressed_button_is_handled_and_answered(recorder: RecordingPoller, api: BotApi) -> None:
    recorder.start(api)
    api.receive_press("approve 3")
    wait_until(lambda: api.button_replies)
    assert recorder.commands == [("approve 3", USER)] and recorder.pressed == [True]
    assert api.button_replies[0]["text"] == "received"


@pytest.mark.parametrize(("chat", "user"), [(CHAT, STRANGER), (STRANGER, USER), (STRANGER, STRANGER)])
def test_strangers_are_ignored_with_one_warning(recorder: RecordingPoller, api: BotApi, chat: int, user: int) -> None:
    recorder.start(api)
    for _ in range(3):
        api.receive_message("/stop", chat=chat, user=user)
        api.receive_press("stop yes", chat=chat, user=user)
    api.receive_message("/status")
    wait_until(lambda: recorder.commands)
    assert recorder.commands == [("status", USER)] and api.button_replies == []
    assert len(recorder.warnings) == 1 and str(user) in recorder.warnings[0]


def test_commands_sent_before_the_start_are_skipped(recorder: RecordingPoller, api: BotApi) -> None:
    api.receive_message("/stop")
    recorder.start(api)
    api.receive_message("/status")
    wait_until(lambda: recorder.commands)
    time.sleep(0.1)
    assert recorder.commands == [("status", USER)]


def test_without_allowed_users_nothing_is_polled(api: BotApi, tmp_path: Path) -> None:
    telegram = TelegramSetup(api, tmp_path, allowed_users=())
    recorder = RecordingPoller(telegram)
    recorder.poller.start()
    api.receive_message("/stop")
    time.sleep(0.2)
    telegram.close()
    assert recorder.commands == []


def test_another_poller_is_reported_once_and_waited_for(
    recorder: RecordingPoller, api: BotApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitoring.messaging.telegram_poller.MAX_WAIT_SECONDS", 0.05)
    api.is_polling = True
    recorder.poller.start()
    wait_until(lambda: recorder.warnings)
    time.sleep(0.2)
    assert len(recorder.warnings) == 1 and "another program polls" in recorder.warnings[0]
    api.is_polling = False
    wait_until(lambda: api.is_polling)
    api.receive_message("/status")
    wait_until(lambda: recorder.commands)


def test_a_failing_command_is_reported_and_the_next_one_handled(
    telegram: TelegramSetup, api: BotApi, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = RecordingPoller(telegram)

    def fail_at_plot(text: str, user: int, *, pressed: bool) -> str:
        recorder.handle(text, user, pressed=pressed)
        if text.strip() == "plot":
            raise ZeroDivisionError
        return "received"

    recorder.poller = TelegramPoller(telegram.client, telegram.settings, fail_at_plot, recorder.warnings.append)
    recorder.start(api)
    api.receive_message("/plot")
    wait_until(lambda: recorder.warnings)
    api.receive_message("/status")
    wait_until(lambda: len(recorder.commands) == 2)
    recorder.poller.stop()
    assert recorder.warnings == ["telegram: a command failed (ZeroDivisionError); companion/log.txt says more"]
