"""Recipe of Tacotron 2: its fields under the names of the reference implementation, their bounds and its presets."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field, ValidationInfo, field_validator

from recipes.recipe import Recipe, short_plan


class Tacotron2Fields(BaseModel):
    """Settings of Tacotron 2 alone."""

    symbols_embedding_dim: int = Field(512, ge=1)
    encoder_kernel_size: int = Field(5, ge=1)
    encoder_n_convolutions: int = Field(3, ge=1)
    encoder_embedding_dim: int = Field(512, ge=2)
    n_frames_per_step: int = Field(1, ge=1, le=20, description="reduction factor r")
    decoder_rnn_dim: int = Field(1024, ge=1)
    prenet_dim: int = Field(256, ge=1)
    gate_threshold: float = Field(0.5, gt=0, le=1, description="gate probability above which synthesis ends")
    attention_rnn_dim: int = Field(1024, ge=1)
    attention_dim: int = Field(128, ge=1)
    attention_location_n_filters: int = Field(32, ge=1)
    attention_location_kernel_size: int = Field(31, ge=1)
    postnet_embedding_dim: int = Field(512, ge=1)
    postnet_kernel_size: int = Field(5, ge=1)
    postnet_n_convolutions: int = Field(5, ge=2)
    p_encoder_dropout: float = Field(0.5, ge=0, lt=1)
    p_prenet_dropout: float = Field(0.5, ge=0, lt=1, description="also active in synthesis")
    p_attention_dropout: float = Field(0.1, ge=0, lt=1)
    p_decoder_dropout: float = Field(0.1, ge=0, lt=1)
    p_postnet_dropout: float = Field(0.5, ge=0, lt=1)
    mask_padding: bool = Field(True, description="outputs in the padding: mels are set to zero, gates to 'ended'")
    leaky_padding: bool = Field(False, description="convolutions see the padding, as in checkpoints of the reference")

    @field_validator(
        "encoder_kernel_size", "attention_location_kernel_size", "postnet_kernel_size", "encoder_embedding_dim"
    )
    @classmethod
    def _check_parity(cls, value: int, info: ValidationInfo) -> int:
        remainder = 0 if info.field_name == "encoder_embedding_dim" else 1
        if value % 2 != remainder:
            raise ValueError(f"must be {('even', 'odd')[remainder]}")
        return value


SMALL: dict[str, Any] = {
    "symbols_embedding_dim": 256,
    "encoder_embedding_dim": 256,
    "attention_rnn_dim": 512,
    "decoder_rnn_dim": 512,
    "prenet_dim": 128,
    "postnet_embedding_dim": 256,
    "n_frames_per_step": 3,
    "batch_size": 16,
    "learning_rate": 1e-3,
    "warmup_steps": 100,
    "grad_clip_thresh": 5.0,
    "guide_loss_weight": 10.0,
    "alignment_patience_steps": 3000,
    "iters_per_checkpoint": 250,
    "iters_per_evaluation": 250,
}
DEMO: dict[str, Any] = {
    "text_frontend": "phonemes",
    "plain_text_share": 0.25,
    "cpu_threads": 1,  # a second thread gains little for so small a model, and costs much beside another busy program
    "symbols_embedding_dim": 128,
    "encoder_embedding_dim": 128,
    "encoder_n_convolutions": 2,
    "attention_rnn_dim": 256,
    "attention_dim": 96,
    "attention_location_kernel_size": 17,
    "attention_location_n_filters": 16,
    "decoder_rnn_dim": 256,
    "prenet_dim": 128,
    "postnet_embedding_dim": 64,
    "postnet_n_convolutions": 2,
    "n_frames_per_step": 3,  # 35 ms a decoder step; 4 frames would hold more than one phoneme
    "mel_floor": 3e-4,  # espeak-ng is digitally silent between sounds: no need to learn how silent
    "max_decoder_steps": 300,
    # A few passes over thousands of words leave nothing to overfit: dropout would only cost time.
    "p_encoder_dropout": 0.0,
    "p_attention_dropout": 0.0,
    "p_decoder_dropout": 0.0,
    "p_postnet_dropout": 0.0,
    "epochs": 4,
    "batch_size": 8,
    "learning_rate": 2.5e-3,
    "adam_beta2": 0.98,
    "warmup_steps": 50,
    "grad_clip_thresh": 5.0,
    "decay_start_step": 560,
    "decay_half_life_steps": 128,
    "gate_loss_weight": 0.3,
    "gate_positive_weight": 80.0,  # decoder steps in an utterance, so that its end counts as much as all the others
    "guide_loss_weight": 10.0,
    "guide_anneal_start_step": 300,
    "guide_anneal_steps": 300,
    "alignment_patience_steps": 360,
    "evaluation_samples": 2,
    "griffin_lim_iterations": 30,
    "iters_per_checkpoint": 240,
    "iters_per_evaluation": 240,
}
TINY: dict[str, Any] = DEMO | {
    "plain_text_share": 0.0,
    "max_utterance_seconds": 1.5,
    "n_mel_channels": 40,
    "mel_floor": 1e-3,
    "symbols_embedding_dim": 256,
    "encoder_embedding_dim": 96,
    "encoder_n_convolutions": 1,
    "encoder_kernel_size": 3,
    "attention_rnn_dim": 128,
    "attention_dim": 64,
    "attention_location_kernel_size": 11,
    "attention_location_n_filters": 8,
    "decoder_rnn_dim": 128,
    "prenet_dim": 48,
    "postnet_embedding_dim": 32,
    "max_decoder_steps": 150,
    "epochs": 8,
    "learning_rate": 5e-3,
    "warmup_steps": 20,
    "decay_start_step": 240,
    "decay_half_life_steps": 50,
    "grad_clip_thresh": 2.0,
    "guide_anneal_start_step": 60,
    "guide_anneal_steps": 60,
    "alignment_patience_steps": 180,
    "gate_loss_weight": 1.0,
    "gate_positive_weight": 12.0,
    "evaluation_utterances": 12,
    "evaluation_samples": 0,
    "iters_per_checkpoint": 30,
    "iters_per_evaluation": 30,
}

RECORDINGS: dict[str, Any] = {"plain_text_share": 0.25}
LIGHT_DROPOUT = {
    "p_encoder_dropout": 0.2,
    "p_attention_dropout": 0.1,
    "p_decoder_dropout": 0.1,
    "p_postnet_dropout": 0.1,
}

RECIPE = Recipe(
    presets={"full": {}, "small": SMALL, "demo": DEMO, "tiny": TINY},
    least_steps={"full": 12_000, "small": 8_000, "demo": 1_200, "tiny": 360},
    short_plans={
        "full": short_plan(12_000, learning_rate=1e-3, guide_loss_weight=10.0, **LIGHT_DROPOUT),
        "small": short_plan(8_000, learning_rate=1e-3, **LIGHT_DROPOUT),
    },
    recordings={
        **dict.fromkeys(("full", "small", "demo"), RECORDINGS),
        "tiny": RECORDINGS | {"max_utterance_seconds": 20.0},
    },
    reference_steps={"full": 195_000, "small": 100_000, "demo": 1_200, "tiny": 440},
    recording_steps={"full": 195_000, "small": 100_000, "demo": 12_000, "tiny": 4_400},
    dropout=LIGHT_DROPOUT,
    layers_of_recordings=(),
    architecture_fields=(
        *("symbols_embedding_dim", "encoder_kernel_size", "encoder_n_convolutions", "encoder_embedding_dim"),
        *("n_frames_per_step", "decoder_rnn_dim", "prenet_dim", "attention_rnn_dim", "attention_dim"),
        *("attention_location_n_filters", "attention_location_kernel_size"),
        *("postnet_embedding_dim", "postnet_kernel_size", "postnet_n_convolutions"),
    ),
)
