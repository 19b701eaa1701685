"""One training of benchmarks/robustness/rescue.py: the program as it is, with a fault put into its parts from outside.

`python -m benchmarks faulty_run MODEL FAULT POLICY arguments of train_enhanced.py …`
"""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping, Sequence
from typing import Any, cast

import commands.run.session
import smart_tuner.treatment.selection
import train_enhanced
from benchmarks.robustness.faults import Fault, faults_of
from commands.process import watchdog
from corpus.batches import Batch
from hparams import ModelName
from reports import StepReport
from smart_tuner.settings import load_settings
from smart_tuner.treatment.policy import REMEDIES_BY_AILMENT
from smart_tuner.treatment.remedies import Remedy
from training.trainer import EnhancedTrainer

POLICIES: dict[str, tuple[str, ...]] = {
    "nothing": ("--supervise=off", "--watchdog=off"),
    "random": ("--supervise=on", "--watchdog=off"),
    "supervised": ("--supervise=on", "--watchdog=on"),
}


def faulty_trainer(fault: Fault) -> type[EnhancedTrainer]:
    """The trainer, to which something happens once in a run."""

    class FaultyTrainer(EnhancedTrainer):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self._marker = self.state.folder / ".fault-happened"
            if fault.prepare is not None:
                fault.prepare(self)

        def train_step(self, *batches: Batch, started: float | None = None) -> StepReport:
            if fault.happen is not None and self.state.progress.step >= fault.from_step and not self._marker.exists():
                self._marker.touch()
                batches = (fault.happen(self, batches[0]), *batches[1:])
            return super().train_step(*batches, started=started)

    return FaultyTrainer


def random_ladders(seed: int) -> dict[str, Mapping[str, Remedy]]:
    """Every ailment's ladder is all remedies there are, in a random order."""
    rng = random.Random(seed)
    treating = {ailment: ladder for ailment, ladder in REMEDIES_BY_AILMENT.items() if ailment != "hopeless_run"}
    remedies = dict.fromkeys((name, remedy) for ladder in treating.values() for name, remedy in ladder.items())
    named = [(f"{name}_{number}", remedy) for number, (name, remedy) in enumerate(remedies)]
    return REMEDIES_BY_AILMENT | {ailment: dict(rng.sample(named, len(named))) for ailment in treating}


def main(arguments: Sequence[str]) -> int:
    model, fault, policy, *rest = arguments
    options = [f"--model={model}", *rest, *POLICIES[policy], "--companion=off"]
    if policy == "supervised":
        parsed = train_enhanced.parse_options(options)
        return watchdog.watch(parsed, load_settings(parsed.config).watchdog, lambda more: _child(model, fault, more))
    return train(model, fault, policy, options)


def _child(model: str, fault: str, options: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "benchmarks.robustness.faulty_run", model, fault, "child", *options, "--watchdog=off"]


def train(model: str, fault: str, policy: str, options: Sequence[str]) -> int:
    if fault != "none":
        vars(commands.run.session)["EnhancedTrainer"] = faulty_trainer(faults_of(cast("ModelName", model))[fault])
    if policy == "random":
        seed = int(next(option for option in options if option.startswith("--seed=")).partition("=")[2])
        vars(smart_tuner.treatment.selection)["REMEDIES_BY_AILMENT"] = random_ladders(seed)
    return train_enhanced.main(list(options))


if __name__ == "__main__":
    if sys.argv[3] == "child":
        sys.exit(train(sys.argv[1], sys.argv[2], "child", sys.argv[4:]))
    sys.exit(main(sys.argv[1:]))
