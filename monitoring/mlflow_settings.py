"""Where MLflow keeps what it is told, as config.yaml has it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class MlflowSettings(BaseModel):
    """Without a URI the store is a file beside the runs, and needs no server."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    uri: str | None = None
    experiment: str = Field("voices", min_length=1, max_length=250)
    checkpoints: Literal["voice", "all", "none"] = "voice"
