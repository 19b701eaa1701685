"""MLflow settings of config.yaml, and the address of the MLflow store."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator


class MlflowSettings(BaseModel):
    """Settings; without a URI the store is a file beside the runs and needs no server."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    enabled: bool = True
    uri: str | None = None
    experiment: str = Field("voices", min_length=1, max_length=250)
    checkpoints: Literal["voice", "all", "none"] = "voice"

    def store_uri(self, output: Path) -> str:
        """Return the address of the store for the runs in the folder `output`."""
        return self.uri or default_store_uri(output)

    @field_validator("uri")
    @classmethod
    def _is_uri(cls, uri: str | None) -> str | None:
        if uri is None or uri == "databricks" or urlsplit(uri).scheme:
            return uri
        raise ValueError("expected an address like http://127.0.0.1:5000")


def subscriber_state_name(uri: str) -> str:
    """Return the stem of the state file of the journal tail: one for each store, since each gets the whole journal."""
    return f"mlflow-{hashlib.sha256(without_credentials(uri).rstrip('/').encode()).hexdigest()[:8]}"


def default_store_uri(output: Path) -> str:
    return f"sqlite:///{output.resolve() / 'mlflow.db'}"


def without_credentials(uri: str) -> str:
    """Remove user name and password, and the query, which may hold both."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl() if parts.netloc else uri
