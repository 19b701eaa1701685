"""Messages as JSON to any URL: for those who listen by other means than Telegram."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

from monitoring.messaging.message import Message
from monitoring.messaging.sender import Flooded, Undeliverable, Unreachable

REQUEST_SECONDS = 20.0
FLOODED = 429
ABOUT_THE_MESSAGE = (400, 413, 415, 422)
"""All other answers are about the address or the server, and may be mended."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """JournalTail one would ask with GET and without the message."""

    def redirect_request(self, *_: Any) -> None:
        return None


class WebhookDoor:
    """Posts `{run, kind, importance, step, title, lines, times}`; what the URL is stays unsaid."""

    def __init__(self, url: str, run: str) -> None:
        self._url, self._run = url, run
        self._opener = urllib.request.build_opener(_NoRedirects)

    def parcels(self, message: Message) -> Sequence[bytes]:
        told: dict[str, Any] = {"run": self._run, "kind": message.kind, "importance": message.importance.name.lower()}
        told |= {"step": message.step, "title": message.title, "lines": message.lines, "times": message.times}
        return [json.dumps(told).encode()]

    def send(self, parcel: bytes) -> None:
        headers = {"Content-Type": "application/json", "User-Agent": "smart-tuner"}
        request = urllib.request.Request(self._url, parcel, headers)
        try:
            with self._opener.open(request, timeout=REQUEST_SECONDS) as answer:
                answer.read(1)
        except urllib.error.HTTPError as error:
            with error:
                raise _as_courier_knows_it(error) from None
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"the webhook cannot be reached ({type(error).__name__})") from None


def _as_courier_knows_it(error: urllib.error.HTTPError) -> Exception:
    if error.code == FLOODED:
        asked = error.headers.get("Retry-After", "")
        return Flooded(float(asked) if asked.isdecimal() else 60.0)
    said = f"the webhook answers {error.code}"
    return Undeliverable(said) if error.code in ABOUT_THE_MESSAGE else Unreachable(said)
