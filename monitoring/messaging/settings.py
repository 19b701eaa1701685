"""Who is told of a run, and who may say something to it, as config.yaml has it."""

from __future__ import annotations

import os
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from monitoring.language.base import Language

TOKEN_VARIABLE = "TELEGRAM_BOT_TOKEN"


class MessageSection(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class TelegramSettings(MessageSection):
    """The token is preferably in the environment, and nowhere in what is written down."""

    enabled: bool = False
    bot_token: SecretStr | None = None
    chat_id: int | str | None = None
    allowed_users: tuple[int, ...] = ()
    language: Language = "en"
    base_url: str = "https://api.telegram.org/bot"
    progress_minutes: float = Field(10.0, gt=0)
    sample_minutes: float = Field(30.0, gt=0)
    messages_per_minute: int = Field(20, ge=1, le=60)

    @model_validator(mode="before")
    @classmethod
    def _token_of_the_environment(cls, values: Any) -> Any:
        if isinstance(values, dict) and (token := os.environ.get(TOKEN_VARIABLE)):
            return values | {"bot_token": token}
        return values

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.enabled and self.bot_token is None:
            raise ValueError(f"enabled, but there is no token: set {TOKEN_VARIABLE} (ask @BotFather for one)")
        if self.enabled and self.chat_id is None:
            raise ValueError("enabled, but chat_id is missing: write to the bot, then see chat.id in its getUpdates")
        return self

    @property
    def token(self) -> str:
        assert self.bot_token is not None, "only asked for when enabled"
        return self.bot_token.get_secret_value()


class WebhookSettings(MessageSection):
    """The same messages as JSON, posted to a URL, which may hold a secret itself."""

    url: SecretStr | None = None
    messages_per_minute: int = Field(60, ge=1)

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: SecretStr | None) -> SecretStr | None:
        if url is None:
            return None
        text = url.get_secret_value()
        parts = urlsplit(text)
        if parts.scheme not in ("http", "https") or not parts.hostname or not text.isascii() or " " in text:
            raise ValueError("expected an address like https://example.org/hook, other characters as %XX")
        parts.hostname.encode("idna")
        return url
