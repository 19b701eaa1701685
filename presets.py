"""Recipes of every model: full as published, small for a small GPU, demo for minutes on two cores, tiny for tests."""

from __future__ import annotations

from typing import Any

from hparams import ModelName

TACOTRON2_SMALL: dict[str, Any] = {
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
TACOTRON2_DEMO: dict[str, Any] = {
    "text_frontend": "phonemes",
    "cpu_threads": 1,  # a second one gains such a small model little, and beside another busy program costs far more
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
    "n_frames_per_step": 3,  # 35 ms: with 4, a step would hold more than one phoneme
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
    "gate_positive_weight": 80.0,  # the steps in an utterance: that it ends is as important as that it does not
    "guide_loss_weight": 10.0,
    "guide_anneal_start_step": 300,
    "guide_anneal_steps": 300,
    "alignment_patience_steps": 360,
    "evaluation_samples": 2,
    "griffin_lim_iterations": 30,
    "iters_per_checkpoint": 240,
    "iters_per_evaluation": 240,
}
TACOTRON2_TINY: dict[str, Any] = TACOTRON2_DEMO | {
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

GLOW_TTS_FULL: dict[str, Any] = {
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
GLOW_TTS_SMALL: dict[str, Any] = GLOW_TTS_FULL | {
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
GLOW_TTS_DEMO: dict[str, Any] = GLOW_TTS_FULL | {
    "text_frontend": "phonemes",
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
    "learning_rate": 2e-3,
    "learning_rate_schedule": "halving",
    "warmup_steps": 100,
    "decay_start_step": 900,
    "decay_half_life_steps": 200,
    "alignment_patience_steps": 480,
    "epochs": 5,
    "evaluation_samples": 2,
    "griffin_lim_iterations": 30,
    "iters_per_checkpoint": 240,
    "iters_per_evaluation": 240,
}

PRESETS: dict[ModelName, dict[str, dict[str, Any]]] = {
    "tacotron2": {"full": {}, "small": TACOTRON2_SMALL, "demo": TACOTRON2_DEMO, "tiny": TACOTRON2_TINY},
    "glow_tts": {"full": GLOW_TTS_FULL, "small": GLOW_TTS_SMALL, "demo": GLOW_TTS_DEMO},
}
