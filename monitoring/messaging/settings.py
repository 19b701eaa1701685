"""Settings of messages and of the bot, as config.yaml has them."""

from __future__ import annotations

import os
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from monitoring.language.base import LanguageCode

TOKEN_VARIABLE = "TELEGRAM_BOT_TOKEN"


class MessageSection(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class TelegramSettings(MessageSection):
    """Settings of the Telegram bot; the token is best given by the environment and is never written anywhere."""

    enabled: bool = False
    bot_token: SecretStr | None = None
    chat_id: int | str | None = None
    allowed_users: tuple[int, ...] = ()
    language: LanguageCode = "en"
    base_url: str = "https://api.telegram.org/bot"
    progress_minutes: float = Field(10.0, gt=0)
    sample_minutes: float = Field(30.0, gt=0)
    messages_per_minute: int = Field(20, ge=1, le=60)

    @model_validator(mode="before")
    @classmethod
    def _read_token_from_environment(cls, values: Any) -> Any:
        if isinstance(values, dict) and (token := os.environ.get(TOKEN_VARIABLE)):
            return values | {"bot_token": token}
        return values

    @model_validator(mode="after")
    def _check_complete(self) -> Self:
        if self.enabled and self.bot_token is None:
            raise ValueError(f"telegram is enabled without a token: set {TOKEN_VARIABLE} (ask @BotFather for one)")
        if self.enabled and self.chat_id is None:
            raise ValueError("telegram is enabled without chat_id: write to the bot, then take chat.id from getUpdates")
        return self

    @property
    def token(self) -> str:
        assert self.bot_token is not None, "enabled settings have a token"
        return self.bot_token.get_secret_value()


class WebhookSettings(MessageSection):
    """Settings of the webhook, a URL that may contain a secret."""

    url: SecretStr | None = None
    messages_per_minute: int = Field(60, ge=1)

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url is None:
            return None
        text = url.get_secret_value()
        parts = urlsplit(text)
        if parts.scheme not in ("http", "https") or not parts.hostname or not text.isascii() or " " in text:
            raise ValueError("expected an address like https://example.org/hook, other characters as %XX")
        parts.hostname.encode("idna")
        return url
