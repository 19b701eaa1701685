"""Where MLflow keeps what it is told, as config.yaml has it."""

from __future__ import annotations

import hashlib
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator


class MlflowSettings(BaseModel):
    """Without a URI the store is a file beside the runs, and needs no server."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    enabled: bool = True
    uri: str | None = None
    experiment: str = Field("voices", min_length=1, max_length=250)
    checkpoints: Literal["voice", "all", "none"] = "voice"

    @field_validator("uri")
    @classmethod
    def _is_an_address(cls, uri: str | None) -> str | None:
        if uri is None or uri == "databricks" or urlsplit(uri).scheme:
            return uri
        raise ValueError("expected an address like http://127.0.0.1:5000")

    @property
    def memory(self) -> str:
        """What the place in the journal is kept as: another store has yet to be told everything."""
        if self.uri is None:
            return "mlflow"
        return f"mlflow-{hashlib.sha256(without_password(self.uri).encode()).hexdigest()[:8]}"


def without_password(uri: str) -> str:
    """Nor the user's name."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if parts.netloc else uri
