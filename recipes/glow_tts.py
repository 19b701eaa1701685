"""Recipe of GlowTTS: its fields under the names of Coqui's implementation, their bounds and its presets."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from recipes.recipe import Recipe, short_plan


class GlowTTSFields(BaseModel):
    """Settings of GlowTTS alone."""

    hidden_channels_enc: int = Field(192, ge=2)
    use_encoder_prenet: bool = Field(True, description="convolutions before the transformer")
    encoder_num_layers: int = Field(6, ge=1)
    encoder_num_heads: int = Field(2, ge=1)
    encoder_hidden_channels_ffn: int = Field(768, ge=1)
    encoder_kernel_size_ffn: int = Field(3, ge=1)
    encoder_rel_attn_window_size: int | None = Field(4, ge=1, description="symbols; null: no relative positions")
    encoder_input_length: int | None = Field(None, ge=1, description="reach of attention in symbols; null: all")
    encoder_dropout_p: float = Field(0.1, ge=0, lt=1)
    mean_only: bool = Field(True, description="the prior of the latents has scale 1; otherwise the scale is predicted")
    hidden_channels_dp: int = Field(256, ge=1, description="channels of the duration predictor")
    dropout_p_dp: float = Field(0.1, ge=0, lt=1)
    num_flow_blocks_dec: int = Field(12, ge=1)
    num_block_layers: int = Field(4, ge=1)
    hidden_channels_dec: int = Field(192, ge=1)
    kernel_size_dec: int = Field(5, ge=1)
    dilation_rate: int = Field(1, ge=1, description="factor by which the dilation grows from layer to layer of a block")
    dropout_p_dec: float = Field(0.05, ge=0, lt=1)
    num_splits: int = Field(4, ge=2, description="channels mixed by an invertible convolution")
    num_squeeze: int = Field(2, ge=1, description="mel frames that the flow treats as one")
    sigmoid_scale: bool = Field(False, description="limit the scales of the couplings to below 1")
    alignment_prior: float = Field(
        0.0,
        ge=0,
        description="preference for alignments near the guide in training, in nats per frame; 0: none, as published",
    )
    alignment_guide: Literal["diagonal", "corpus"] = Field(
        "diagonal", description="equal durations, or an alignment that the corpus itself yields"
    )
    mel_noise: float = Field(
        0.0,
        ge=0,
        le=1,
        description="deviation of noise added to the log mels in training: the likelihood of values at the floor, all "
        "equal, would grow without bound",
    )
    inference_noise_scale: float = Field(0.33, ge=0, le=100, description="scale of the latents' noise in synthesis")
    length_scale: float = Field(1.0, gt=0, description="factor on durations; above 1: slower speech")

    def find_flow_problems(self, n_mel_channels: int) -> list[str]:
        """Describe the settings with which the flow cannot be built."""
        problems, channels = [], n_mel_channels * self.num_squeeze
        if self.hidden_channels_enc % self.encoder_num_heads:
            problems.append(f"hidden_channels_enc {self.hidden_channels_enc} is no multiple of encoder_num_heads")
        if self.num_splits % 2 or channels % self.num_splits:
            problems.append(f"num_splits {self.num_splits} is not even, or no divisor of {channels} squeezed channels")
        if self.kernel_size_dec % 2 == 0:
            problems.append(f"kernel_size_dec {self.kernel_size_dec} is not odd")
        return problems


FULL: dict[str, Any] = {
    "model": "glow_tts",
    "batch_size": 8,
    "optimizer": "radam",
    "learning_rate": 2e-4,
    "adam_beta2": 0.998,
    "weight_decay": 1e-6,
    "learning_rate_schedule": "noam",
    "warmup_steps": 8000,
    "grad_clip_thresh": 1.0,
    "guide_loss_weight": 0.0,
    "ignore_layers": ("encoder.emb.weight",),
    "max_decoder_steps": 2000,
}
SMALL: dict[str, Any] = FULL | {
    "alignment_prior": 30.0,
    "hidden_channels_enc": 128,
    "encoder_num_layers": 4,
    "encoder_hidden_channels_ffn": 512,
    "hidden_channels_dp": 128,
    "num_flow_blocks_dec": 8,
    "hidden_channels_dec": 128,
    "learning_rate": 5e-4,
    "warmup_steps": 2000,
    "batch_size": 16,
    "alignment_patience_steps": 3000,
    "iters_per_checkpoint": 250,
    "iters_per_evaluation": 250,
}
DEMO: dict[str, Any] = FULL | {
    "alignment_prior": 30.0,
    "text_frontend": "phonemes",
    "plain_text_share": 0.25,
    "mel_floor": 3e-4,  # espeak-ng is digitally silent between sounds: no need to learn how silent
    "hidden_channels_enc": 96,
    "encoder_num_layers": 3,
    "encoder_hidden_channels_ffn": 256,
    "hidden_channels_dp": 96,
    "num_flow_blocks_dec": 6,
    "num_block_layers": 3,
    "hidden_channels_dec": 96,
    "kernel_size_dec": 3,
    # A few passes over thousands of words leave nothing to overfit: dropout would only cost time.
    "encoder_dropout_p": 0.0,
    "dropout_p_dp": 0.0,
    "dropout_p_dec": 0.0,
    "learning_rate": 8e-3,
    "learning_rate_schedule": "halving",
    "warmup_steps": 50,
    "decay_start_step": 950,
    "decay_half_life_steps": 215,
    "alignment_patience_steps": 480,
    "epochs": 6,
    "length_scale": 0.93,  # makes up for durations that are rounded up
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
    "hidden_channels_enc": 64,
    "encoder_num_layers": 2,
    "encoder_hidden_channels_ffn": 128,
    "hidden_channels_dp": 64,
    "num_flow_blocks_dec": 4,
    "num_block_layers": 2,
    "hidden_channels_dec": 64,
    "max_decoder_steps": 600,
    "epochs": 8,
    "learning_rate": 1e-2,
    "warmup_steps": 20,
    "decay_start_step": 240,
    "decay_half_life_steps": 50,
    "evaluation_utterances": 12,
    "evaluation_samples": 0,
    "iters_per_checkpoint": 30,
    "iters_per_evaluation": 30,
}

# A straight diagonal is too far from real speech: without a better guide the model learns the texture of speech alone.
RECORDINGS: dict[str, Any] = {
    "alignment_guide": "corpus",
    "alignment_prior": 5000.0,
    "mel_noise": 0.1,
    "plain_text_share": 0.25,
}

RECIPE = Recipe(
    presets={"full": FULL, "small": SMALL, "demo": DEMO, "tiny": TINY},
    least_steps={"full": 15_000, "small": 8_000, "demo": 1_800, "tiny": 360},
    short_plans={
        "full": short_plan(15_000, learning_rate=1e-3),
        "small": short_plan(8_000, learning_rate=2e-3),
    },
    recordings={
        "full": RECORDINGS,
        "small": RECORDINGS,
        "demo": RECORDINGS | {"learning_rate": 4e-3},
        "tiny": RECORDINGS | {"learning_rate": 4e-3, "max_utterance_seconds": 20.0},
    },
    reference_steps={"full": 780_000, "small": 100_000, "demo": 1_800, "tiny": 440},
    recording_steps={"full": 780_000, "small": 100_000, "demo": 18_000, "tiny": 4_400},
    dropout={"encoder_dropout_p": 0.1, "dropout_p_dp": 0.1, "dropout_p_dec": 0.05},  # as published
    layers_of_recordings=("decoder.", "encoder.proj_"),  # the flow, and what it maps to: they cost more than they bring
    architecture_fields=(
        *("num_speakers", "speakers", "hidden_channels_enc"),
        *("use_encoder_prenet", "encoder_num_layers", "encoder_num_heads"),
        *("encoder_hidden_channels_ffn", "encoder_kernel_size_ffn", "encoder_rel_attn_window_size"),
        *("encoder_input_length", "mean_only", "hidden_channels_dp", "num_flow_blocks_dec", "num_block_layers"),
        *("hidden_channels_dec", "kernel_size_dec", "dilation_rate", "num_splits", "num_squeeze", "sigmoid_scale"),
    ),
)
