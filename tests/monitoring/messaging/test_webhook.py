"""The same messages as JSON to any URL."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from monitoring.language.base import words_of
from monitoring.messaging.message import Importance, Message
from monitoring.messaging.outbox import Outbox
from monitoring.messaging.sender import Courier, Flooded, Pace, Undeliverable, Unreachable
from monitoring.messaging.settings import WebhookSettings
from monitoring.messaging.webhook import WebhookDoor

ALARM = Message("alarm", Importance.CRITICAL, "Trouble: ё", ("<b>",), step=7)


class Hook:
    """A server that takes JSON, or answers with a code it was told to."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.codes: list[int] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                code = hook.codes.pop(0) if hook.codes else 200
                if code == 200:
                    assert self.headers["Content-Type"] == "application/json"
                    hook.taken.append(json.loads(content))
                self.send_response(code)
                self.send_header("Retry-After", "3")
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_GET(self) -> None:
                hook.taken.append({"asked with GET": self.path})
                self.send_error(405)

            def log_message(self, *_: object) -> None:
                """Silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/secret-path"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


@pytest.fixture
def hook() -> Iterator[Hook]:
    hook = Hook()
    yield hook
    hook.close()


def send(hook: Hook) -> None:
    door = WebhookDoor(hook.url, "run <1>")
    for parcel in door.parcels(ALARM):
        door.send(parcel)


def test_a_message_is_told_as_json(hook: Hook) -> None:
    send(hook)
    assert hook.taken == [
        {
            **{"run": "run <1>", "kind": "alarm", "importance": "critical", "step": 7, "times": 1},
            **{"title": "Trouble: ё", "lines": ["<b>"]},
        }
    ]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        *((429, Flooded), (500, Unreachable), (503, Unreachable), (400, Undeliverable), (413, Undeliverable)),
        *(
            (301, Unreachable),
            (302, Unreachable),
            (401, Unreachable),
            (404, Unreachable),
        ),  # the address is to be mended
    ],
)
def test_its_answers_are_understood(hook: Hook, code: int, expected: type[Exception]) -> None:
    hook.codes.append(code)
    with pytest.raises(expected) as error:
        send(hook)
    assert "secret" not in str(error.value)
    assert hook.taken == []
    if isinstance(error.value, Flooded):
        assert error.value.seconds == 3


def test_nobody_there_is_told_without_the_address() -> None:
    with pytest.raises(Unreachable) as error:
        WebhookDoor("http://127.0.0.1:1/secret-path", "run").send(b"{}")
    assert "secret" not in str(error.value)


def test_one_who_speaks_no_http_is_told_without_the_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(10_000)
                connection.sendall(b"220 mail.example ESMTP\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(Unreachable) as error:
            WebhookDoor(f"http://127.0.0.1:{server.getsockname()[1]}/secret-path", "run").send(b"{}")
        thread.join(10)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    "url", ["example.org/secret", "file:///secret", "ftp://x/secret", "https://", "http://a b/secret"]
)
def test_an_address_that_is_none_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ValidationError, match="http|label") as error:
        WebhookSettings(url=SecretStr(url))
    assert "secret" not in str(error.value)


def test_it_goes_through_the_same_outbox(hook: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitoring.messaging.sender.FIRST_WAIT_SECONDS", 0.01)
    outbox = Outbox(tmp_path / "outbox.json", words_of("en"))
    courier = Courier("webhook", outbox, WebhookDoor(hook.url, "run"), Pace(100), lambda _: None)
    hook.codes += [503, 503]
    outbox.put(ALARM)
    courier.start()
    courier.finish(10)
    assert [told["kind"] for told in hook.taken] == ["alarm"] and len(outbox) == 0
