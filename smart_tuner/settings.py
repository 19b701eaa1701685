"""Settings that are not part of the training recipe, and the loader of config.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hparams import UserError
from monitoring.exporters.mlflow_settings import MlflowSettings
from monitoring.language.base import LanguageCode
from monitoring.messaging.settings import TelegramSettings, WebhookSettings
from smart_tuner.search.settings import SearchSettings
from smart_tuner.settings_section import SettingsSection

DEFAULT_CONFIG = Path(__file__).with_name("config.yaml")


class QualityControl(SettingsSection):
    """Thresholds below which something is wrong, and targets at which all is well."""

    attention_diagonality_threshold: float = Field(0.3, ge=0, le=1)
    attention_diagonality_target: float = Field(0.7, ge=0, le=1)
    # of a model without attention, by the posterior of its symbols, which equal sounds share
    posterior_diagonality_threshold: float = Field(0.15, ge=0, le=1)
    posterior_diagonality_target: float = Field(0.25, ge=0, le=1)
    gate_accuracy_threshold: float = Field(0.7, ge=0, le=1)
    gate_accuracy_target: float = Field(0.8, ge=0, le=1)
    gradient_norm_threshold: float = Field(10.0, gt=0)  # times the run's usual norm
    gradient_norm_target: float = Field(5.0, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _drop_loss_target(cls, values: Any) -> Any:
        """Earlier versions had a loss target, which fitted one recipe's units."""
        return {k: v for k, v in values.items() if k != "loss_target"} if isinstance(values, dict) else values


class PhaseTargets(SettingsSection):
    """Changes of the recipe's schedules during a phase; shares multiply them."""

    learning_rate_share: float = Field(1.0, gt=0, le=1)
    grad_clip_share: float = Field(1.0, gt=0, le=1)
    guide_weight_share: float = Field(1.0, ge=0, le=4)
    guide_sigma_share: float = Field(1.0, gt=0, le=4)
    hold_schedules: bool = False
    rollbacks: bool = True
    latest_epoch: int | None = Field(None, ge=1)


class Phases(SettingsSection):
    """The phases of training, in their order."""

    pre_alignment: PhaseTargets = PhaseTargets(hold_schedules=True, latest_epoch=500)
    alignment: PhaseTargets = PhaseTargets(latest_epoch=2000)
    quality: PhaseTargets = PhaseTargets(latest_epoch=3000)
    fine_tuning: PhaseTargets = PhaseTargets(learning_rate_share=0.5)

    def of(self, phase: str) -> PhaseTargets:
        targets: dict[str, PhaseTargets] = dict(self)
        return targets[phase]


class SupervisionSettings(SettingsSection):
    """Limits of the supervisor's interventions; times are in evaluations, that is intervals between two of them."""

    intervention_budget: int = Field(20, ge=0)
    work_budget: float = Field(2.0, ge=1)
    largest_step_factor: float = Field(2.0, gt=1, le=2)
    cooldown_evaluations: float = Field(1.0, gt=0)
    follow_up_evaluations: int = Field(2, ge=1)
    strong_checks: bool = True
    forks: Literal["auto", "on", "off"] = "auto"
    quarantine_share: float = Field(0.2, ge=0, le=1)
    approval: Literal["none", "ask"] = "none"
    approval_minutes: float = Field(30.0, gt=0)
    approval_default: Literal["reject", "approve"] = "reject"


class WatchdogSettings(SettingsSection):
    """Bounds of the time without progress after which training counts as stuck; it is measured from past steps."""

    least_patience_seconds: float = Field(120.0, gt=0)
    start_patience_seconds: float = Field(7200.0, gt=0)
    rank_patience_seconds: float = Field(600.0, gt=0)  # time that ranks of torchrun wait for one another


class ReportSettings(SettingsSection):
    """Updates of report.html, and its language."""

    enabled: bool = True
    language: LanguageCode = "en"


class Settings(BaseModel):
    """All settings; smart_tuner/config.yaml lists them with these defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hparams: dict[str, Any] = Field(default_factory=dict)
    tensorboard: bool = True
    report: ReportSettings = ReportSettings()
    mlflow: MlflowSettings = MlflowSettings()
    telegram: TelegramSettings = Field(default_factory=TelegramSettings)
    webhook: WebhookSettings = WebhookSettings()
    progress_every_seconds: float = Field(10.0, gt=0)
    watchdog: WatchdogSettings = WatchdogSettings()
    quality_control: QualityControl = QualityControl()
    phases: Phases = Phases()
    supervision: SupervisionSettings = SupervisionSettings()
    search: SearchSettings = SearchSettings()


def load_settings(path: Path, *, mlflow_uri: str | None = None) -> Settings:
    """Load a YAML file that may contain just the keys that differ; a URI of the command line replaces the file's."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"--config {path}: cannot be read ({error.strerror}); give an existing YAML file") from error
    except UnicodeDecodeError as error:
        raise UserError(f"--config {path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except yaml.YAMLError as error:
        raise UserError(f"--config {path}: is not valid YAML: {_describe_yaml_error(error)}") from None
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise UserError(f"--config {path}: expected 'name: value' lines, found {type(content).__name__}")
    if mlflow_uri is not None and isinstance(mlflow := content.setdefault("mlflow", {}), dict):
        mlflow["uri"] = mlflow_uri
    try:
        return Settings.model_validate(content)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
    raise UserError(f"--config {path}: {'; '.join(problems)}; {DEFAULT_CONFIG} shows every setting")


def _describe_yaml_error(error: yaml.YAMLError) -> str:
    """The problem and its line number; not the line itself, which may contain a token."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or "it cannot be read"
    return str(problem) if mark is None else f"{problem} in line {mark.line + 1}"
