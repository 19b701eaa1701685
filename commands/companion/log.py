"""Log of the companion and its notes to the training, without secrets."""

from __future__ import annotations

import logging
import threading
from urllib.parse import parse_qsl, unquote, urlsplit

from monitoring.exporters.mlflow_settings import without_credentials
from smart_tuner.settings import Settings

LOG = logging.getLogger("companion")


class Redactor:
    """Function that removes tokens and passwords from a text: libraries log them, and exceptions contain them."""

    def __init__(self, settings: Settings) -> None:
        given = (settings.telegram.bot_token, settings.webhook.url)
        secrets = [secret.get_secret_value() for secret in given if secret is not None]
        uri = settings.mlflow.uri
        if uri is not None and without_credentials(uri) != uri:
            parts = urlsplit(uri)
            secret = parts.password or parts.username or ""  # https://TOKEN@host has a name only
            secrets += [
                uri,
                parts.netloc.rpartition("@")[0],
                secret,
                unquote(secret),
                *(value for _, value in parse_qsl(parts.query)),
            ]
        self._secrets = [secret for secret in secrets if secret]

    def __call__(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return text


class RedactingFormatter(logging.Formatter):
    """Formatter of log records without secrets."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        return self._redact(super().format(record))


def log_exception(arguments: threading.ExceptHookArgs) -> None:
    name = arguments.thread.name if arguments.thread else "a thread"
    LOG.error("%s ended by an exception", name, exc_info=arguments.exc_value)
