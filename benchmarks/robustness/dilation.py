"""The same curves, stretched in steps and scaled in size: the same diagnoses at the corresponding places?

`python -m benchmarks dilation` runs every synthetic trace at 1, 10 and 100 times its steps (plan, epochs, evaluations
and warm-up alike; an event of one step stays one step), and at a tenth and ten times the size of its losses and
gradients. Healthy traces must stay without a diagnosis; the others must have theirs at the corresponding places.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from benchmarks.reporting import conclude
from monitoring.measures.signals import Signals
from smart_tuner.inputs.run_facts import KnobFacts, RunFacts
from smart_tuner.settings import Settings
from smart_tuner.supervisor import Supervisor

PLANNED, EVALUATION, EPOCH, WARMUP, PATIENCE = 450, 30, 55, 20, 180
PEAK = 1e-3
EVENT = 250
N_UTTERANCES = 12
KNOBS = {
    "learning_rate_multiplier": KnobFacts(start=1.0, low=1e-3, high=1e3),
    "gate_positive_weight": KnobFacts(start=12.0, low=0.1, high=1e3),
    "grad_clip_thresh": KnobFacts(start=1.0, low=0.01, high=1e3),
}
TOLERANCE = 12.0
"""Steps of the unstretched trace between corresponding diagnoses: ten between two examinations, and a stride."""
Curves = dict[str, float]


@dataclass(frozen=True)
class DilatedTrace:
    """A training whose signals follow curves over time; `change` makes it sick, with the time in unstretched steps."""

    change: Callable[[float, Curves], None] = lambda time, curves: None
    facts: Mapping[str, Any] = field(default_factory=dict)
    events: Mapping[str, float | None] = field(default_factory=dict)  # signals of `n_events` steps from a time on
    n_events: int = 0
    stretch: int = 1
    scale: float = 1.0  # of losses and gradients
    ratio_scale: float = 1.0  # of update ratios
    log_shift: float | None = None  # losses are logarithms, so far from these ones

    def run_facts(self) -> RunFacts:
        stretched = {
            "steps_per_evaluation": EVALUATION,
            "steps_per_epoch": EPOCH,
            "planned_steps": PLANNED,
            "warmup_steps": WARMUP,
            "alignment_patience_steps": PATIENCE,
        }
        values: dict[str, Any] = {
            "peak_learning_rate": PEAK,
            "decay_is_planned": True,
            "balanced_gate_weight": 12.0,
            "utterances": 440,
            "evaluated_utterances": N_UTTERANCES,
            "knobs": KNOBS,
            "actions": (),  # diagnoses alone
            **{name: value * self.stretch for name, value in stretched.items()},
        }
        return RunFacts(**values | dict(self.facts))

    def first_diagnoses(self, seed: int = 0) -> dict[str, float]:
        """Ailment → time of its first diagnosis that is more than a notice."""
        supervisor = Supervisor(self.run_facts(), Settings())
        rng, found = np.random.default_rng(seed), dict[str, float]()
        nonfinite = 0.0
        for step in range(1, PLANNED * self.stretch + 1):
            moment = step / self.stretch
            curves = self._curves(moment)
            is_event = 0 <= step - EVENT * self.stretch < self.n_events
            event = self.events if is_event else {}
            nonfinite += "total_loss" in event and event["total_loss"] is None
            decisions = supervisor.observe_step(step, self._step_signals(step, curves, rng, nonfinite) | dict(event))
            if step % (EVALUATION * self.stretch) == 0:
                noise = np.random.default_rng([seed, round(moment)])  # the same at every stretch
                signals = self._evaluation_signals(curves, noise)
                distances = {f"u{i}": curves["distance"] * math.exp(noise.normal(0, 0.03)) for i in range(N_UTTERANCES)}
                odd = tuple(f"t{i}" for i in range(60)) if curves["separation"] > 3 else ()
                decisions += supervisor.observe_evaluation(step, signals, distances, odd)
            for decision in decisions:
                if decision.kind == "diagnosis" and decision.fields["severity"] != "notice":
                    found.setdefault(decision.fields["ailment"], moment)
        return found

    def _curves(self, moment: float) -> Curves:
        formed = 1 / (1 + math.exp(-6 * (moment / 60 - 1)))
        decay = 0.5 ** max(0.0, (moment - 240) / 50)
        curves: Curves = {
            "loss": 0.7 + 8 * math.exp(-moment / 80),
            "held_out": 0.9 + 8 * math.exp(-moment / 80),
            "norm": 3.0,
            "rate": PEAK * min(1.0, moment / WARMUP) * decay,
            "ratio": 5e-3 * min(1.0, moment / WARMUP) * decay,
            "diagonality": 0.05 + 0.9 * formed,
            "distance": 0.4 + 0.8 * math.exp(-moment / 100),
            "gate_accuracy": 0.1 + 0.85 * formed,
            "premature_share": 0.3,
            "separation": 2.6,
            "excess": 0.15,
        }
        self.change(moment, curves)
        return curves

    def _loss(self, value: float) -> float:
        return self.scale * value if self.log_shift is None else math.log(value) + self.log_shift

    def _step_signals(self, step: int, curves: Curves, rng: np.random.Generator, nonfinite: float) -> Signals:
        loss = self._loss(curves["loss"] * math.exp(rng.normal(0, 0.08)))
        noise = math.exp(rng.normal(0, 0.2))
        return {
            "total_loss": loss,
            "mel_loss": loss,
            "gradient_norm": self.scale * curves["norm"] * math.exp(rng.normal(0, 0.3)),
            "learning_rate": curves["rate"],
            "update_ratio": None if step % 10 else self.ratio_scale * curves["ratio"] * noise,
            "data_wait_share": 0.02,
            "nonfinite_steps": nonfinite,
            "out_of_memory_steps": 0.0,
            "outlier_utterances": 0.0,
        }

    def _evaluation_signals(self, curves: Curves, rng: np.random.Generator) -> Signals:
        held_out = self._loss(curves["held_out"] * math.exp(rng.normal(0, 0.01)))
        failing = 1 - curves["gate_accuracy"]
        return {
            "diagonality": curves["diagonality"],
            "free_diagonality": max(0.0, curves["diagonality"] - abs(rng.normal(0, 0.02))),
            "gate_accuracy": curves["gate_accuracy"],
            "gate_premature": failing * curves["premature_share"],
            "gate_overrun": failing * (1 - curves["premature_share"]),
            "stop_rate": 1.0,
            "val_total_loss": held_out,
            "val_mel_loss": held_out,
            "mel_distance": curves["distance"],
            "composite_tts_score": max(0.0, 1 - curves["distance"]),
            "odd_group_separation": curves["separation"],
            "odd_group_overlap": 0.1 if curves["separation"] > 3 else 0.5,
            "odd_group_share": 0.14,
            "odd_group_excess": curves["excess"],
        }


def _from(start: float, **factors: float) -> Callable[[float, Curves], None]:
    """Multiply curves from a time on."""

    def change(moment: float, curves: Curves) -> None:
        if moment >= start:
            for name, factor in factors.items():
                curves[name] *= factor

    return change


def _diverges(moment: float, curves: Curves) -> None:
    if moment >= 200:
        curves["loss"] *= math.exp((moment - 200) / 12)


def _oscillates(moment: float, curves: Curves) -> None:
    if moment >= 150:
        curves["loss"] = 2.0 * (1.17 if moment % 10 < 5 else 0.85)


def _never_forms(moment: float, curves: Curves) -> None:
    curves["diagonality"] = 0.08


def _overfits(moment: float, curves: Curves) -> None:
    curves["held_out"] = 0.9 + 8 * math.exp(-moment / 50) + max(0.0, moment - 200) / 250
    curves["distance"] += max(0.0, moment - 200) / 600


def _stands_still(moment: float, curves: Curves) -> None:
    curves["held_out"] = max(curves["held_out"], 2.0)
    curves["rate"] = PEAK


def _stops_early(moment: float, curves: Curves) -> None:
    curves["gate_accuracy"], curves["premature_share"] = 0.05, 1.0


def _never_stops(moment: float, curves: Curves) -> None:
    curves["gate_accuracy"], curves["premature_share"] = 0.05, 0.0


def _regresses(moment: float, curves: Curves) -> None:
    curves["distance"] = 0.5 + 0.7 * math.exp(-moment / 40) + max(0.0, moment - 240) / 300


def _has_odd_group(moment: float, curves: Curves) -> None:
    if moment >= 200:
        curves["separation"], curves["excess"] = 5.0, 0.7


def _learns_slowly(moment: float, curves: Curves) -> None:
    curves["loss"] = curves["held_out"] = 8.7 - 0.1 * moment / PLANNED
    curves["diagonality"] = 0.06


def _slows_down(moment: float, curves: Curves) -> None:
    curves["loss"] = 4.0 + 4.7 * math.exp(-moment / 15)


SLOW = {"knobs": KNOBS | {"learning_rate_multiplier": KnobFacts(start=0.01, low=1e-3, high=1e3, preset=1.0)}}
TRACES: dict[str, DilatedTrace] = {
    "healthy": DilatedTrace(),
    "one_large_gradient": DilatedTrace(events={"gradient_norm": 3000.0}, n_events=1),
    "nonfinite_steps": DilatedTrace(events={"total_loss": None, "mel_loss": None, "gradient_norm": None}, n_events=5),
    "loss_spike": DilatedTrace(_from(200, loss=2.5)),
    "divergence": DilatedTrace(_diverges),
    "oscillation": DilatedTrace(_oscillates),
    "exploding_gradient": DilatedTrace(_from(200, norm=100.0)),
    "vanishing_gradient": DilatedTrace(_from(200, norm=1e-6)),
    "rate_too_high": DilatedTrace(_from(200, ratio=20.0, loss=1.25)),
    "rate_collapsed": DilatedTrace(_from(150, ratio=1e-3)),
    "rate_too_low": DilatedTrace(_learns_slowly, SLOW),
    "attention_not_forming": DilatedTrace(_never_forms),
    "attention_lost": DilatedTrace(_from(200, diagonality=0.1)),
    "overfitting": DilatedTrace(_overfits),
    "plateau": DilatedTrace(_stands_still, {"decay_is_planned": False}),
    "premature_stop": DilatedTrace(_stops_early),
    "gate_never_fires": DilatedTrace(_never_stops),
    "quality_regressed": DilatedTrace(_regresses),
    "odd_group": DilatedTrace(_has_odd_group),
    "settings_far_from_recipe": DilatedTrace(_slows_down, {"preset_settings": {"weight_decay": 1e-6}}),
    "learning_stopped": DilatedTrace(_from(150, rate=1e-3)),
}
HEALTHY = ("healthy", "one_large_gradient")


def with_scale(trace: DilatedTrace, scale: float) -> DilatedTrace:
    """Losses and gradients of another size."""
    return replace(trace, scale=scale)


def as_logarithms(trace: DilatedTrace, shift: float) -> DilatedTrace:
    """The same losses, if the model reported their logarithms."""
    return replace(trace, log_shift=shift, facts={**trace.facts, "log_losses": ("total_loss", "mel_loss")})


def differences(first: Mapping[str, float], second: Mapping[str, float]) -> list[str]:
    """Ailments that only one of two traces has, or that they have at other places."""
    return sorted(
        ailment
        for ailment in first.keys() | second.keys()
        if abs(first.get(ailment, math.inf) - second.get(ailment, math.inf)) > TOLERANCE
        or (ailment in first) != (ailment in second)
    )


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks dilation", description=__doc__)
    parser.add_argument("--stretch", type=int, nargs="+", default=[10, 100])
    options = parser.parse_args(arguments)
    write, failures = sys.stdout.write, 0
    write("| trace | diagnoses (step) | " + " | ".join(f"× {s}" for s in options.stretch) + " |\n")
    write("|---" * (2 + len(options.stretch)) + "|\n")
    for name, trace in TRACES.items():
        own, cells = trace.first_diagnoses(), []
        for stretch in options.stretch:
            started = time.perf_counter()
            different = differences(own, replace(trace, stretch=stretch).first_diagnoses())
            failures += bool(different)
            per_step = 1000 * (time.perf_counter() - started) / (PLANNED * stretch)
            cells.append(f"{', '.join(different) or 'same'} ({per_step:.2f} ms a step)")
        shown = ", ".join(f"{ailment} ({moment:.0f})" for ailment, moment in own.items()) or "none"
        failures += (name in HEALTHY) == bool(own)
        write(f"| {name} | {shown} | {' | '.join(cells)} |\n")
    return conclude(write, is_met=failures == 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
