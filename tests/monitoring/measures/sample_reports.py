"""Reports of a small healthy model, for tests that change single fields."""

from __future__ import annotations

from typing import Any

import numpy as np

from reports import DecodeReport, EvaluationReport, StepReport

N_MEL, N_FRAMES, N_TOKENS, N_FRAMES_PER_STEP = 4, 40, 5, 2
N_STEPS = N_FRAMES // N_FRAMES_PER_STEP


def make_diagonal(steps: int = N_STEPS, tokens: int = N_TOKENS) -> np.ndarray:
    """Attention [steps, tokens] that reads the tokens evenly, one at a time."""
    return np.eye(tokens)[np.linspace(0, tokens - 1, steps).round().astype(int)]


def make_gate(open_step: int | None, steps: int = N_STEPS) -> np.ndarray:
    """Gate probabilities [steps]: 0.9 at one step, 0.1 elsewhere."""
    probabilities = np.full(steps, 0.1)
    if open_step is not None:
        probabilities[open_step] = 0.9
    return probabilities


def make_step(**changes: Any) -> StepReport:
    fields: dict[str, Any] = {
        "step": 7,
        "epoch": 1,
        "utterance_ids": ("a", "b", "c"),
        "utterance_losses": (1.0, 1.1, 0.9),
        "total_loss": 1.75,
        "loss_parts": {"mel_loss": 1.0, "gate_loss": 0.5, "guide_loss": 0.25},
        "measures": {},
        "gradient_norm": 3.0,
        "learning_rate": 1e-3,
        "update_ratio": 2e-3,
        "frames_per_second": 9000.0,
        "data_wait_share": 0.01,
        "memory_bytes": 2**33,
        "nonfinite_steps": 2,
        "out_of_memory_steps": 0,
    }
    return StepReport(**fields | changes)


def make_decode(**changes: Any) -> DecodeReport:
    fields: dict[str, Any] = {
        "id": "a",
        "text": "Hello.",
        "symbol_ids": (1, 2, 3, 1, 2),
        "forced_attention": make_diagonal(),
        "free_attention": make_diagonal(),
        "forced_gate": make_gate(N_STEPS - 1),
        "gate_threshold": 0.5,
        "durations": None,
        "n_frames_per_step": N_FRAMES_PER_STEP,
        "recorded_mel": np.zeros((N_MEL, N_FRAMES)),
        "forced_mel": np.zeros((N_MEL, N_FRAMES)),
        "free_mel": np.zeros((N_MEL, N_FRAMES)),
        "stopped": True,
    }
    return DecodeReport(**fields | changes)


def make_evaluation(**changes: Any) -> EvaluationReport:
    fields: dict[str, Any] = {
        "step": 1000,
        "epoch": 3,
        "training_seconds": 2.5,
        "losses": {"val_mel_loss": 0.5, "val_total_loss": 0.75},
        "decodes": (make_decode(),),
        "sentences": (),
    }
    return EvaluationReport(**fields | changes)
