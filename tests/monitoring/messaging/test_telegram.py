"""Telegram client: messages through the real library to a server that behaves as the Bot API does."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from monitoring.messaging.message import Button, Message, Priority
from monitoring.messaging.sender import MessageRejected
from monitoring.messaging.settings import TelegramSettings
from monitoring.report.plots import save_png
from tests.monitoring.bot_api import TOKEN, BotApi
from tests.monitoring.messaging.telegram_setup import TelegramSetup, wait_until
from tests.monitoring.wave_file import write_pcm


def note(title: str, priority: Priority = Priority.INTERVENTION, **fields: Any) -> Message:
    return Message("note", priority, title, **fields)


def write_picture(path: Path, size: int = 8) -> str:
    save_png(np.zeros((size, size, 3), dtype=np.uint8), path)
    return str(path)


def write_sound(path: Path) -> str:
    write_pcm(path, [0, 1000] * 1000, rate=22_050)
    return str(path)


def test_the_title_of_a_message_is_bold(telegram: TelegramSetup, api: BotApi) -> None:
    telegram.send(note("Title & more", lines=("a < b", "second")))
    (sent,) = api.sent
    assert sent.method == "sendMessage"
    assert sent.parameters["text"] == "<b>Title &amp; more</b>\na &lt; b\nsecond"
    assert sent.text == "Title & more\na < b\nsecond"


def test_only_important_messages_notify_with_sound(telegram: TelegramSetup, api: BotApi) -> None:
    telegram.send(note("quiet"), note("loud", Priority.CRITICAL))
    is_silent = {sent.text: sent.parameters["disable_notification"] for sent in api.sent}
    assert is_silent == {"quiet": "true", "loud": "false"}


def test_progress_is_one_message_that_is_edited(telegram: TelegramSetup, api: BotApi) -> None:
    for step in (1, 2, 2, 3):
        telegram.send(Message("progress", Priority.PROGRESS, f"step {step}"))
    assert [(sent.method, sent.text) for sent in api.sent] == [
        ("sendMessage", "step 1"),
        ("editMessageText", "step 2"),
        ("editMessageText", "step 3"),
    ]
    assert list(api.texts.values()) == ["step 3"]


def test_a_deleted_progress_message_is_sent_again(telegram: TelegramSetup, api: BotApi) -> None:
    telegram.send(Message("progress", Priority.PROGRESS, "step 1"))
    api.texts.clear()
    telegram.send(Message("progress", Priority.PROGRESS, "step 2"))
    assert [sent.method for sent in api.sent] == ["sendMessage", "sendMessage"]


def test_pictures_and_voice_are_sent(telegram: TelegramSetup, api: BotApi, tmp_path: Path) -> None:
    pictures = tuple(write_picture(tmp_path / f"{i}.png") for i in range(2))
    voice = write_sound(tmp_path / "x.wav")
    telegram.send(note("one", pictures=pictures[:1]))
    telegram.send(note("two", pictures=pictures, voice=voice))
    telegram.send(note("voice", voice=voice))
    assert [sent.method for sent in api.sent] == ["sendPhoto", "sendMediaGroup", "sendVoice", "sendVoice"]
    assert [sent.text for sent in api.sent] == ["one", "two", "", "voice"]
    assert len(api.sent[1].files) == 2


def test_an_album_holds_ten_pictures(telegram: TelegramSetup, api: BotApi, tmp_path: Path) -> None:
    telegram.send(note("many", pictures=tuple(write_picture(tmp_path / f"{i}.png") for i in range(12))))
    assert len(api.sent[0].files) == 10


def test_missing_files_are_left_out_and_too_large_ones_named(
    telegram: TelegramSetup, api: BotApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitoring.messaging.telegram.MAX_PHOTO_BYTES", 100)
    large = tmp_path / "large.png"
    large.write_bytes(b"\x89PNG" + bytes(200))
    telegram.send(note("large", pictures=(str(large), str(tmp_path / "gone.png"))))
    (sent,) = api.sent
    assert sent.method == "sendMessage" and sent.text == f"large\n{large}"


def test_a_long_text_is_split_without_loss(telegram: TelegramSetup, api: BotApi, tmp_path: Path) -> None:
    lines = tuple(f"line {i} " + "ж😀" * 100 for i in range(60))
    telegram.send(note("title", lines=lines))
    assert len(api.sent) > 3
    assert "\n".join(sent.text for sent in api.sent) == "\n".join(["title", *lines])
    telegram.send(note("caption", lines=lines, pictures=(write_picture(tmp_path / "x.png"),)))
    photo = next(sent for sent in api.sent if sent.method == "sendPhoto")
    with_photo = api.sent[api.sent.index(photo) :]
    assert "\n".join(sent.text for sent in with_photo) == "\n".join(["caption", *lines])


def test_buttons_are_below_the_message(telegram: TelegramSetup, api: BotApi) -> None:
    telegram.send(note("May I?", buttons=(Button("yes", "approve 3"), Button("no", "reject 3"))))
    keyboard = json.loads(api.sent[0].parameters["reply_markup"])["inline_keyboard"]
    assert keyboard == [[{"text": "yes", "callback_data": "approve 3"}, {"text": "no", "callback_data": "reject 3"}]]


@pytest.mark.parametrize("fault", ["500", "502", "reset", "hang", "403", "400:Bad Request: chat not found"])
def test_after_any_fault_a_message_arrives_once(telegram: TelegramSetup, api: BotApi, fault: str) -> None:
    api.faults += [fault, fault]
    telegram.send(note("important"))
    assert api.sent_texts() == ["important"]
    assert len(telegram.warnings) == 1
    telegram.send(note("next"))
    assert api.sent_texts() == ["important", "next"]


def test_a_blocked_bot_is_reported_with_advice(telegram: TelegramSetup, api: BotApi) -> None:
    api.faults.append("403")
    telegram.send(note("x"))
    assert "blocked by the user" in telegram.warnings[0] and "press Start" in telegram.warnings[0]


def test_a_requested_pause_is_kept(telegram: TelegramSetup, api: BotApi) -> None:
    api.faults.append("429:1")
    begin = time.monotonic()
    telegram.send(note("patient"))
    assert time.monotonic() - begin >= 1.0 and api.sent_texts() == ["patient"]
    assert api.requests == 2


def test_critical_messages_are_sent_even_during_a_long_pause(
    telegram: TelegramSetup, api: BotApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitoring.messaging.sender.MAX_CRITICAL_HOLD_SECONDS", 0.3)
    api.faults.append("429:86400")
    telegram.outbox.put(note("can wait"))
    telegram.sender.start()
    wait_until(lambda: api.requests == 1)
    telegram.outbox.put(note("alarm", Priority.CRITICAL))
    wait_until(lambda: api.sent_texts() == ["alarm"])
    time.sleep(0.3)
    assert api.sent_texts() == ["alarm"] and len(telegram.outbox) == 1


def test_a_rejected_message_does_not_block_the_next(telegram: TelegramSetup, api: BotApi) -> None:
    api.faults.append("400:Bad Request: message is somehow wrong")
    telegram.send(note("bad"), note("good"))
    assert api.sent_texts() == ["good"]
    assert "somehow wrong" in telegram.warnings[0]


def test_a_text_with_refused_markup_is_sent_plain(telegram: TelegramSetup, api: BotApi) -> None:
    api.faults.append("400:Bad Request: can't parse entities: something")
    telegram.send(note("Title", lines=("a < b",)))
    assert api.sent[0].parameters.get("parse_mode") is None and api.sent_texts() == ["Title\na < b"]


def test_after_an_outage_one_digest_is_sent(
    telegram: TelegramSetup, api: BotApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitoring.messaging.sender.OUTAGE_SECONDS", 0.0)
    api.faults += ["reset"] * 3
    messages = [note(f"event {i}") for i in range(20)] + [note("alarm", Priority.CRITICAL)]
    telegram.send(*messages)
    assert len(api.sent_texts()) == 1
    digest = api.sent_texts()[0].split("\n")
    assert digest[:3] == ["While the connection was down (× 21)", "alarm", "event 0"]
    assert digest[-1] == "event 19"


def test_a_wrong_token_is_reported_and_never_shown(
    api: BotApi, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "999:another-secret"
    telegram = TelegramSetup(api, tmp_path, bot_token=secret)
    with caplog.at_level(logging.DEBUG):
        telegram.outbox.put(note("x"))
        telegram.sender.start()
        wait_until(lambda: telegram.warnings)
    telegram.close()
    assert "refused (401)" in telegram.warnings[0]
    settings = repr(telegram.settings) + telegram.settings.model_dump_json()
    assert "another-secret" not in caplog.text + "".join(telegram.warnings) + settings


def test_requests_are_not_logged_with_the_token(
    telegram: TelegramSetup, api: BotApi, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        telegram.send(note("x"))
    assert TOKEN not in caplog.text


TEXTS = st.text(max_size=300) | st.sampled_from(
    ["<b>", "</b>&lt;", "&", "<a href='x'>", "\ud83d", "\x00", " ", "\u202e"]
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(title=TEXTS, lines=st.lists(TEXTS, max_size=4))
def test_any_text_arrives(telegram: TelegramSetup, api: BotApi, title: str, lines: list[str]) -> None:
    n_before = len(api.sent)
    telegram.send(note(title, lines=tuple(lines)))
    assert len(api.sent) > n_before and telegram.warnings == []


def test_missing_settings_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TELEGRAM_BOT_TOKEN", raising=False)
    with pytest.raises(ValueError, match="TELEGRAM_BOT_TOKEN"):
        TelegramSettings(enabled=True, chat_id=1)
    with pytest.raises(ValueError, match="chat_id"):
        TelegramSettings(enabled=True, bot_token=SecretStr(TOKEN))


def test_the_environments_token_takes_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "from the environment")
    assert TelegramSettings(enabled=True, chat_id=1, bot_token=SecretStr("x")).token == "from the environment"


def test_an_unreadable_file_costs_only_its_own_message(telegram: TelegramSetup, api: BotApi, tmp_path: Path) -> None:
    noise, picture = tmp_path / "noise.wav", tmp_path / "picture.png"
    noise.write_bytes(b"no sound")
    picture.write_bytes(b"\x89PNG")
    (request,) = telegram.client.build_requests(note("picture", pictures=(str(picture),)))
    picture.unlink()
    with pytest.raises(MessageRejected, match="picture.png"):
        telegram.client.send(request)
    telegram.send(note("noise", voice=str(noise)), note("after it"))
    assert api.sent_texts() == ["after it"]
    assert telegram.warnings == ["telegram: a message was refused (LibsndfileError: noise.wav)"]
