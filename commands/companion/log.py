"""Log of the companion, without secrets."""

from __future__ import annotations

import logging
import threading

from smart_tuner.settings import Settings

LOG = logging.getLogger("companion")


class RedactingFormatter(logging.Formatter):
    """Formatter that removes tokens and passwords, which libraries log and exceptions contain."""

    def __init__(self, settings: Settings) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        secrets = (settings.telegram.bot_token, settings.webhook.url)
        self._secrets = [secret.get_secret_value() for secret in secrets if secret is not None]
        self._secrets += [settings.mlflow.uri] if settings.mlflow.uri and "@" in settings.mlflow.uri else []

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return text


def log_exception(arguments: threading.ExceptHookArgs) -> None:
    name = arguments.thread.name if arguments.thread else "a thread"
    LOG.error("%s ended by an exception", name, exc_info=arguments.exc_value)
