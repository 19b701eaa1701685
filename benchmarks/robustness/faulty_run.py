"""One training of the benchmark `rescue`: the program itself, with a fault injected from outside.

`python -m benchmarks faulty_run MODEL FAULT POLICY` and any arguments of train_enhanced.py.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import cast
from unittest.mock import patch

import train_enhanced
from benchmarks.robustness.fault import Fault
from benchmarks.robustness.faults import faults_of
from commands.process import watchdog
from commands.run import session
from corpus.batches import Batch
from hparams import ModelName
from reports import StepReport
from smart_tuner.settings import load_settings
from smart_tuner.treatment import selection
from smart_tuner.treatment.remedies import Remedy
from smart_tuner.treatment.remedy_order import REMEDIES_BY_AILMENT
from training.run_state import RunState
from training.trainer import EnhancedTrainer

POLICIES: dict[str, tuple[str, ...]] = {
    "nothing": ("--supervise=off", "--watchdog=off"),
    "random": ("--supervise=on", "--watchdog=off"),
    "supervised": ("--supervise=on", "--watchdog=on"),
}


def faulty_trainer(fault: Fault) -> type[EnhancedTrainer]:
    """Make a trainer class that injects the fault once in a run, also when the run is resumed."""

    class FaultyTrainer(EnhancedTrainer):
        def __init__(self, state: RunState) -> None:
            super().__init__(state)
            self._marker = self.state.folder / ".fault-happened"  # outlives the process
            if fault.prepare is not None:
                fault.prepare(self)

        def train_step(self, *batches: Batch, started: float | None = None) -> StepReport:
            if fault.inject is not None and self.state.progress.step >= fault.from_step and not self._marker.exists():
                self._marker.touch()
                fault.inject(self, batches[0])
            return super().train_step(*batches, started=started)

    return FaultyTrainer


def random_remedies(seed: int) -> dict[str, Mapping[str, Remedy]]:
    """Give every ailment all remedies there are, each in another random order."""
    rng = random.Random(seed)
    treatable = {name: remedies for name, remedies in REMEDIES_BY_AILMENT.items() if name != "hopeless_run"}
    all_remedies = dict.fromkeys(item for remedies in treatable.values() for item in remedies.items())
    numbered = [(f"{name}_{number}", remedy) for number, (name, remedy) in enumerate(all_remedies)]
    return REMEDIES_BY_AILMENT | {ailment: dict(rng.sample(numbered, len(numbered))) for ailment in treatable}


def main(arguments: Sequence[str]) -> int:
    model, fault, policy, *rest = arguments
    options = [f"--model={model}", *rest, *POLICIES[policy], "--companion=off"]
    if policy == "supervised":
        parsed = train_enhanced.parse_options(options)
        settings = load_settings(parsed.config).watchdog
        return watchdog.watch(parsed, settings, partial(child_command, model, fault))
    return train(model, fault, policy, options)


def child_command(model: str, fault: str, options: Sequence[str]) -> list[str]:
    """Command of the training process that the watchdog starts."""
    child = [sys.executable, "-m", "benchmarks.robustness.faulty_run", model, fault, "child"]
    return [*child, *options, "--watchdog=off"]


def train(model: str, fault: str, policy: str, options: Sequence[str]) -> int:
    """Run the program with a faulty trainer and, for the policy `random`, with random remedies."""
    with ExitStack() as patches:
        if fault != "none":
            trainer = faulty_trainer(faults_of(cast("ModelName", model))[fault])
            patches.enter_context(patch.object(session, "EnhancedTrainer", trainer))
        if policy == "random":
            seed = int(next(option for option in options if option.startswith("--seed=")).partition("=")[2])
            patches.enter_context(patch.object(selection, "REMEDIES_BY_AILMENT", random_remedies(seed)))
        return train_enhanced.main(list(options))


if __name__ == "__main__":
    if sys.argv[3] == "child":
        sys.exit(train(sys.argv[1], sys.argv[2], "child", sys.argv[4:]))
    sys.exit(main(sys.argv[1:]))
