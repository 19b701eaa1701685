"""A server on the loopback that speaks Telegram's Bot API as it behaves, also when it is in a bad mood."""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

TOKEN = "123456:AAE-real-looking_secret0token"
CHAT, USER, STRANGER = 4242, 7, 666
MOST_PHOTO, MOST_UPLOAD = 10_000_000, 50_000_000
TAGS = {"b", "i", "u", "s", "code", "pre", "a", "blockquote", "tg-spoiler"}


@dataclass(frozen=True)
class Sent:
    """One request that was answered well."""

    method: str
    text: str
    parameters: Mapping[str, str]
    files: Mapping[str, bytes]
    at: float
    message_id: int


class Refused(Exception):
    """An answer with ok: false."""

    def __init__(self, code: int, description: str, **parameters: Any) -> None:
        super().__init__(description)
        self.code, self.description, self.parameters = code, description, parameters


@dataclass
class BotApi:
    """The state of the server; `moods` are what goes wrong with the next requests that are not getUpdates."""

    sent: list[Sent] = field(default_factory=list)
    moods: list[str] = field(default_factory=list)
    requests: int = 0
    texts: dict[int, str] = field(default_factory=dict)
    updates: list[dict[str, Any]] = field(default_factory=list)
    answered: list[dict[str, str]] = field(default_factory=list)
    most_a_minute: int = 10_000
    _ids: int = 0
    _is_polling: bool = False

    def __post_init__(self) -> None:
        self.news = threading.Condition()
        api = self

        class Handler(_Handler):
            bot_api = api

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.stopped = threading.Event()
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/bot"

    def close(self) -> None:
        self.stopped.set()
        with self.news:
            self.news.notify_all()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    # what people do

    def write(self, text: str, *, chat: int = CHAT, user: int = USER, group: str = "") -> None:
        """A person writes to the bot or, where it is, in a group of that name."""
        place = {"id": chat, "type": "supergroup", "title": group, "username": group} if group else _chat(chat)
        message = {"message_id": self._next(), "date": int(time.time()), "text": text, "chat": place}
        self._arrives({"message": message | {"from": _user(user)}})

    def press(self, data: str, *, chat: int = CHAT, user: int = USER) -> None:
        """A person presses a button."""
        message = {"message_id": 1, "date": int(time.time()), "text": "x", "chat": _chat(chat)}
        query = {"id": str(self._next()), "from": _user(user), "chat_instance": "1", "data": data, "message": message}
        self._arrives({"callback_query": query})

    def _arrives(self, update: dict[str, Any]) -> None:
        with self.news:
            self.updates.append({"update_id": 1000 + len(self.updates), **update})
            self.news.notify_all()

    def all(self, method: str) -> list[Sent]:
        return [sent for sent in self.sent if sent.method == method]

    def said(self) -> list[str]:
        """All texts and captions, in their order."""
        return [sent.text for sent in self.sent if sent.text]

    # what the API does

    def _next(self) -> int:
        self._ids += 1
        return self._ids

    def answer(self, method: str, parameters: dict[str, str], files: dict[str, bytes]) -> Any:
        known = {
            "getMe": lambda: {"id": 1, "is_bot": True, "first_name": "Tuner", "username": "tuner_bot"},
            "getUpdates": lambda: self._get_updates(parameters),
            "answerCallbackQuery": lambda: self.answered.append(parameters) or True,  # type: ignore[func-returns-value]
            "editMessageText": lambda: self._edit(parameters),
            **{name: lambda: self._send(method, parameters, files) for name in SENDS},
        }
        if method not in known:
            raise Refused(404, "Not Found")
        return known[method]()

    def _send(self, method: str, parameters: dict[str, str], files: dict[str, bytes]) -> Any:
        if parameters.get("chat_id") != str(CHAT):
            raise Refused(400, "Bad Request: chat not found")
        recent = [sent for sent in self.sent if sent.at > time.monotonic() - 60]
        if len(recent) >= self.most_a_minute:
            raise Refused(429, "Too Many Requests: retry after 5", retry_after=5)
        if method == "sendMediaGroup":
            return self._send_group(parameters, files)
        name = {"sendMessage": "text"}.get(method, "caption")
        text = _read(parameters.get(name, ""), parameters.get("parse_mode"))
        _check_length(text, 4096 if name == "text" else 1024, name)
        if name == "text" and not text.strip():
            raise Refused(400, "Bad Request: message text is empty")
        _check_file(method, files)
        json.loads(parameters.get("reply_markup", "{}"))
        return self._keep(method, text, parameters, files)

    def _send_group(self, parameters: dict[str, str], files: dict[str, bytes]) -> Any:
        media = json.loads(parameters["media"])
        if not 2 <= len(media) <= 10:
            raise Refused(400, "Bad Request: group send failed: wrong number of items")
        for item in media:
            content = files.get(item["media"].removeprefix("attach://"), b"")
            _check_file("sendPhoto", {"photo": content})
        text = _read(media[0].get("caption", ""), media[0].get("parse_mode"))
        _check_length(text, 1024, "caption")
        return [self._keep("sendMediaGroup", text, parameters, files)]

    def _keep(self, method: str, text: str, parameters: dict[str, str], files: dict[str, bytes]) -> dict[str, Any]:
        id_ = self._next()
        self.texts[id_] = text
        self.sent.append(Sent(method, text, parameters, files, time.monotonic(), id_))
        return {"message_id": id_, "date": int(time.time()), "chat": _chat(CHAT), "text": text}

    def _edit(self, parameters: dict[str, str]) -> Any:
        id_ = int(parameters["message_id"])
        if id_ not in self.texts:
            raise Refused(400, "Bad Request: message to edit not found")
        text = _read(parameters["text"], parameters.get("parse_mode"))
        _check_length(text, 4096, "text")
        if text == self.texts[id_]:
            raise Refused(400, "Bad Request: message is not modified: specified new message content is the same")
        self.texts[id_] = text
        self.sent.append(Sent("editMessageText", text, parameters, {}, time.monotonic(), id_))
        return {"message_id": id_, "date": 1, "chat": _chat(CHAT), "text": text}

    def _get_updates(self, parameters: dict[str, str]) -> list[dict[str, Any]]:
        offset, seconds = int(parameters.get("offset", 0)), float(parameters.get("timeout", 0))
        if self._is_polling:
            raise Refused(409, "Conflict: terminated by other getUpdates request")
        self._is_polling = True
        try:
            with self.news:
                if offset < 0:
                    return self.updates[offset:]
                self.news.wait_for(lambda: self.stopped.is_set() or self._since(offset), seconds)
                return self._since(offset)
        finally:
            self._is_polling = False

    def _since(self, offset: int) -> list[dict[str, Any]]:
        return [update for update in self.updates if update["update_id"] >= offset]


SENDS = ("sendMessage", "sendPhoto", "sendVoice", "sendMediaGroup")


class _Handler(BaseHTTPRequestHandler):
    bot_api: BotApi
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Silent."""

    def do_POST(self) -> None:
        parameters, files = self._body()
        found = re.fullmatch(r"/bot([^/]+)/(\w+)", self.path)
        token, method = found.groups() if found else ("", "")
        api = self.bot_api
        mood = ""
        if method != "getUpdates":
            api.requests += 1
            mood = api.moods.pop(0) if api.moods else ""
        try:
            if token != TOKEN:
                raise Refused(401, "Unauthorized")
            if mood and not self._act(mood):
                return
            self._answer(200, {"ok": True, "result": api.answer(method, parameters, files)})
        except Refused as no:
            told = {"ok": False, "error_code": no.code, "description": no.description}
            self._answer(no.code, told | ({"parameters": no.parameters} if no.parameters else {}))

    def _act(self, mood: str) -> bool:
        """Whether the request is answered after all."""
        if mood == "hang":
            self.bot_api.stopped.wait(30)
            return False
        if mood == "reset":
            linger = struct.pack("ii", 1, 0)  # closing sends a reset
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
            self.close_connection = True
            return False
        code, _, more = mood.partition(":")
        texts = {401: "Unauthorized", 403: "Forbidden: bot was blocked by the user", 500: "Internal Server Error"}
        if code == "429":
            raise Refused(429, f"Too Many Requests: retry after {more}", retry_after=int(more))
        raise Refused(int(code), more or texts.get(int(code), "Bad Gateway"))

    def _answer(self, code: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except ConnectionError:
            self.close_connection = True

    def _body(self) -> tuple[dict[str, str], dict[str, bytes]]:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kind = self.headers.get("Content-Type", "")
        if not kind.startswith("multipart/"):
            return {name: values[0] for name, values in parse_qs(content.decode()).items()}, {}
        head = f"Content-Type: {kind}\r\n\r\n".encode()
        parameters, files = dict[str, str](), dict[str, bytes]()
        for part in BytesParser(policy=HTTP).parsebytes(head + content).iter_parts():
            name = str(part.get_param("name", header="content-disposition"))
            payload = part.get_payload(decode=True)
            assert isinstance(payload, bytes)
            if part.get_filename() is not None:
                files[name] = payload
            else:
                parameters[name] = payload.decode()
        return parameters, files


def _read(text: str, parse_mode: str | None) -> str:
    """The text without its markup; what is no proper markup is refused, as it is in reality."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Refused(400, "Bad Request: strings must be encoded in UTF-8") from error
    if parse_mode != "HTML":
        return text
    opened: list[str] = []
    plain, end = "", 0
    for tag in re.finditer(r"<(/?)([a-zA-Z-]*)[^<>]*>|<|&(?!lt;|gt;|amp;|quot;|#\d+;|#x[0-9a-fA-F]+;)(?=\w+;)", text):
        if tag.group(2) is None or tag.group(2) not in TAGS:
            raise Refused(400, f"Bad Request: can't parse entities: unsupported start tag at byte {tag.start()}")
        plain += unescape(text[end : tag.start()])
        end = tag.end()
        if not tag.group(1):
            opened.append(tag.group(2))
        elif not opened or opened.pop() != tag.group(2):
            raise Refused(400, "Bad Request: can't parse entities: unmatched end tag")
    if opened:
        raise Refused(400, "Bad Request: can't parse entities: can't find end tag")
    return plain + unescape(text[end:])


def _check_length(text: str, longest: int, name: str) -> None:
    if len(text.encode("utf-16-le")) // 2 > longest:
        raise Refused(400, f"Bad Request: message {'caption ' if name == 'caption' else ''}is too long")


def _check_file(method: str, files: Mapping[str, bytes]) -> None:
    if method == "sendPhoto":
        (content,) = files.values()
        if len(content) > MOST_PHOTO:
            raise Refused(413, "Request Entity Too Large")
        if not content.startswith(b"\x89PNG"):
            raise Refused(400, "Bad Request: IMAGE_PROCESS_FAILED")
    if method == "sendVoice":
        (content,) = files.values()
        if len(content) > MOST_UPLOAD:
            raise Refused(413, "Request Entity Too Large")
        assert content.startswith(b"OggS") and b"OpusHead" in content[:200]


def _chat(id_: int) -> dict[str, Any]:
    return {"id": id_, "type": "private", "first_name": "A"}


def _user(id_: int) -> dict[str, Any]:
    return {"id": id_, "is_bot": False, "first_name": "A"}
