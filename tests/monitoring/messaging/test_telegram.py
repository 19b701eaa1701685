"""Messages through the real library to a server that speaks the Bot API, in every mood."""

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

from monitoring.messaging.message import Button, Importance, Message
from monitoring.messaging.sender import Undeliverable
from monitoring.messaging.settings import TelegramSettings
from monitoring.report.plots import save_png
from tests.monitoring.bot_api import TOKEN, BotApi
from tests.monitoring.messaging.telegram_line import Line, wait_until
from tests.monitoring.wave_file import write_pcm


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
    monkeypatch.setattr("monitoring.messaging.telegram.MOST_PHOTO_BYTES", 100)
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
    monkeypatch.setattr("monitoring.messaging.sender.LONGEST_CRITICAL_HOLD_SECONDS", 0.3)
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
    monkeypatch.setattr("monitoring.messaging.sender.OUTAGE_SECONDS", 0.0)
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


def test_a_token_is_wanted_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TELEGRAM_BOT_TOKEN", raising=False)
    with pytest.raises(ValueError, match="TELEGRAM_BOT_TOKEN"):
        TelegramSettings(enabled=True, chat_id=1)
    with pytest.raises(ValueError, match="chat_id"):
        TelegramSettings(enabled=True, bot_token=SecretStr(TOKEN))


def test_the_environments_token_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "from the environment")
    assert TelegramSettings(enabled=True, chat_id=1, bot_token=SecretStr("x")).token == "from the environment"


def test_a_file_that_is_gone_or_no_sound_costs_only_itself(line: Line, api: BotApi, tmp_path: Path) -> None:
    noise, picture = tmp_path / "noise.wav", tmp_path / "picture.png"
    noise.write_bytes(b"no sound")
    picture.write_bytes(b"\x89PNG")
    (gone,) = line.door.parcels(note("picture", pictures=(str(picture),)))
    picture.unlink()
    with pytest.raises(Undeliverable, match="picture.png"):
        line.door.send(gone)
    line.bring(note("noise", voice=str(noise)), note("after it"))
    assert api.said() == ["after it"]
    assert line.complaints == ["telegram: a message was refused (LibsndfileError: noise.wav)"]
