"""Plan of a training: its length, and the preset's schedules scaled to that length."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from recipes.facts import CorpusFacts

SCALED_FIELDS = (
    "warmup_steps",
    "decay_start_step",
    "decay_half_life_steps",
    "guide_anneal_start_step",
    "guide_anneal_steps",
    "alignment_patience_steps",
)
"""Settings that are shares of the plan; a preset states them for its own reference plan."""
INTERVAL_FIELDS = ("iters_per_evaluation", "iters_per_checkpoint")
EPOCHS_PER_EVALUATION, MIN_INTERVAL_STEPS = 2, 10
MIN_EVALUATIONS, MAX_EVALUATIONS = 12, 200  # of a plan that is not the preset's own
EVALUATION_SHARE, LEAST_EVALUATIONS = 0.1, 4
"""Evaluations take at most this share of the training's time, but there are a few."""
EVALUATION_COST = 3.5
"""Cost of an utterance in an evaluation, relative to one in a step: 1.1 with both models on real speech, 1.8 at most
while they did not end by themselves, and a margin of two."""
MAX_RECORDING_EPOCHS = 500
MAX_PATIENCE_EPOCHS = 30
"""Attention that has not formed after so many passes over the corpus needs help, however long the plan is."""
MIN_EPOCH_STEPS = 4
"""Few recordings are taken in smaller batches, so that an epoch still has some updates."""
MIN_STEPS_PER_SYMBOL = 1.5
"""With fewer decoder steps, attention would have to skip symbols of fast speech; it aligns well with 1.53."""
MANY_EPOCHS = 40
"""From so many passes on a small preset, which has no dropout, learns its recordings by heart."""
LENGTH_MARGIN = 1.25
"""Longest synthesis, as a multiple of the longest recording."""


@dataclass(frozen=True)
class PlanLength:
    """Length of a training in steps, and how many of them are one pass over the corpus."""

    steps: int
    steps_per_epoch: int


def dropout_values(
    preset: Mapping[str, Any], dropout: Mapping[str, float], *, epochs: float, given: Collection[str] = ()
) -> dict[str, float]:
    """Return the dropout of a training with so many passes over its recordings, except what a person has given."""
    if epochs < MANY_EPOCHS:
        return {}
    return {name: max(preset[name], value) for name, value in dropout.items() if name not in given}


def fitting_batch_size(batch_size: int, utterances: int) -> int:
    return min(batch_size, max(1, utterances // MIN_EPOCH_STEPS))


def batch_values(
    preset: Mapping[str, Any], facts: CorpusFacts, *, has_attention: bool, given: Collection[str] = ()
) -> dict[str, int]:
    """Return the batch size and the frames of a decoder step that suit the corpus, at most those of the preset."""
    values = {"batch_size": fitting_batch_size(preset["batch_size"], facts.utterances)}
    if has_attention:
        most = max(1, math.floor(facts.frames_per_symbol / MIN_STEPS_PER_SYMBOL))
        values["n_frames_per_step"] = min(preset["n_frames_per_step"], most)
    return {name: value for name, value in values.items() if name not in given}


def corpus_values(
    preset: Mapping[str, Any], facts: CorpusFacts, *, has_gate: bool, given: Collection[str] = ()
) -> dict[str, float]:
    """Return the settings that follow from the lengths of the recordings, except those that a person has given."""
    r = preset["n_frames_per_step"] if has_gate else 1
    values: dict[str, float] = {
        "max_decoder_steps": max(preset["max_decoder_steps"], math.ceil(LENGTH_MARGIN * facts.longest_frames / r))
    }
    if has_gate:
        values["gate_positive_weight"] = round(balanced_gate_weight(facts.mean_frames, r), 1)
    return {name: value for name, value in values.items() if name not in given}


def recording_epochs(steps_per_epoch: int, recording_steps: int) -> int:
    """Epochs of a training on recordings without a limit: as many steps, but few recordings are not heard for ever."""
    return min(MAX_RECORDING_EPOCHS, max(1, math.ceil(recording_steps / steps_per_epoch)))


def balanced_gate_weight(mean_frames: float, frames_per_step: int) -> float:
    """Half the mean number of decoder steps: with the full number against one end step, speech ends too early."""
    return max(1.0, mean_frames / frames_per_step / 2)


def schedule_values(
    preset: Mapping[str, Any], length: PlanLength, *, reference_steps: int, given: Collection[str] = ()
) -> dict[str, int]:
    """Return the settings that follow from the length of the training, except those that a person has given.

    `preset`: all settings of a preset, whose schedules are written for a training of `reference_steps`.
    """
    factor = length.steps / reference_steps
    scaled = {name: max(1, round(factor * preset[name])) for name in SCALED_FIELDS}
    patience = min(scaled["alignment_patience_steps"], max(1, MAX_PATIENCE_EPOCHS * length.steps_per_epoch))
    scaled["alignment_patience_steps"] = patience
    scaled |= dict.fromkeys(INTERVAL_FIELDS, _evaluation_interval(preset, factor, length))
    return {name: value for name, value in scaled.items() if name not in given}


def _evaluation_interval(preset: Mapping[str, Any], factor: float, length: PlanLength) -> int:
    """The preset's share of the plan; in a longer plan every second epoch. Both within bounds for the whole plan."""
    own = preset["iters_per_evaluation"]
    if factor <= 1:
        cost_in_steps = EVALUATION_COST * preset["evaluation_utterances"] / preset["batch_size"]
        cheap = min(math.ceil(cost_in_steps / EVALUATION_SHARE), length.steps // LEAST_EVALUATIONS)
        most = max(cheap, length.steps // MAX_EVALUATIONS)
        return max(round(factor * own), min(own, most), min(length.steps, MIN_INTERVAL_STEPS))
    every_second_epoch = min(length.steps // MIN_EVALUATIONS, EPOCHS_PER_EVALUATION * length.steps_per_epoch)
    return max(length.steps // MAX_EVALUATIONS, min(round(factor * own), max(own, every_second_epoch)))
