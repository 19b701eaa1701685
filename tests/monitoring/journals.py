"""Run folders with short made-up journals, in the format that a training writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from monitoring.journal.decoded_arrays import DecodedSample, write_decoded
from monitoring.journal.journal import Journal

EXPECTED = {"signal": "total_loss", "direction": "down", "by_step": 60, "forecast": 2.0, "noise": 0.1, "target": None}
DIAGNOSIS: dict[str, Any] = {
    "ailment": "loss_spike",
    "severity": "warning",
    "since": 21,
    "evidence": {"total_loss": 9.0, "before": 2.0},
}
INTERVENTION: dict[str, Any] = {
    "ailment": "loss_spike",
    "severity": "warning",
    "evidence": DIAGNOSIS["evidence"],
    "remedy": "lower_learning_rate",
    "knob": "learning_rate_multiplier",
    "from": 1.0,
    "to": 0.5,
    "expected": EXPECTED,
}
FOLLOW_UP: dict[str, Any] = {
    "ailment": "loss_spike",
    "remedy": "lower_learning_rate",
    "verdict": "helped",
    "expected": EXPECTED,
    "value": 1.5,
    "gain": 0.5,
}


class RunFolder:
    """Writer of a run folder, one journal record a call; `path` is the folder."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.journal = Journal(path / "journal.jsonl")

    def start(self, kind: str = "started", step: int = 0, **changes: Any) -> None:
        fields: dict[str, Any] = {
            "hparams": {"learning_rate": 1e-3, "text_frontend": "graphemes", "language": "en-us", "model": "tacotron2"},
            "choices": {"device": "cpu", "precision": "float32"},
            "data": "corpus",
            "train_utterances": 100,
            "held_out_utterances": 8,
            "planned_steps": 100,
            "course_steps": 100,
            "most_steps": None,
            "forecast_seconds": 600.0,
            "corpus": "corpus",
            "weights": 1_500_000,
        }
        self.journal.write(kind, step, **fields | changes)

    def steps(self, first: int, last: int, **signals: float | None) -> None:
        steps = list(range(first, last + 1))
        columns: dict[str, list[float | None]] = {"total_loss": [10.0 / step for step in steps]}
        columns |= {"gradient_norm": [1.0] * len(steps), "learning_rate": [1e-3] * len(steps)}
        columns |= {name: [value] * len(steps) for name, value in signals.items()}
        self.journal.write("steps", last, steps=steps, signals=columns)

    def evaluation(self, step: int, score: float | None = 0.5, **changes: Any) -> None:
        """Write an evaluation of one utterance."""
        signals: dict[str, float | None] = {
            "composite_tts_score": score,
            "free_diagonality": 0.8,
            "gate_accuracy": 0.9,
            "stop_rate": 1.0,
            "mel_distance": 0.6,
            "val_total_loss": 1.0,
        }
        utterance = {"id": "a", "text": "Hello.", "free_diagonality": 0.8, "mel_distance": 0.6, "length_ratio": 1.0}
        utterance |= {"gate": "gate_accuracy", "stopped": True, "score": score}
        fields: dict[str, Any] = {"signals": signals, "training_seconds": 1.0 * step, "utterances": [utterance]}
        self.journal.write("evaluation", step, **fields | changes)

    def write_samples(self, step: int, **changes: Any) -> Mapping[str, Any]:
        """Write the decoded arrays of a sample and a worst utterance; return the evaluation's fields about them."""
        files = (f"samples/step-{step:08d}-a", "samples/worst/a")
        write_decoded(self.path / f"samples/step-{step:08d}.npz", [make_sample(file, **changes) for file in files])
        samples = [{"id": "a", "sentence": "Hello.", "file": file, "recorded": "samples/recorded/a"} for file in files]
        return {"spoken": f"samples/step-{step:08d}.npz", "samples": samples}

    def checkpoint(self, step: int) -> None:
        path = f"checkpoints/step-{step:08d}.pt"
        self.journal.write("checkpoint", step, path=path, kept=[step], signals={"checkpoint_bytes": 7.0})

    def race(self, step: int, *, from_step: int, verdict: str = "helped") -> None:
        """Write a race of two steps and its follow-up; the loss is 2 in the arm with the remedy, 3 in the other."""
        signals: dict[str, Any] = {"total_loss": [3.0, 3.0]}
        arm = {"knobs": {}, "steps": [from_step + 1, from_step + 2], "signals": signals}
        arms = [arm | {"evaluation": {"stop_rate": 0.5}}]
        arms.append(arm | {"signals": {"total_loss": [2.0, 2.0]}, "evaluation": {"stop_rate": 1.0}})
        self.journal.write("race", step, from_step=from_step, arms=arms)
        evidence = {"evidence": {"from_step": from_step}}
        self.journal.write("follow_up", from_step + 2, **FOLLOW_UP | {"verdict": verdict} | evidence)

    def finish(self, step: int, status: str = "finished", reason: str = "epochs") -> None:
        self.journal.write("finished", step, status=status, reason=reason)


def make_sample(file: str, **changes: Any) -> DecodedSample:
    mel = np.random.default_rng(0).normal(-4, 2, (8, 30)).astype(np.float32)
    values: dict[str, Any] = {
        "id": "a",
        "sentence": "Hello.",
        "symbols": tuple("Hello."),
        "recorded": "samples/recorded/a",
        "free_attention": np.eye(6, dtype=np.float32),
        "free_mel": mel,
        "forced_mel": mel,
        "recorded_mel": mel,
    }
    return DecodedSample(file=file, **values | changes)


def sick_run(path: Path) -> RunFolder:
    """A finished run with two evaluations, a loss spike and an intervention that helped."""
    run = RunFolder(path)
    run.journal.phase = "pre_alignment"
    run.start()
    run.steps(1, 20)
    run.evaluation(20, 0.3)
    run.journal.phase = "alignment"
    run.journal.write("phase", 20, **{"from": "pre_alignment", "to": "alignment", "signals": {"free_diagonality": 0.8}})
    run.steps(21, 40)
    run.journal.write("diagnosis", 40, **DIAGNOSIS)
    run.journal.write("intervention", 40, **INTERVENTION)
    run.steps(41, 60)
    run.journal.write("follow_up", 60, **FOLLOW_UP)
    run.evaluation(60, 0.7)
    run.finish(60)
    return run
