"""Every training default with its unit and bounds, and the ways to override one; recipes/presets.py has the recipes."""

from __future__ import annotations

import difflib
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

ModelName = Literal["tacotron2", "glow_tts"]


class UserError(Exception):
    """What the person gave cannot be used; the message says what was expected, what came and what to do (exit 2)."""


class HParams(BaseModel):
    """One training recipe. Names follow the reference Tacotron 2 where it has one; bounds exclude what cannot work."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # The run
    model: ModelName = Field("tacotron2", description="architecture")
    seed: int = Field(1234, ge=0, lt=2**63, description="of weights, dropout, data order and evaluation")
    epochs: int = Field(500, ge=1, description="passes over the training utterances")
    batch_size: int = Field(32, ge=1, description="utterances in a batch at most")
    max_frames_per_batch: int = Field(40_000, ge=100, description="padded mel frames in a batch at most")
    cpu_threads: int = Field(0, ge=0, description="of torch's operations; 0: one for each core")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="of the forward pass; auto: measured when a run begins"
    )
    iters_per_checkpoint: int = Field(1000, ge=1, description="steps between checkpoints")
    iters_per_evaluation: int = Field(1000, ge=1, description="steps between evaluations")
    evaluation_utterances: int = Field(32, ge=1, description="held-out utterances decoded at an evaluation at most")
    evaluation_samples: int = Field(4, ge=0, description="of those, how many are written as sound and picture")
    keep_checkpoints: int = Field(3, ge=1, description="newest checkpoints kept beside the best")
    ignore_layers: tuple[str, ...] = Field(("embedding.weight",), description="not taken over by --warm_start")

    # The optimizer
    optimizer: Literal["adam", "radam"] = Field("adam")
    learning_rate: float = Field(1e-4, gt=0, description="peak, after the warm-up")
    warmup_steps: int = Field(500, ge=0, description="of linear growth from zero")
    learning_rate_schedule: Literal["halving", "noam"] = Field(
        "halving", description="halving: constant, then halved again and again; noam: falls with the root of the step"
    )
    decay_start_step: int = Field(50_000, ge=0, description="where the learning rate starts to halve")
    decay_half_life_steps: int = Field(50_000, ge=1, description="in which it halves")
    learning_rate_floor: float = Field(0.01, ge=0, le=1, description="share of the peak it never falls below")
    adam_beta2: float = Field(0.999, gt=0, lt=1, description="memory of Adam's second moment")
    weight_decay: float = Field(1e-6, ge=0, description="L2, as in Adam")
    grad_clip_thresh: float = Field(1.0, gt=0, description="largest global L2 norm of the gradient")

    # The loss
    guide_loss_weight: float = Field(2.5, ge=0, description="of guided attention")
    guide_sigma: float = Field(0.4, gt=0, description="width of the guide's diagonal, share of the length")
    guide_anneal_start_step: int = Field(20_000, ge=0, description="where guidance starts to fade: kept on it harms")
    guide_anneal_steps: int = Field(20_000, ge=1, description="in which it fades to zero, linearly")
    alignment_patience_steps: int = Field(15_000, ge=1, description="by then attention has to be a diagonal")
    gate_loss_weight: float = Field(1.0, ge=0)
    gate_positive_weight: float = Field(8.0, gt=0, description="of the one frame in hundreds where speech ends")
    duration_loss_weight: float = Field(1.0, ge=0, description="of GlowTTS: how long symbols last")

    # Audio
    sampling_rate: int = Field(22050, ge=4000, le=192_000, description="Hz; recordings are resampled to it")
    filter_length: int = Field(1024, ge=16, description="samples of the FFT")
    hop_length: int = Field(256, ge=1, description="samples a frame")
    win_length: int = Field(1024, ge=16, description="samples of the window")
    n_mel_channels: int = Field(80, ge=1)
    mel_fmin: float = Field(0.0, ge=0, description="Hz")
    mel_fmax: float = Field(8000.0, gt=0, description="Hz")
    mel_floor: float = Field(1e-5, gt=0, lt=1, description="amplitude below which mels are clamped")
    trim_db: float = Field(45.0, gt=0, description="edges this far below the loudest frame are trimmed")
    trim_margin_seconds: float = Field(0.05, ge=0, description="silence kept at both edges")
    min_utterance_seconds: float = Field(0.2, gt=0, description="shorter ones are skipped")
    max_utterance_seconds: float = Field(20.0, gt=0, description="longer ones are skipped")
    griffin_lim_iterations: int = Field(60, ge=1)

    # Text
    language: str = Field("en-us", min_length=2, description="an espeak-ng voice name")
    text_frontend: Literal["auto", "graphemes", "phonemes"] = Field(
        "auto", description="auto: graphemes for English and Russian, phonemes for every other language"
    )
    validation_percent: float = Field(5.0, ge=0, le=50, description="held out by hash of the id; 0: none")

    # Tacotron 2
    symbols_embedding_dim: int = Field(512, ge=1)
    encoder_kernel_size: int = Field(5, ge=1)
    encoder_n_convolutions: int = Field(3, ge=1)
    encoder_embedding_dim: int = Field(512, ge=2)
    n_frames_per_step: int = Field(1, ge=1, le=20, description="reduction factor r")
    decoder_rnn_dim: int = Field(1024, ge=1)
    prenet_dim: int = Field(256, ge=1)
    max_decoder_steps: int = Field(1000, ge=1, description="free-running synthesis stops here at the latest")
    gate_threshold: float = Field(0.5, gt=0, le=1, description="probability of the end that stops synthesis")
    attention_rnn_dim: int = Field(1024, ge=1)
    attention_dim: int = Field(128, ge=1)
    attention_location_n_filters: int = Field(32, ge=1)
    attention_location_kernel_size: int = Field(31, ge=1)
    postnet_embedding_dim: int = Field(512, ge=1)
    postnet_kernel_size: int = Field(5, ge=1)
    postnet_n_convolutions: int = Field(5, ge=2)
    p_encoder_dropout: float = Field(0.5, ge=0, lt=1)
    p_prenet_dropout: float = Field(0.5, ge=0, lt=1, description="stays on in synthesis")
    p_attention_dropout: float = Field(0.1, ge=0, lt=1)
    p_decoder_dropout: float = Field(0.1, ge=0, lt=1)
    p_postnet_dropout: float = Field(0.5, ge=0, lt=1)
    mask_padding: bool = Field(True, description="zero mels and shut gates in the padding of the outputs")
    leaky_padding: bool = Field(False, description="let padding leak into the last frames, as old checkpoints expect")

    # GlowTTS, under Coqui's names
    num_speakers: int = Field(
        0, ge=0, le=100_000, description="0: one voice, a blend of all; else an embedding for each"
    )
    speakers: tuple[str, ...] = Field((), description="a;b: their names in the embedding's order; (): of the corpus")
    hidden_channels_enc: int = Field(192, ge=2)
    use_encoder_prenet: bool = Field(True, description="convolutions before the transformer")
    encoder_num_layers: int = Field(6, ge=1)
    encoder_num_heads: int = Field(2, ge=1)
    encoder_hidden_channels_ffn: int = Field(768, ge=1)
    encoder_kernel_size_ffn: int = Field(3, ge=1)
    encoder_rel_attn_window_size: int | None = Field(4, ge=1, description="symbols; null: no relative positions")
    encoder_input_length: int | None = Field(None, ge=1, description="symbols that attention reaches; null: all")
    encoder_dropout_p: float = Field(0.1, ge=0, lt=1)
    mean_only: bool = Field(True, description="latents have scale 1; otherwise it is predicted")
    hidden_channels_dp: int = Field(256, ge=1, description="of the duration predictor")
    dropout_p_dp: float = Field(0.1, ge=0, lt=1)
    num_flow_blocks_dec: int = Field(12, ge=1)
    num_block_layers: int = Field(4, ge=1)
    hidden_channels_dec: int = Field(192, ge=1)
    kernel_size_dec: int = Field(5, ge=1)
    dilation_rate: int = Field(1, ge=1, description="factor from layer to layer of a block")
    dropout_p_dec: float = Field(0.05, ge=0, lt=1)
    num_splits: int = Field(4, ge=2, description="channels that an invertible convolution mixes")
    num_squeeze: int = Field(2, ge=1, description="frames that the flow takes as one")
    sigmoid_scale: bool = Field(False, description="scales of the couplings are kept below 1")
    alignment_prior: float = Field(
        0.0,
        ge=0,
        description="nats a frame by which a diagonal is preferred to its corners in training; 0: as published",
    )
    inference_noise_scale: float = Field(0.33, ge=0, le=100, description="of the latents when it speaks freely")
    length_scale: float = Field(1.0, gt=0, description="above 1 it speaks slower")

    @field_validator("ignore_layers", "speakers", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        if value is None:
            return value
        names = value if isinstance(value, list | tuple) else str(value).split(";")
        return tuple(filter(None, (str(name).strip() for name in names)))

    @field_validator(
        "encoder_kernel_size", "attention_location_kernel_size", "postnet_kernel_size", "encoder_embedding_dim"
    )
    @classmethod
    def _check_parity(cls, value: int, info: ValidationInfo) -> int:
        wanted = 0 if info.field_name == "encoder_embedding_dim" else 1
        if value % 2 != wanted:
            raise ValueError(f"must be {('even', 'odd')[wanted]}")
        return value

    @model_validator(mode="after")
    def _check_audio(self) -> HParams:
        problems = []
        if self.mel_fmax > self.sampling_rate / 2:
            problems.append(f"mel_fmax {self.mel_fmax:g} Hz is above half of sampling_rate {self.sampling_rate} Hz")
        if self.mel_fmin >= self.mel_fmax:
            problems.append(f"mel_fmin {self.mel_fmin:g} Hz is not below mel_fmax {self.mel_fmax:g} Hz")
        if not self.hop_length <= self.win_length <= self.filter_length:
            problems.append("hop_length <= win_length <= filter_length does not hold")
        if self.min_utterance_seconds >= self.max_utterance_seconds:
            problems.append("min_utterance_seconds is not below max_utterance_seconds")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @model_validator(mode="after")
    def _check_flow(self) -> HParams:
        if self.model != "glow_tts":
            if self.num_speakers or self.speakers:
                raise ValueError(f"num_speakers, speakers: {self.model} has one voice; glow_tts can have several")
            return self
        problems, channels = [], self.n_mel_channels * self.num_squeeze
        if len(set(self.speakers)) < len(self.speakers) or len(self.speakers) > self.num_speakers:
            problems.append(f"speakers: expected different names, num_speakers={self.num_speakers} at most")
        if self.hidden_channels_enc % self.encoder_num_heads:
            problems.append(f"hidden_channels_enc {self.hidden_channels_enc} is no multiple of encoder_num_heads")
        if self.num_splits % 2 or channels % self.num_splits:
            problems.append(f"num_splits {self.num_splits} is not even, or no divisor of {channels} squeezed channels")
        if self.kernel_size_dec % 2 == 0:
            problems.append(f"kernel_size_dec {self.kernel_size_dec} is not odd")
        if problems:
            raise ValueError("; ".join(problems))
        return self


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
ARCHITECTURE_FIELDS: dict[ModelName, tuple[str, ...]] = {
    "tacotron2": (
        *("symbols_embedding_dim", "encoder_kernel_size", "encoder_n_convolutions", "encoder_embedding_dim"),
        *("n_frames_per_step", "decoder_rnn_dim", "prenet_dim", "attention_rnn_dim", "attention_dim"),
        *("attention_location_n_filters", "attention_location_kernel_size"),
        *("postnet_embedding_dim", "postnet_kernel_size", "postnet_n_convolutions"),
    ),
    "glow_tts": (
        *("num_speakers", "speakers", "hidden_channels_enc"),
        *("use_encoder_prenet", "encoder_num_layers", "encoder_num_heads"),
        *("encoder_hidden_channels_ffn", "encoder_kernel_size_ffn", "encoder_rel_attn_window_size"),
        *("encoder_input_length", "mean_only", "hidden_channels_dp", "num_flow_blocks_dec", "num_block_layers"),
        *("hidden_channels_dec", "kernel_size_dec", "dilation_rate", "num_splits", "num_squeeze", "sigmoid_scale"),
    ),
}
"""What the weights of a model depend on."""


def build_hparams(*layers: dict[str, Any]) -> HParams:
    """The recipe of several layers of overrides, later ones win; all mistakes are named at once."""
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
    """`a=1,b=null` → {"a": "1", "b": None}; pydantic turns the strings into the fields' types."""
    pairs = [part.strip() for part in text.split(",") if part.strip()]
    broken = [pair for pair in pairs if "=" not in pair]
    if broken:
        raise UserError(f"--hparams: expected NAME=VALUE,NAME=VALUE; {broken[0]!r} has no '='")
    values = {name.strip(): value.strip() for name, value in (pair.split("=", 1) for pair in pairs)}
    return {name: None if value == "null" else value for name, value in values.items()}
