"""The only door to Telegram; imported where it is wanted, since the library takes half a second."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from telegram import Bot, InlineKeyboardButton, InlineKeyboardMarkup, InputMediaPhoto
from telegram import error as telegram_error
from telegram.error import BadRequest, RetryAfter
from telegram.request import HTTPXRequest

from monitoring.audio_encoding import encode_opus
from monitoring.messaging.message import Button, Importance, Message
from monitoring.messaging.sender import Flooded, Undeliverable, Unreachable
from monitoring.messaging.settings import TelegramSettings
from monitoring.messaging.telegram_format import (
    MOST_FILE_BYTES,
    MOST_PHOTO_BYTES,
    MOST_PICTURES,
    as_html,
    caption,
    parts,
)

os.environ.setdefault("PTB_TIMEDELTA", "true")  # as all durations will be

REQUEST_SECONDS, UPLOAD_SECONDS = 20.0, 60.0
LONGEST_CALL_SECONDS = 120.0  # of one request with all that belongs to it; a server that hangs costs this
SHOWN_EDITED = ("progress",)  # kinds of messages of which there is one, edited in place


@dataclass(frozen=True)
class Parcel:
    """One request."""

    kind: str  # text, edit, photo, album or voice
    text: str = ""
    has_title: bool = False
    files: tuple[Path, ...] = ()
    buttons: tuple[Button, ...] = ()
    is_silent: bool = True


class TelegramDoor:
    """Speaks the Bot API through python-telegram-bot, from a thread with an event loop of its own."""

    def __init__(self, settings: TelegramSettings) -> None:
        self._settings = settings
        self.chat_id = settings.chat_id
        self._progress_id: int | None = None  # of the message that is edited
        self._bot: Bot | None = None
        self._requests: list[HTTPXRequest] = []
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="telegram", daemon=True)
        self._thread.start()
        for chatty in ("httpx", "httpcore", "telegram"):  # they log addresses, and the token is part of those
            logging.getLogger(chatty).setLevel(logging.WARNING)

    def close(self) -> None:
        for request in self._requests:
            asyncio.run_coroutine_threadsafe(request.shutdown(), self.loop).result(REQUEST_SECONDS)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(REQUEST_SECONDS)
        self.loop.close()

    @property
    def bot(self) -> Bot:
        if self._bot is None:
            self._requests = [
                HTTPXRequest(
                    connect_timeout=REQUEST_SECONDS,
                    read_timeout=REQUEST_SECONDS,
                    write_timeout=REQUEST_SECONDS,
                    media_write_timeout=UPLOAD_SECONDS,
                )
                for _ in ("sending", "listening")
            ]
            address = self._settings.base_url
            self._bot = Bot(
                self._settings.token,
                base_url=address,
                base_file_url=address.replace("/bot", "/file/bot"),
                request=self._requests[0],
                get_updates_request=self._requests[1],
            )
        return self._bot

    def parcels(self, message: Message) -> Sequence[Parcel]:
        pictures = _sendable(message.pictures, MOST_PHOTO_BYTES)[:MOST_PICTURES]
        voice = _sendable((message.voice,) if message.voice else (), MOST_FILE_BYTES)
        is_silent = message.importance < Importance.ANSWER
        if message.kind in SHOWN_EDITED and not pictures and not voice:
            return [Parcel("edit", parts(message.headline, message.lines)[0], True)]
        done: list[Parcel] = []
        lines = [*message.lines, *_too_large(message)]
        texts = parts(message.headline, lines)
        if pictures or voice:
            first, texts = caption(message.headline, lines)
            kind = "voice" if not pictures else "album" if len(pictures) > 1 else "photo"
            done.append(Parcel(kind, first, True, pictures or voice, (), is_silent))
        done += [Parcel("text", text, not done and i == 0, (), (), is_silent) for i, text in enumerate(texts)]
        if pictures and voice:
            done.append(Parcel("voice", "", False, voice, (), True))
        if message.buttons:
            takes_buttons = done[-1].kind != "album"
            last = done.pop() if takes_buttons else Parcel("text", "…")
            done.append(Parcel(last.kind, last.text, last.has_title, last.files, message.buttons, is_silent))
        return done

    def send(self, parcel: Parcel) -> None:
        contents = _contents(parcel)
        try:
            self.call(self._send(parcel, contents, as_html(parcel.text, has_title=parcel.has_title), "HTML"))
        except Undeliverable as error:
            if "parse entities" not in str(error):
                raise
            self.call(self._send(parcel, contents, parcel.text, None))

    def call(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Have the loop do it; its failures as a courier knows them, without any that would tell the token."""
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result(LONGEST_CALL_SECONDS)
        except telegram_error.RetryAfter as flood:
            raise Flooded(seconds_of(flood)) from None
        except telegram_error.ChatMigrated as moved:
            self.chat_id = moved.new_chat_id
            raise Unreachable(f"the chat has a new id, {moved.new_chat_id}: set chat_id to it") from None
        except telegram_error.InvalidToken:
            raise Unreachable("the token is refused (401): ask @BotFather for the right one") from None
        except telegram_error.Forbidden as error:
            raise Unreachable(
                f"{error.message}: press Start in the chat with the bot, or add it to the group"
            ) from None
        except telegram_error.BadRequest as error:
            if "chat not found" in error.message.lower():
                raise Unreachable(f"{error.message}: is chat_id {self._settings.chat_id} right?") from None
            raise Undeliverable(error.message) from None
        except (telegram_error.TelegramError, TimeoutError, OSError) as error:
            future.cancel()
            raise Unreachable(f"Telegram cannot be reached ({type(error).__name__})") from None

    async def _send(self, parcel: Parcel, contents: Sequence[bytes], text: str, parse_mode: str | None) -> None:
        bot, to = self.bot, self.chat_id
        assert to is not None, "a complete configuration has one"
        said: dict[str, Any] = {"parse_mode": parse_mode}
        rest: dict[str, Any] = {"chat_id": to, "disable_notification": parcel.is_silent}
        markup = _keyboard(parcel.buttons)
        if parcel.kind == "edit":
            await self._edit(text, parse_mode)
        elif parcel.kind == "photo":
            await bot.send_photo(photo=contents[0], caption=text, reply_markup=markup, **said, **rest)
        elif parcel.kind == "album":
            media = [InputMediaPhoto(contents[0], caption=text, **said), *map(InputMediaPhoto, contents[1:])]
            await bot.send_media_group(media=media, **rest)
        elif parcel.kind == "voice":
            await bot.send_voice(voice=contents[0], caption=text, reply_markup=markup, **said, **rest)
        else:
            await bot.send_message(text=text, reply_markup=markup, **said, **rest)

    async def _edit(self, text: str, parse_mode: str | None) -> None:
        """The one message there is of its kind; a new one where it is gone."""
        bot, to = self.bot, self.chat_id
        assert to is not None, "a complete configuration has one"
        if self._progress_id is not None:
            try:
                await bot.edit_message_text(text, chat_id=to, message_id=self._progress_id, parse_mode=parse_mode)
                return
            except BadRequest as error:
                if "not modified" in error.message.lower():
                    return
        sent = await bot.send_message(to, text, parse_mode=parse_mode, disable_notification=True)
        self._progress_id = sent.message_id


def _contents(parcel: Parcel) -> list[bytes]:
    """Of its files, as they are sent."""
    try:
        if parcel.kind == "voice":
            return [encode_opus(parcel.files[0])]
        return [file.read_bytes() for file in parcel.files]
    except (OSError, RuntimeError) as error:  # it is gone by now, or no sound
        raise Undeliverable(f"{type(error).__name__}: {', '.join(file.name for file in parcel.files)}") from error


def _keyboard(buttons: Sequence[Button]) -> InlineKeyboardMarkup | None:
    row = [InlineKeyboardButton(button.label, callback_data=button.command) for button in buttons]
    return InlineKeyboardMarkup([row]) if row else None


def _sendable(files: Sequence[str], most_bytes: int) -> tuple[Path, ...]:
    """Those that are there and not too large."""
    paths = map(Path, files)
    return tuple(path for path in paths if path.is_file() and 0 < path.stat().st_size <= most_bytes)


def _too_large(message: Message) -> list[str]:
    """Files that Telegram does not take are named instead."""
    limits = {file: MOST_PHOTO_BYTES for file in message.pictures}
    limits |= {message.voice: MOST_FILE_BYTES} if message.voice else {}
    return [file for file, most in limits.items() if Path(file).is_file() and Path(file).stat().st_size > most]


def seconds_of(flood: RetryAfter) -> float:
    """How long silence was asked for."""
    asked = flood.retry_after
    return float(asked) if isinstance(asked, int) else asked.total_seconds()
