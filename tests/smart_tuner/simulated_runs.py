"""Simulated runs: a healthy training of the usual kind, with changes of its signals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from monitoring.measures.signals import Signals
from smart_tuner.inputs.run_facts import KnobFacts, RunFacts
from tests.smart_tuner.simulated_loop import ACTIONS, SimulatedLoop

EVALUATION_STEPS = 20
FACTS = RunFacts(
    steps_per_evaluation=EVALUATION_STEPS,
    steps_per_epoch=15,
    planned_steps=400,
    warmup_steps=5,
    alignment_patience_steps=60,
    peak_learning_rate=1e-3,
    balanced_gate_weight=40.0,
    utterances=100,
    effective_batch_size=8,
    knobs={
        "learning_rate_multiplier": KnobFacts(start=1.0, low=1 / 256, high=256.0),
        "guide_weight_multiplier": KnobFacts(start=0.0, low=0.0, high=8.0, first=0.25),
        "guide_sigma": KnobFacts(start=0.4, low=0.05, high=1.0),
        "gate_positive_weight": KnobFacts(start=1.0, low=0.1, high=1000.0),
        "gate_threshold": KnobFacts(start=0.5, low=0.05, high=0.95),
        "grad_clip_thresh": KnobFacts(start=1.0, low=0.01, high=1000.0),
        "micro_batches": KnobFacts(start=1.0, low=1.0, high=64.0),
        "batches_per_update": KnobFacts(start=1.0, low=1.0, high=16.0),
    },
    actions=ACTIONS,
)
HEALTHY_EVALUATION: Signals = {
    "diagonality": 0.9,
    "free_diagonality": 0.9,
    "gate_accuracy": 1.0,
    "gate_premature": 0.0,
    "gate_overrun": 0.0,
    "stop_rate": 1.0,
    "calibrated_gate_threshold": 0.5,
    "val_mel_loss": 1.0,
    "val_total_loss": 1.0,
}
Change = Callable[[int, int], tuple[Mapping[str, float | None], Mapping[str, float | None], Mapping[str, float | None]]]
"""(step, number of steps done before it) → changed signals of the step, of an evaluation, outliers."""


def healthy_step(step: int, work: int, seed: int = 0) -> Signals:
    rng = np.random.default_rng([seed, work])
    loss = 3 * float(np.exp(-step / 200 + rng.normal(0, 0.1)))
    return {
        "total_loss": loss,
        "mel_loss": loss,
        "gradient_norm": 3 * float(np.exp(rng.normal(0, 0.4))),
        "learning_rate": 1e-3,
        "update_ratio": None if step % 10 else 0.004 * float(np.exp(rng.normal(0, 0.2))),
        "data_wait_share": 0.01,
        "nonfinite_steps": 0.0,
        "out_of_memory_steps": 0.0,
        "outlier_utterances": 0.0,
    }


def simulate(change: Change | None = None, *, n_steps: int = 300, seed: int = 0, **options: Any) -> SimulatedLoop:
    """Run a healthy training with these changes of its signals."""

    def trace(step: int, work: int) -> tuple[Signals, Signals, Mapping[str, float | None]]:
        step_changes, evaluation_changes, outliers = change(step, work) if change else ({}, {}, {})
        return (
            {**healthy_step(step, work, seed), **step_changes},
            {**HEALTHY_EVALUATION, **evaluation_changes},
            outliers,
        )

    loop = SimulatedLoop(options.pop("facts", FACTS), trace, **options)
    loop.run(n_steps)
    return loop


def remedies(loop: SimulatedLoop) -> list[str]:
    return [record["remedy"] for record in loop.decisions("intervention") if "remedy" in record]


def verdicts(loop: SimulatedLoop) -> list[str]:
    return [record["verdict"] for record in loop.decisions("follow_up") if "verdict" in record]
