"""Search space: which settings may be searched, and their default ranges."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from hparams import ModelName
from recipes import RECIPES
from smart_tuner.settings_section import SettingsSection

MID_RUN_FIELDS = (
    *("learning_rate", "weight_decay", "grad_clip_thresh", "guide_loss_weight", "guide_sigma"),
    *("gate_loss_weight", "gate_positive_weight", "gate_threshold", "duration_loss_weight"),
    *("p_encoder_dropout", "p_prenet_dropout", "p_attention_dropout", "p_decoder_dropout", "p_postnet_dropout"),
    *("encoder_dropout_p", "dropout_p_dp", "dropout_p_dec"),
)
"""Settings that may change while training runs."""
SPEAKER_FIELDS = ("num_speakers", "speakers")
SEARCHABLE_FIELDS = (
    *MID_RUN_FIELDS,
    *("warmup_steps", "adam_beta2", "guide_anneal_start_step", "guide_anneal_steps"),
    *("batch_size", "max_frames_per_batch"),
    *(name for recipe in RECIPES.values() for name in recipe.architecture_fields if name not in SPEAKER_FIELDS),
)
"""Other settings change the measure of success or the data, not how well the model learns."""


class SearchRange(SettingsSection):
    """Values of one setting: from low to high, within factors of the recipe's own value, or from a list of choices."""

    low: float | None = None
    high: float | None = None
    log: bool = False
    step: Annotated[float, Field(gt=0)] | None = None
    times: tuple[float, float] | None = None
    choices: tuple[Any, ...] | None = None
    models: tuple[ModelName, ...] | None = None  # null: all

    @model_validator(mode="after")
    def _require_one_kind(self) -> SearchRange:
        kinds = [self.low is not None or self.high is not None, self.times is not None, self.choices is not None]
        if sum(kinds) != 1:
            raise ValueError("expected low and high, or times, or choices")
        if kinds[0]:
            self._require_valid_bounds()
        elif self.log or self.step is not None:
            raise ValueError("log and step go with low and high")
        if self.times is not None and not 0 < self.times[0] < self.times[1]:
            raise ValueError(f"times: expected two factors above 0, the smaller first, got {list(self.times)}")
        if self.choices is not None and len(set(map(repr, self.choices))) < max(1, len(self.choices)):
            raise ValueError(f"choices: expected different values, got {list(self.choices)}")
        return self

    @model_serializer(mode="wrap")
    def _without_defaults(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in dump(self).items() if value is not None and value is not False}

    def _require_valid_bounds(self) -> None:
        if self.low is None or self.high is None or not self.low < self.high:
            raise ValueError(f"expected low < high, got {self.low} and {self.high}")
        if self.log and not (self.low > 0 and self.step is None):
            raise ValueError("log: expected low > 0, and no step")


TACOTRON2: tuple[ModelName, ...] = ("tacotron2",)
GLOW_TTS: tuple[ModelName, ...] = ("glow_tts",)
DEFAULT_SPACE = {
    "learning_rate": SearchRange(times=(0.25, 4)),
    "warmup_steps": SearchRange(times=(0.5, 8)),
    "weight_decay": SearchRange(low=1e-8, high=1e-3, log=True),
    "grad_clip_thresh": SearchRange(times=(0.2, 5)),
    "batch_size": SearchRange(times=(0.75, 2)),
    "guide_loss_weight": SearchRange(times=(0.2, 5), models=TACOTRON2),
    "guide_sigma": SearchRange(low=0.1, high=0.6, models=TACOTRON2),
    "guide_anneal_start_step": SearchRange(times=(0.5, 2), models=TACOTRON2),
    "gate_loss_weight": SearchRange(times=(0.3, 3), models=TACOTRON2),
    "gate_positive_weight": SearchRange(times=(0.25, 4), models=TACOTRON2),
    "p_encoder_dropout": SearchRange(low=0, high=0.5, models=TACOTRON2),
    "p_prenet_dropout": SearchRange(low=0.2, high=0.6, models=TACOTRON2),
    "p_attention_dropout": SearchRange(low=0, high=0.3, models=TACOTRON2),
    "p_decoder_dropout": SearchRange(low=0, high=0.3, models=TACOTRON2),
    "p_postnet_dropout": SearchRange(low=0, high=0.5, models=TACOTRON2),
    "n_frames_per_step": SearchRange(times=(0.6, 1.5), models=TACOTRON2),
    "decoder_rnn_dim": SearchRange(times=(0.5, 1.5), models=TACOTRON2),
    "prenet_dim": SearchRange(times=(0.5, 1.5), models=TACOTRON2),
    "encoder_dropout_p": SearchRange(low=0, high=0.3, models=GLOW_TTS),
    "dropout_p_dp": SearchRange(low=0, high=0.5, models=GLOW_TTS),
    "dropout_p_dec": SearchRange(low=0, high=0.2, models=GLOW_TTS),
    "hidden_channels_dec": SearchRange(times=(0.5, 1.5), models=GLOW_TTS),
    "num_flow_blocks_dec": SearchRange(times=(0.5, 1.5), models=GLOW_TTS),
}
