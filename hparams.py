"""Every training setting with its default, unit and bounds, and the functions that build a recipe from overrides."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator

from recipes import RECIPES
from recipes.glow_tts import GlowTTSFields
from recipes.tacotron2 import Tacotron2Fields

ModelName = Literal["tacotron2", "glow_tts"]


class UserError(Exception):
    """Unusable input; the message says what was expected, what came and what to do (exit code 2)."""


class GeneralFields(BaseModel):
    """Settings that do not belong to one model: run, optimizer, loss, audio, text, synthesis."""

    # The run
    model: ModelName = Field("tacotron2", description="architecture")
    seed: int = Field(1234, ge=0, lt=2**63, description="random seed of weights, dropout, data order and evaluation")
    epochs: int = Field(500, ge=1, description="passes over the training utterances")
    batch_size: int = Field(32, ge=1, description="largest number of utterances in a batch")
    max_frames_per_batch: int = Field(40_000, ge=100, description="largest number of padded mel frames in a batch")
    cpu_threads: int = Field(0, ge=0, description="threads of torch's operations; 0: one for each core")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="number format of the forward pass; auto: the fastest one, measured when a run begins"
    )
    kernels: Literal["auto", "plain"] = Field(
        "auto", description="auto: this program's compiled code where it is faster; plain: torch's own operations"
    )
    iters_per_checkpoint: int = Field(1000, ge=1, description="steps between checkpoints")
    iters_per_evaluation: int = Field(1000, ge=1, description="steps between evaluations")
    evaluation_utterances: int = Field(32, ge=1, description="largest number of held-out utterances in an evaluation")
    evaluation_samples: int = Field(4, ge=0, description="evaluated utterances that are written as sound and picture")
    keep_checkpoints: int = Field(3, ge=1, description="newest checkpoints kept, in addition to the best")
    ignore_layers: tuple[str, ...] = Field(
        ("embedding.weight",), description="names, or their beginnings, of weights that --warm_start does not load"
    )

    # The optimizer
    optimizer: Literal["adam", "radam"] = Field("adam")
    learning_rate: float = Field(1e-4, gt=0, description="peak, reached after the warm-up")
    warmup_steps: int = Field(500, ge=0, description="steps in which the learning rate grows linearly from zero")
    learning_rate_schedule: Literal["halving", "noam"] = Field(
        "halving", description="halving: constant, then exponential decay; noam: falls with the square root of the step"
    )
    decay_start_step: int = Field(50_000, ge=0, description="step at which the exponential decay starts")
    decay_half_life_steps: int = Field(50_000, ge=1, description="steps in which the learning rate halves")
    learning_rate_floor: float = Field(0.01, ge=0, le=1, description="smallest learning rate, as a share of the peak")
    adam_beta2: float = Field(0.999, gt=0, lt=1, description="decay of Adam's second moment")
    weight_decay: float = Field(1e-6, ge=0, description="L2 penalty, added to the gradient as in Adam")
    grad_clip_thresh: float = Field(1.0, gt=0, description="largest global L2 norm of the gradient")

    # The loss
    guide_loss_weight: float = Field(2.5, ge=0, description="weight of guided attention")
    guide_sigma: float = Field(0.4, gt=0, description="width of the guide's diagonal, as a share of the length")
    guide_anneal_start_step: int = Field(20_000, ge=0, description="step at which guidance starts to fade")
    guide_anneal_steps: int = Field(20_000, ge=1, description="steps in which guidance fades linearly to zero")
    alignment_patience_steps: int = Field(15_000, ge=1, description="steps by which attention has to form a diagonal")
    gate_loss_weight: float = Field(1.0, ge=0)
    gate_positive_weight: float = Field(8.0, gt=0, description="weight of the last decoder step in the gate loss")
    duration_loss_weight: float = Field(1.0, ge=0, description="weight of the durations that GlowTTS predicts")

    # Audio
    sampling_rate: int = Field(22050, ge=4000, le=192_000, description="Hz; recordings are resampled to it")
    filter_length: int = Field(1024, ge=16, description="samples of the FFT")
    hop_length: int = Field(256, ge=1, description="samples per mel frame")
    win_length: int = Field(1024, ge=16, description="samples of the window")
    n_mel_channels: int = Field(80, ge=1)
    mel_fmin: float = Field(0.0, ge=0, description="Hz")
    mel_fmax: float = Field(8000.0, gt=0, description="Hz")
    mel_floor: float = Field(1e-5, gt=0, lt=1, description="smallest amplitude of a mel; smaller ones are clamped")
    speech_level: Literal["auto", "as_recorded", "even"] = Field(
        "auto", description="even: recordings are brought to one level of speech; auto: where their levels differ much"
    )
    trim_db: float = Field(45.0, gt=0, description="edges that are quieter than the loudest frame by this are trimmed")
    trim_margin_seconds: float = Field(0.05, ge=0, description="silence left at both edges by trimming")
    min_utterance_seconds: float = Field(0.2, gt=0, description="shorter recordings are skipped")
    max_utterance_seconds: float = Field(20.0, gt=0, description="longer recordings are skipped")
    griffin_lim_iterations: int = Field(60, ge=1)

    # Text
    language: Annotated[str, StringConstraints(to_lower=True, min_length=2)] = Field(
        "en-us", description="an espeak-ng voice name"
    )
    text_frontend: Literal["auto", "graphemes", "phonemes"] = Field(
        "auto", description="auto: graphemes for English and Russian, phonemes for every other language"
    )
    lexicon: tuple[str, ...] = Field(
        (), description="words said otherwise than written, as word<tab>respelling or word<tab>[[phonemes]]"
    )
    plain_text_share: float = Field(
        0.0, ge=0, le=1, description="share of training texts that lose the punctuation at their end, as people type"
    )
    validation_percent: float = Field(
        5.0, ge=0, le=50, description="utterances held out, chosen by a hash of their id; 0: none"
    )

    # Synthesis
    max_decoder_steps: int = Field(1000, ge=1, description="decoder steps after which free-running synthesis is cut")
    num_speakers: int = Field(
        0, ge=0, le=100_000, description="voices to learn; 0: a single one, which blends all speakers of the corpus"
    )
    speakers: tuple[str, ...] = Field(
        (), description="their names, as a;b, in the order of the embedding; empty: taken from the corpus"
    )

    @field_validator("ignore_layers", "speakers", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        if value is None:
            return value
        names = value if isinstance(value, list | tuple) else str(value).split(";")
        return tuple(filter(None, (str(name).strip() for name in names)))


class HParams(GlowTTSFields, Tacotron2Fields, GeneralFields):  # pydantic orders the fields from the last base on
    """One training recipe. Names follow the reference Tacotron 2 where it has one; bounds exclude what cannot work."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="after")
    def _check_together(self) -> HParams:
        """Refuse settings that contradict each other."""
        if problems := [*self._find_audio_problems(), *self._find_model_problems()]:
            raise ValueError("; ".join(problems))
        return self

    def _find_audio_problems(self) -> list[str]:
        problems = []
        if self.mel_fmax > self.sampling_rate / 2:
            problems.append(f"mel_fmax {self.mel_fmax:g} Hz is above half of sampling_rate {self.sampling_rate} Hz")
        if self.mel_fmin >= self.mel_fmax:
            problems.append(f"mel_fmin {self.mel_fmin:g} Hz is not below mel_fmax {self.mel_fmax:g} Hz")
        if not self.hop_length <= self.win_length <= self.filter_length:
            problems.append("hop_length <= win_length <= filter_length does not hold")
        if self.min_utterance_seconds >= self.max_utterance_seconds:
            problems.append("min_utterance_seconds is not below max_utterance_seconds")
        return problems

    def _find_model_problems(self) -> list[str]:
        problems = []
        several = [name for name, recipe in RECIPES.items() if "num_speakers" in recipe.architecture_fields]
        if self.model not in several and (self.num_speakers or self.speakers):
            problems.append(
                f"num_speakers, speakers: {self.model} has one voice; {' and '.join(several)} can have several"
            )
        elif len(set(self.speakers)) < len(self.speakers) or len(self.speakers) > self.num_speakers:
            problems.append(f"speakers: expected different names, num_speakers={self.num_speakers} at most")
        if self.model == "glow_tts":
            problems += self.find_flow_problems(self.n_mel_channels)
        return problems


AUDIO_FIELDS = (
    "sampling_rate",
    "filter_length",
    "hop_length",
    "win_length",
    "n_mel_channels",
    "mel_fmin",
    "mel_fmax",
    "mel_floor",
)
"""Settings that determine the mels; a checkpoint fits a run only if both have the same ones."""


def build_hparams(*layers: dict[str, Any]) -> HParams:
    """Recipe from several layers of overrides, of which later ones win; the error lists all problems at once."""
    values = {name: value for layer in layers for name, value in layer.items()}
    try:
        return HParams(**values)
    except ValidationError as error:
        problems = [_describe(detail) for detail in error.errors()]
    raise UserError(f"hparams: {'; '.join(problems)}")


def _describe(detail: Any) -> str:
    name = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, HParams.model_fields, n=1, cutoff=0.0)[0]
        return f"there is no {name!r}, the nearest is {near!r}"
    message = detail["msg"].removeprefix("Value error, ")
    return f"{name}={detail['input']!r}: {message}" if name else message


def parse_overrides(text: str) -> dict[str, Any]:
    """Parse `a=1,b=null` into {"a": "1", "b": None}; pydantic converts the strings to the types of the fields."""
    pairs = [part.strip() for part in text.split(",") if part.strip()]
    broken = [pair for pair in pairs if "=" not in pair]
    if broken:
        raise UserError(f"--hparams: expected NAME=VALUE,NAME=VALUE; {broken[0]!r} has no '='")
    values = {name.strip(): value.strip() for name, value in (pair.split("=", 1) for pair in pairs)}
    return {name: None if value == "null" else value for name, value in values.items()}
