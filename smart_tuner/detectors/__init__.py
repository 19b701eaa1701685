"""Detectors: functions that find one ailment each in a run's signals, grouped by how often they are called."""

from __future__ import annotations

from collections.abc import Callable

from smart_tuner.detectors.data.loading import detect_data_starvation
from smart_tuner.detectors.data.odd_group import detect_odd_group
from smart_tuner.detectors.data.utterances import detect_bad_utterance
from smart_tuner.detectors.hopeless_run import detect_hopeless_run
from smart_tuner.detectors.machine.disk import detect_disk_running_full
from smart_tuner.detectors.machine.memory import detect_out_of_memory
from smart_tuner.detectors.optimization.gradients import (
    detect_exploding_gradient,
    detect_nonfinite_step,
    detect_vanishing_gradient,
)
from smart_tuner.detectors.optimization.learning_rate import (
    detect_learning_rate_too_high,
    detect_learning_rate_too_low,
)
from smart_tuner.detectors.optimization.loss import detect_loss_spike, detect_oscillating_loss, detect_sawtooth_loss
from smart_tuner.detectors.optimization.overfitting import detect_overfitting
from smart_tuner.detectors.optimization.plateau import detect_plateau
from smart_tuner.detectors.optimization.settings import detect_learning_stopped, detect_settings_far_from_recipe
from smart_tuner.detectors.speech.attention import (
    detect_alignment_not_forming,
    detect_attention_lost,
    detect_attention_not_forming,
)
from smart_tuner.detectors.speech.durations import detect_collapsed_durations, detect_overfit_durations
from smart_tuner.detectors.speech.flow import detect_exploding_flow
from smart_tuner.detectors.speech.gate import detect_gate_never_fires, detect_premature_stop
from smart_tuner.detectors.speech.quality import detect_quality_regressed
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_view import RunView

Detector = Callable[[RunView], Diagnosis | None]

# By ailment; of equally severe diagnoses the first one is treated.
EVERY_STEP: dict[str, Detector] = {
    "out_of_memory": detect_out_of_memory,
    "bad_utterance": detect_bad_utterance,
    "nonfinite_step": detect_nonfinite_step,
    "loss_spike": detect_loss_spike,
    "exploding_gradient": detect_exploding_gradient,
}
EVERY_TENTH_STRIDE: dict[str, Detector] = {
    "hopeless_run": detect_hopeless_run,
    "exploding_flow": detect_exploding_flow,
    "learning_rate_too_high": detect_learning_rate_too_high,
    "learning_rate_too_low": detect_learning_rate_too_low,
    "vanishing_gradient": detect_vanishing_gradient,
    "settings_far_from_recipe": detect_settings_far_from_recipe,
    "learning_stopped": detect_learning_stopped,
    "oscillating_loss": detect_oscillating_loss,
    "sawtooth_loss": detect_sawtooth_loss,
    "data_starvation": detect_data_starvation,
}
EVERY_EVALUATION: dict[str, Detector] = {
    "attention_lost": detect_attention_lost,
    "attention_not_forming": detect_attention_not_forming,
    "alignment_not_forming": detect_alignment_not_forming,
    "odd_group": detect_odd_group,
    "gate_never_fires": detect_gate_never_fires,
    "premature_stop": detect_premature_stop,
    "collapsed_durations": detect_collapsed_durations,
    "overfitting": detect_overfitting,
    "overfit_durations": detect_overfit_durations,
    "quality_regressed": detect_quality_regressed,
    "plateau": detect_plateau,
}
EVERY_CHECKPOINT: dict[str, Detector] = {"disk_running_full": detect_disk_running_full}
DETECTORS: dict[str, Detector] = EVERY_STEP | EVERY_TENTH_STRIDE | EVERY_EVALUATION | EVERY_CHECKPOINT
