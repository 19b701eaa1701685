"""One training of the benchmark `rescue`: the program itself, with a fault injected from outside.

`python -m benchmarks faulty_run MODEL FAULT[@STEP] POLICY` and any arguments of train_enhanced.py.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import cast
from unittest.mock import patch

import train_enhanced
from benchmarks.robustness.faults.fault import Fault
from benchmarks.robustness.faults.lists import faults_of
from commands.process import watchdog
from commands.run import session
from corpus.batches import Batch
from hparams import ModelName
from reports import StepReport
from smart_tuner.settings import load_settings
from smart_tuner.treatment import selection
from smart_tuner.treatment.remedies import Remedy, roll_back
from smart_tuner.treatment.remedy_order import REMEDIES_BY_AILMENT
from smart_tuner.treatment.restarts import restart
from training.run_state import RunState
from training.trainer import EnhancedTrainer

POLICIES: dict[str, tuple[str, ...]] = {
    "nothing": ("--supervise=off", "--watchdog=off"),
    **dict.fromkeys(("random", "obvious", "supervised"), ("--supervise=on", "--watchdog=on")),
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


def obvious_remedies() -> dict[str, Mapping[str, Remedy]]:
    """For every ailment: go back to the last good checkpoint once, then restart once with the preset's settings."""
    back, anew = roll_back("total_loss", "down"), restart("total_loss", "down", learning_rate_factor=1.0)
    remedies: dict[str, Remedy] = {
        "roll_back": lambda context: back(context) if context.state.n_started == 0 else None,
        "restart": lambda context: anew(context) if context.state.begin == 0 else None,
    }
    return REMEDIES_BY_AILMENT | {ailment: remedies for ailment in REMEDIES_BY_AILMENT if ailment != "hopeless_run"}


def main(arguments: Sequence[str]) -> int:
    model, fault, policy, *rest = arguments
    options = [f"--model={model}", *rest, *POLICIES[policy], "--companion=off"]
    if policy == "nothing":
        return train(model, fault, policy, options)
    parsed = train_enhanced.parse_options(options)
    settings = load_settings(parsed.config).watchdog
    return watchdog.watch(parsed, settings, partial(child_command, model, fault, policy))


def child_command(model: str, fault: str, policy: str, options: Sequence[str]) -> list[str]:
    """Command of the training process that the watchdog starts."""
    child = [sys.executable, "-m", "benchmarks.robustness.faulty_run", "child", model, fault, policy]
    return [*child, *options, "--watchdog=off"]


def find_fault(model: str, name: str) -> Fault:
    """The fault with this name; `name@step` happens at another step than usual."""
    name, _, step = name.partition("@")
    fault = faults_of(cast("ModelName", model))[name]
    return replace(fault, from_step=int(step)) if step else fault


def train(model: str, fault: str, policy: str, options: Sequence[str]) -> int:
    """Run the program with a faulty trainer and the remedies of the policy."""
    with ExitStack() as patches:
        if fault != "none":
            trainer = faulty_trainer(find_fault(model, fault))
            patches.enter_context(patch.object(session, "EnhancedTrainer", trainer))
        if policy in ("random", "obvious"):
            seed = int(next(option for option in options if option.startswith("--seed=")).partition("=")[2])
            remedies = random_remedies(seed) if policy == "random" else obvious_remedies()
            patches.enter_context(patch.object(selection, "REMEDIES_BY_AILMENT", remedies))
        return train_enhanced.main(list(options))


if __name__ == "__main__":
    if sys.argv[1] == "child":
        sys.exit(train(sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5:]))
    sys.exit(main(sys.argv[1:]))
