"""Every detector by its ailment, worst first, and how often it looks."""

from __future__ import annotations

from collections.abc import Callable

from smart_tuner.detectors import hopeless_run
from smart_tuner.detectors.data import loading, utterances
from smart_tuner.detectors.machine import disk, memory
from smart_tuner.detectors.optimization import (
    exploding_gradient,
    learning_rate_too_high,
    learning_rate_too_low,
    loss_spike,
    nonfinite_step,
    oscillating_loss,
    overfitting,
    plateau,
    sawtooth_loss,
    vanishing_gradient,
)
from smart_tuner.detectors.speech import (
    attention_lost,
    attention_not_forming,
    collapsed_durations,
    flow,
    gate_never_fires,
    overfit_durations,
    premature_stop,
)
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_view import RunView

Detector = Callable[[RunView], Diagnosis | None]

EVERY_STEP: dict[str, Detector] = {
    "out_of_memory": memory.detect,
    "bad_utterance": utterances.detect,
    "nonfinite_step": nonfinite_step.detect,
    "loss_spike": loss_spike.detect,
    "exploding_gradient": exploding_gradient.detect,
}
EVERY_TENTH_STEP: dict[str, Detector] = {
    "hopeless_run": hopeless_run.detect,
    "exploding_flow": flow.detect,
    "learning_rate_too_high": learning_rate_too_high.detect,
    "learning_rate_too_low": learning_rate_too_low.detect,
    "vanishing_gradient": vanishing_gradient.detect,
    "oscillating_loss": oscillating_loss.detect,
    "sawtooth_loss": sawtooth_loss.detect,
    "data_starvation": loading.detect,
}
EVERY_EVALUATION: dict[str, Detector] = {
    "attention_lost": attention_lost.detect,
    "attention_not_forming": attention_not_forming.detect,
    "gate_never_fires": gate_never_fires.detect,
    "premature_stop": premature_stop.detect,
    "collapsed_durations": collapsed_durations.detect,
    "overfitting": overfitting.detect,
    "overfit_durations": overfit_durations.detect,
    "plateau": plateau.detect,
}
EVERY_CHECKPOINT: dict[str, Detector] = {"disk_running_full": disk.detect}
DETECTORS: dict[str, Detector] = EVERY_STEP | EVERY_TENTH_STEP | EVERY_EVALUATION | EVERY_CHECKPOINT
