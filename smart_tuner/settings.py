"""All settings that are not part of the training recipe, and how config.yaml becomes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hparams import UserError

DEFAULT_CONFIG = Path(__file__).with_name("config.yaml")


class Settings(BaseModel):
    """smart_tuner/config.yaml shows all of them with these defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hparams: dict[str, Any] = Field(default_factory=dict)
    tensorboard: bool = True
    progress_every_seconds: float = Field(10.0, gt=0)


def load_settings(path: Path) -> Settings:
    """Settings from a YAML file that may hold just the keys that differ."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"--config {path}: cannot be read ({error.strerror}); give an existing YAML file") from error
    except UnicodeDecodeError as error:
        raise UserError(f"--config {path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except yaml.YAMLError as error:
        raise UserError(f"--config {path}: is not valid YAML: {' '.join(str(error).split())}") from error
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise UserError(f"--config {path}: expected 'name: value' lines, found {type(content).__name__}")
    try:
        return Settings.model_validate(content)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
    raise UserError(f"--config {path}: {'; '.join(problems)}; {DEFAULT_CONFIG} shows every setting")
