"""Synthetic histories: views from a few series, and whole healthy trainings of several kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from monitoring.measures.history import SignalHistory
from monitoring.measures.signals import Signals
from smart_tuner.detectors import EVERY_CHECKPOINT, EVERY_EVALUATION, EVERY_STEP, EVERY_TENTH_STRIDE, Detector
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.outliers import OutlierHistory
from smart_tuner.inputs.run_facts import KnobFacts, RunFacts
from smart_tuner.inputs.run_view import RunView
from smart_tuner.phases import FIRST_PHASE, next_phase
from smart_tuner.settings import Phases, QualityControl

Values = Sequence[float | None] | Mapping[int, float | None]
"""One value per step from step 1, or values by step."""

SEEDS = range(2)

KNOBS = {
    "learning_rate_multiplier": KnobFacts(start=1.0, low=1 / 256, high=256.0),
    "guide_weight_multiplier": KnobFacts(start=0.0, low=0.0, high=8.0, first=0.25),
    "gate_positive_weight": KnobFacts(start=8.0, low=0.1, high=1000.0),
}

FLOW: dict[str, Any] = {
    "alignment_patience_steps": 0,
    "search_patience_steps": 400,
    "spectrum_loss": "nll_loss",
    "log_losses": ("nll_loss", "total_loss"),
}
"""Facts of a model whose loss is the logarithm of a likelihood."""
PARTS = ("encoder", "durations", "flow_1", "flow_2")
FLOW_DURATIONS = {
    "zero_duration_share": (0.05, 0.4),
    "huge_duration_share": (0.0, 0.01),
    "length_ratio": (0.8, 1.2),
    "val_duration_loss": (0.09, 0.11),
}


def make_facts(**changes: Any) -> RunFacts:
    values: dict[str, Any] = {
        "steps_per_evaluation": 100,
        "steps_per_epoch": 50,
        "planned_steps": 450,
        "alignment_patience_steps": 400,
        "peak_learning_rate": 1e-3,
        "knobs": KNOBS,
        "actions": ("turn",),
    }
    return RunFacts(**values | changes)


def by_step(values: Values) -> dict[int, float | None]:
    return dict(values) if isinstance(values, Mapping) else dict(enumerate(values, start=1))


def every(n_steps: int, values: Sequence[float | None]) -> dict[int, float | None]:
    """Values of a signal that is measured every `n_steps` steps."""
    return {n_steps * number: value for number, value in enumerate(values, start=1)}


def make_history(series: Mapping[str, Values]) -> SignalHistory:
    history = SignalHistory()
    for name, values in series.items():
        for step, value in sorted(by_step(values).items()):
            history.record(step, {name: value})
    return history


def make_view(series: Mapping[str, Values], facts: RunFacts | None = None, **changes: Any) -> RunView:
    """A view at the last step with a value; `changes` replace its fields."""
    last = max((step for values in series.values() for step in by_step(values)), default=1)
    fields: dict[str, Any] = {
        "step": last,
        "attempt_start": 0,
        "history": make_history(series),
        "outliers": OutlierHistory(),
        "facts": facts or make_facts(),
        "quality": QualityControl(),
        "phase": FIRST_PHASE,
    }
    return RunView(**fields | changes)


def on_series(detect: Detector) -> Callable[..., Diagnosis | None]:
    """A detector that takes the arguments of `make_view`."""
    return lambda *arguments, **changes: detect(make_view(*arguments, **changes))


def noisy(level: float, n: int, spread: float = 0.15, seed: int = 0) -> list[float]:
    """Values around a level, with normal noise in the logarithm."""
    return [float(value) for value in level * np.exp(np.random.default_rng(seed).normal(0, spread, n))]


def falling(first: float, last: float, n: int, spread: float = 0.15, seed: int = 0) -> list[float]:
    """Values that fall exponentially, by nine tenths of the way, with normal noise in the logarithm."""
    rest = np.exp(-np.arange(n) / (n / 2.3))
    noise = np.exp(np.random.default_rng(seed).normal(0, spread, n))
    return [float(value) for value in (last + (first - last) * rest) * noise]


@dataclass(frozen=True)
class Healthy:
    """A kind of training without any ailment."""

    steps: int = 800
    steps_per_evaluation: int = 50
    steps_per_epoch: int = 90
    losses: tuple[float, float] = (5.0, 0.7)  # first and last
    noise: float = 0.15
    peak: float = 1e-3
    update_ratio: float = 5e-3
    warmup_steps: int = 20
    decay_start_step: int = 500
    decay_half_life_steps: int = 150
    forms_at_step: int = 150  # the step at which attention is half formed
    diagonality_at_first: float = 0.05
    is_float16: bool = False
    is_flow: bool = False
    examine_every: int = 1  # steps between examinations; more make tests faster

    @property
    def facts(self) -> RunFacts:
        facts: dict[str, Any] = {
            "steps_per_evaluation": self.steps_per_evaluation,
            "steps_per_epoch": self.steps_per_epoch,
            "planned_steps": self.steps,
            "warmup_steps": self.warmup_steps,
            "alignment_patience_steps": 3 * self.forms_at_step,
            "peak_learning_rate": self.peak,
        }
        return make_facts(**facts | (FLOW if self.is_flow else {}))

    def level(self, step: float) -> float:
        """The training loss without noise; it falls ever more slowly."""
        first, last = self.losses
        return float(last + (first - last) * np.exp(-5 * step / self.steps))

    def formed(self, step: int) -> float:
        """Diagonality of attention without noise."""
        sigmoid = 1 / (1 + np.exp(-6 * (step / self.forms_at_step - 1)))
        return float(self.diagonality_at_first + (0.95 - self.diagonality_at_first) * sigmoid)

    def rate(self, step: int) -> float:
        halvings = max(0.0, (step - self.decay_start_step) / self.decay_half_life_steps)
        return self.peak * min(1.0, step / self.warmup_steps) * max(0.01, 0.5**halvings)


HEALTHY = {
    "demo": Healthy(),
    "full_size": Healthy(
        9000, 1000, 400, peak=1e-4, warmup_steps=500, decay_start_step=5000, decay_half_life_steps=700,
        update_ratio=1.2e-3, forms_at_step=2500, examine_every=50,
    ),
    "batches_of_four": Healthy(noise=0.4, steps_per_evaluation=100, steps_per_epoch=200, examine_every=2),
    "fine_tuning": Healthy(
        1000, 100, losses=(0.5, 0.42), diagonality_at_first=0.9, peak=1e-5, update_ratio=5e-5, warmup_steps=50,
        examine_every=2,
    ),
    "six_steps_an_epoch": Healthy(600, 20, 6, noise=0.3),
    "float16": Healthy(is_float16=True),
    "log_likelihood": Healthy(losses=(1.5, -1.4), examine_every=2),
    "flow": Healthy(losses=(1.5, -1.4), noise=0.05, examine_every=2, is_flow=True),
}  # fmt: skip


def _step_signals(run: Healthy, step: int, rng: np.random.Generator, overflows: int) -> Signals:
    level = run.level(step)
    if run.is_flow:
        loss = level + rng.normal(0, run.noise)
    else:
        loss = level * np.exp(rng.normal(0, run.noise)) if level > 0.3 else level + rng.normal(0, 0.3 * run.noise)
    norm = min(20.0, max(1.0, 4.0 * np.exp(rng.normal(0, 0.5)))) if rng.random() > 0.005 else rng.uniform(50, 200)
    signals: Signals = {
        "total_loss": loss,
        run.facts.spectrum_loss: 0.8 * loss,
        "gradient_norm": norm,
        "learning_rate": run.rate(step),
        "update_ratio": None if step % 10 else run.update_ratio * run.rate(step) / run.peak * rng.uniform(0.6, 1.6),
        "data_wait_share": min(1.0, 0.01 * np.exp(rng.normal(0, 0.5))) if step > 2 else 0.6,
        "memory_bytes": 2.0**33,
        "nonfinite_steps": float(overflows),
        "out_of_memory_steps": 0.0,
        "outlier_utterances": 0.0,
    }
    if run.is_flow:
        measured = step % 10 == 0
        signals |= {
            "logdet": 1.5 - level + rng.normal(0, 0.05),
            "duration_loss": 0.1 * np.exp(level / 3 + rng.normal(0, 0.1)),
            "latent_deviation": float(rng.uniform(0.8, 1.3)),
            "actnorm_scale": 5.0 if measured else None,
            "convolution_condition": float(rng.uniform(1.5, 6)) if measured else None,
            **{f"gradient_norm_{part}": norm * rng.uniform(0.1, 0.7) if measured else None for part in PARTS},
        }
    return signals


def _evaluation_signals(run: Healthy, step: int, rng: np.random.Generator) -> Signals:
    formed, late = run.formed(step), run.formed(round(0.8 * step))
    level = run.level(min(step, round(0.7 * run.steps)))  # falling, then flat
    loss = level + abs(level) * rng.normal(0.1, 0.03)
    accuracy = min(1.0, max(0.0, late + rng.normal(0.05, 0.03)))
    return {
        "diagonality": min(1.0, formed + abs(rng.normal(0, 0.02))),
        "free_diagonality": max(0.0, min(0.99, late + rng.normal(0, 0.04))),
        "gate_accuracy": accuracy,
        "gate_overrun": 0.8 * (1 - accuracy),
        "gate_premature": 0.2 * (1 - accuracy),
        "stop_rate": accuracy,
        **({name: float(rng.uniform(*span)) for name, span in FLOW_DURATIONS.items()} if run.is_flow else {}),
        "val_total_loss": loss,
        f"val_{run.facts.spectrum_loss}": 0.8 * loss,
    }


def simulate(run: Healthy, seed: int) -> Iterator[tuple[str, RunView]]:
    """Views after steps, and after evaluations with their checkpoint."""
    rng, history, phase, overflows = np.random.default_rng(seed), SignalHistory(), FIRST_PHASE, 0
    facts, quality = run.facts, QualityControl()
    for step in range(1, run.steps + 1):
        signals = _step_signals(run, step, rng, overflows)
        if run.is_float16 and (step <= 7 or rng.random() < 0.004):
            overflows += 1
            signals |= {"nonfinite_steps": float(overflows), **dict.fromkeys(("total_loss", run.facts.spectrum_loss))}
            signals |= dict.fromkeys(("gradient_norm", "update_ratio"))
        history.record(step, signals)
        view = RunView(step, 0, history, OutlierHistory(), facts, quality, phase)
        if step % run.examine_every == 0:
            yield "step", view
        if step % run.steps_per_evaluation == 0:
            history.record(step, _evaluation_signals(run, step, rng))
            change = next_phase(view, Phases())
            phase = change.phase if change else phase
            history.record(step, {"disk_free_bytes": 2e11 - 1e5 * step, "checkpoint_bytes": 3e8})
            yield "evaluation", RunView(step, 0, history, OutlierHistory(), facts, quality, phase)


def _detectors_at(moment: str, step: int) -> Mapping[str, Detector]:
    if moment == "evaluation":
        return EVERY_EVALUATION | EVERY_CHECKPOINT
    return EVERY_STEP if step % 10 else EVERY_STEP | EVERY_TENTH_STRIDE


@cache
def _diagnoses(kind: str, seed: int) -> Sequence[Diagnosis]:
    """All diagnoses in a healthy run that are more than notices."""
    diagnoses = (
        detect(view)
        for moment, view in simulate(HEALTHY[kind], seed)
        for detect in _detectors_at(moment, view.step).values()
    )
    return [diagnosis for diagnosis in diagnoses if diagnosis is not None and diagnosis.severity != "notice"]


def false_alarms(ailment: str) -> list[tuple[str, int, Diagnosis]]:
    """Diagnoses of an ailment in several healthy runs of each kind, with kind and seed."""
    return [
        (kind, seed, diagnosis)
        for kind in HEALTHY
        for seed in SEEDS
        for diagnosis in _diagnoses(kind, seed)
        if diagnosis.ailment == ailment
    ]
