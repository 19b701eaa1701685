"""Client that posts messages as JSON to a URL."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

from monitoring.messaging.message import Message
from monitoring.messaging.sender import MessageRejected, RateLimited, ServerUnreachable

REQUEST_SECONDS = 20.0
TOO_MANY_REQUESTS = 429
DEFAULT_PAUSE_SECONDS = 60.0
REJECTED = (400, 413, 415, 422)  # all other error codes concern the address or the server, and may be repaired


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Handler that follows no redirect, which would become a GET request without the message."""

    def redirect_request(self, *_: Any) -> None:
        return None


class WebhookClient:
    """Message transport that posts `{run, kind, importance, step, title, lines, times}`.

    Its errors do not show the URL, which may contain a secret.
    """

    def __init__(self, url: str, run: str) -> None:
        self._url, self._run = url, run
        self._opener = urllib.request.build_opener(_NoRedirects)

    def build_requests(self, message: Message) -> Sequence[bytes]:
        fields = {
            "run": self._run,
            "kind": message.kind,
            "importance": message.priority.name.lower(),
            "step": message.step,
            "title": message.title,
            "lines": message.lines,
            "times": message.times,
        }
        return [json.dumps(fields).encode()]

    def send(self, request: bytes) -> None:
        headers = {"Content-Type": "application/json", "User-Agent": "smart-tuner"}
        try:
            post = urllib.request.Request(self._url, request, headers)
            with self._opener.open(post, timeout=REQUEST_SECONDS) as response:
                response.read(1)
        except urllib.error.HTTPError as error:
            with error:
                raise _transport_error(error) from None
        except (OSError, http.client.HTTPException) as error:
            raise ServerUnreachable(f"the webhook cannot be reached ({type(error).__name__})") from None


def _transport_error(error: urllib.error.HTTPError) -> Exception:
    if error.code == TOO_MANY_REQUESTS:
        pause = error.headers.get("Retry-After", "")
        return RateLimited(float(pause) if pause.isdecimal() else DEFAULT_PAUSE_SECONDS)
    text = f"the webhook answers {error.code}"
    return MessageRejected(text) if error.code in REJECTED else ServerUnreachable(text)
