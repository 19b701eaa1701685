"""Where MLflow keeps what it is told, as config.yaml has it."""

from __future__ import annotations

import hashlib
from pathlib import Path
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

    def store(self, output: Path) -> str:
        """Where it is, for the runs of a folder."""
        return self.uri or default_store(output)

    @field_validator("uri")
    @classmethod
    def _is_an_address(cls, uri: str | None) -> str | None:
        if uri is None or uri == "databricks" or urlsplit(uri).scheme:
            return uri
        raise ValueError("expected an address like http://127.0.0.1:5000")


def memory_of(uri: str) -> str:
    """What the place in the journal is kept as: another store has yet to be told everything."""
    return f"mlflow-{hashlib.sha256(without_password(uri).rstrip('/').encode()).hexdigest()[:8]}"


def default_store(output: Path) -> str:
    """A file beside the runs."""
    return f"sqlite:///{output.resolve() / 'mlflow.db'}"


def without_password(uri: str) -> str:
    """Nor the user's name, nor a query, which may hold both."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl() if parts.netloc else uri
