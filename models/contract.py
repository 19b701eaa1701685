"""Contract of acoustic models: checks of the behaviour that no type can express.

Each check raises an AssertionError that says what is wrong. The tests run every entry of `models.ARCHITECTURES` through
all of them, so that a new architecture is covered as soon as it is entered there.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from corpus.batches import Batch
from models import TrainableModel
from models.contract_case import (
    ContractCase,
    RecordingKnobs,
    add_padding,
    compute_losses,
    copy_state,
    fill_padding,
    run_teacher_forced,
    synthesize,
    valid_part,
)
from models.interface import FreeRunningOutput
from models.kernels.choice import plain_operations
from models.layers import length_mask

TOLERANCE = 1e-3
"""Of float32 outputs that differ by rounding only."""
NEVER_STOPS = 1.0
"""Gate threshold that no probability exceeds."""
GATE_THRESHOLDS = [i / 100 for i in range(1, 100)]
MIN_STEPS_TO_CUT = 4
SLOW = 0.25
MAX_DRAWS, DRAWN_WEIGHTS = 50, 0.1


def check_declarations(case: ContractCase) -> None:
    """Class constants agree with each other; measures and gradient parts are as declared."""
    model = case.model()
    losses = {*model.LOSS_PARTS, "total_loss"}
    _require(model.SPECTRUM_LOSS in model.LOSS_PARTS, f"SPECTRUM_LOSS {model.SPECTRUM_LOSS!r} is not in LOSS_PARTS")
    _require(set(model.LOG_LOSSES) <= losses, f"LOG_LOSSES {model.LOG_LOSSES} are not all in LOSS_PARTS")
    measures = model.measures()
    _require(measures.keys() == set(model.MEASURES), f"measures() returned {list(measures)}, not MEASURES")
    _require(all(map(math.isfinite, measures.values())), f"measures() returned values that are not finite: {measures}")
    own = {id(parameter) for parameter in model.parameters()}
    seen: set[int] = set()
    for name, parameters in model.gradient_parts().items():
        part = {id(parameter) for parameter in parameters}
        _require(name.startswith("gradient_norm_"), f"gradient part {name!r}: the name must begin with gradient_norm_")
        _require(bool(part) and part <= own, f"gradient part {name!r} is empty or not a part of the model")
        _require(not part & seen, f"gradient part {name!r} overlaps another one")
        seen |= part


def check_losses(case: ContractCase) -> None:
    """Loss parts and knobs are those declared, and the total is finite and differentiable."""
    model = case.new_model(is_random=True).train()
    knobs = RecordingKnobs(model.LOSS_KNOBS)
    losses = model.losses(model(case.batch), case.batch, knobs)
    expected = {*model.LOSS_PARTS, "total_loss"}
    _require(losses.parts.keys() == expected, f"loss parts are {sorted(losses.parts)}, declared are {sorted(expected)}")
    _require(knobs.read == set(model.LOSS_KNOBS), f"losses() read {sorted(knobs.read)} only, not all of LOSS_KNOBS")
    for name, value in (losses.parts | {"total": losses.total}).items():
        _require(value.ndim == 0 and value.isfinite(), f"{name} is not a finite scalar: {value}")
    _require(losses.total == losses.parts["total_loss"], "total differs from the part total_loss")
    errors = losses.by_utterance
    _require(errors.shape == (len(case.batch.ids),), f"by_utterance has shape {list(errors.shape)}, not one per item")
    _require((errors > 0).all() and not errors.requires_grad, "by_utterance is not above zero, or has a gradient")
    _require(losses.total.requires_grad, "the total has no gradient")
    losses.total.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    _require(any(gradient.any() for gradient in gradients), "the total has no gradient but zero")
    _require(all(gradient.isfinite().all() for gradient in gradients), "a gradient of the total is not finite")


def check_snapshot(case: ContractCase) -> None:
    """`restore` undoes what a training pass since the snapshot has changed, in the first pass and later."""
    model = case.new_model().train()
    for number in ("first", "second"):
        state, snapshot = copy_state(model), model.snapshot()
        losses = compute_losses(model, case.batch)
        with torch.no_grad():
            model.restore(snapshot)
        _require_equal(model.state_dict(), state, f"state_dict after restore() of the {number} training pass")
        repeated = compute_losses(model, case.batch)
        _require_equal(repeated.total, losses.total, f"loss of the {number} training pass, repeated after restore()")


def check_evaluation_has_no_effect(case: ContractCase) -> None:
    """Evaluation and synthesis in inference mode change neither the weights nor the next training pass."""
    losses = []
    for has_evaluation in (False, True):
        model = case.new_model().train()
        compute_losses(model, case.batch).total.backward()
        if has_evaluation:
            state = copy_state(model)
            with torch.inference_mode():
                compute_losses(model.eval(), case.batch)
                synthesize(model, case.batch, max_steps=3)
            _require_equal(model.state_dict(), state, "state_dict after evaluation")
            model.train()
        losses.append(compute_losses(model, case.batch).total)
        losses[-1].backward()
    _require_equal(losses[1], losses[0], "the loss of a training pass after evaluation")


def check_padding(case: ContractCase) -> None:
    """An utterance alone gives the same as in a padded batch, whatever the size of the padding and the values in it."""
    model, batch = case.model(), case.batch
    losses, output = compute_losses(model, batch), run_teacher_forced(model, batch)
    expected = [valid_part(output, batch, i) for i, _ in case.items()]
    for i, item in case.items():
        alone = valid_part(run_teacher_forced(model, item), item, 0)
        _require_close(expected[i], alone, f"teacher-forced output of item {i}")
    for description, padded in (("more padding", add_padding(batch)), ("filled padding", fill_padding(batch))):
        padded_losses, padded_output = compute_losses(model, padded), run_teacher_forced(model, padded)
        _require_close(padded_losses.parts, losses.parts, f"losses with {description}")
        _require_close(padded_losses.by_utterance, losses.by_utterance, f"by_utterance with {description}")
        for i, part in enumerate(expected):
            valid = valid_part(padded_output, padded, i)
            _require_close(valid, part, f"teacher-forced output of item {i} with {description}")


def check_teacher_forced_output(case: ContractCase) -> None:
    """Shapes, lengths and alignments of the teacher-forced output are consistent."""
    model, batch = case.model(), case.batch
    output, (n_items, n_tokens) = run_teacher_forced(model, batch), batch.text.shape
    _require(output.mels.shape[:2] == (n_items, batch.mels.size(1)), f"mels have shape {list(output.mels.shape)}")
    _require((output.mel_lengths <= batch.mel_lengths).all(), "mel_lengths exceed those of the recordings")
    steps = torch.ceil(output.mel_lengths / model.frames_per_step)
    _require((output.steps == steps).all(), f"steps are {output.steps.tolist()}, frames give {steps.tolist()}")
    _check_alignments(output.alignments, output.steps, batch)
    _require((output.gates is not None) == model.HAS_GATE, "gates are there without HAS_GATE, or missing with it")
    if output.gates is not None:
        _require(output.gates.shape == output.alignments.shape[:2], f"gates have shape {list(output.gates.shape)}")
        _require(((output.gates >= 0) & (output.gates <= 1)).all(), "gates are not probabilities")
    if output.durations is not None:
        _require(output.durations.shape == (n_items, n_tokens), f"durations have shape {list(output.durations.shape)}")


def check_synthesis(case: ContractCase) -> None:
    """Shapes are consistent, the step limit holds, and an item alone gives the same as in a padded batch."""
    model, batch, max_decoder_steps = case.model(), case.batch, case.hparams.max_decoder_steps
    model.set_gate_threshold(NEVER_STOPS)
    for max_steps in (3, max_decoder_steps * 10, None):
        output, limit = synthesize(model, batch, max_steps), min(max_steps or max_decoder_steps, max_decoder_steps)
        _require((output.steps <= limit).all(), f"{output.steps.tolist()} steps with a limit of {limit}")
        most_frames = output.steps * model.frames_per_step
        fewest_frames = most_frames - model.frames_per_step + 1
        is_consistent = (output.mel_lengths >= fewest_frames) & (output.mel_lengths <= most_frames)
        _require(is_consistent.all(), f"mel_lengths {output.mel_lengths.tolist()} do not follow from the steps")
        shape = len(batch.ids), batch.mels.size(1), int(output.mel_lengths.max())
        _require(output.mels.shape == shape, f"mels have shape {list(output.mels.shape)}, expected {list(shape)}")
        _check_alignments(output.alignments, output.steps, batch)
        for i, item in case.items():
            alone = valid_part(synthesize(model, item, max_steps), item, 0)
            _require_close(valid_part(output, batch, i), alone, f"synthesis of item {i} in a batch")


def check_stopping(case: ContractCase) -> None:
    """`stopped` is true for speech that ends by itself, and false for speech that the step limit cuts."""
    model = case.model()
    full = _output_that_stops(model, case.batch)
    for i, item in case.items():
        n_steps = int(full.steps[i])
        if not full.stopped[i] or n_steps < MIN_STEPS_TO_CUT:
            continue
        whole, cut = synthesize(model, item, n_steps + 2), synthesize(model, item, n_steps - 2)
        _require(whole.stopped, f"item {i} ends after {n_steps} steps, but not within {n_steps + 2}")
        _require(int(whole.steps) == n_steps, f"item {i} has {n_steps} steps, with a lower limit {int(whole.steps)}")
        _require(not cut.stopped, f"item {i} was cut from {n_steps} to {n_steps - 2} steps, but counts as stopped")
    if model.HAS_GATE:
        model.set_gate_threshold(NEVER_STOPS)
        is_stopped = synthesize(model, case.batch).stopped
        _require(not is_stopped.any(), "items count as stopped although no gate exceeds its threshold")


def check_speed(case: ContractCase) -> None:
    """Slower speech is longer where durations are predicted; elsewhere the speed changes nothing."""
    model = case.model()
    model.set_gate_threshold(NEVER_STOPS)
    usual = synthesize(model, case.batch, None)
    for seed in range(MAX_DRAWS):  # until some symbol lasts longer than the least duration
        if model.HAS_GATE or bool((usual.steps > case.batch.text_lengths + model.frames_per_step).any()):
            break
        _draw_weights(model, seed)
        usual = synthesize(model, case.batch, None)
    model.set_speed(SLOW)
    slow = synthesize(model, case.batch, None)
    if model.HAS_GATE:
        _require_close({"mels": slow.mels}, {"mels": usual.mels}, "synthesis at another speed")
    else:
        longer = f"{slow.steps.tolist()} steps at a speed of {SLOW}, {usual.steps.tolist()} at 1"
        _require(int(slow.steps.sum()) > int(usual.steps.sum()), longer)
        model.set_speed(1.0)
        again = synthesize(model, case.batch, None).steps
        _require(torch.equal(again, usual.steps), "the usual speed cannot be restored")


@torch.no_grad()
def _draw_weights(model: TrainableModel, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.add_(DRAWN_WEIGHTS * torch.randn(parameter.shape, generator=generator))


def check_folding(case: ContractCase) -> None:
    """`fold`, also twice, does not change the synthesised mels."""
    model = case.model()
    expected = synthesize(model, case.batch).mels
    for _ in range(2):
        model.fold()
        _require_close(synthesize(model, case.batch).mels, expected, "mels after fold()")


def check_state_dict(case: ContractCase) -> None:
    """The state_dict holds everything that outputs depend on, and loads into a model that has been used before."""
    loaded, batch = case.new_model(), case.batch
    for weights, model in (("initial", case.new_model()), ("other", case.model())):
        compute_losses(loaded.train(), batch)
        synthesize(loaded.eval(), batch)  # from now on caches may hold what was derived from the weights
        loaded.load_state_dict(model.state_dict())
        for name, run in (("teacher-forced", run_teacher_forced), ("synthesised", synthesize)):
            mels = run(loaded, batch).mels
            _require_equal(mels, run(model.eval(), batch).mels, f"{name} mels after loading {weights} weights")
        expected = compute_losses(model.train(), batch).total
        total = compute_losses(loaded.train(), batch).total
        _require_equal(total, expected, f"training loss after loading {weights} weights")


def check_determinism(case: ContractCase) -> None:
    """With the same seed, weights, a training pass and synthesis are the same; a pass does not change its batch."""
    results, mels_before, text_before = [], case.batch.mels.clone(), case.batch.text.clone()
    for _ in range(2):
        model = case.new_model(is_random=True).train()
        loss, mels = compute_losses(model, case.batch).total, synthesize(model.eval(), case.batch).mels
        results.append({"loss": loss, "mels": mels, **copy_state(model)})
    _require_equal(results[1], results[0], "a repetition with the same seed")
    _require_equal((case.batch.mels, case.batch.text), (mels_before, text_before), "the batch after the passes")


def check_plain_operations(case: ContractCase) -> None:
    """Compiled kernels and torch's own operations give the same losses, gradients and speech."""
    compiled = _outputs(case)
    with plain_operations():
        plain = _outputs(case)
    _require_close(plain, compiled, "outputs of plain operations")


CHECKS = (
    *(check_declarations, check_losses, check_snapshot, check_evaluation_has_no_effect, check_padding),
    *(check_teacher_forced_output, check_synthesis, check_stopping, check_speed, check_folding, check_state_dict),
    check_determinism,
    check_plain_operations,
)


def _require(condition: bool | Tensor, problem: str) -> None:
    if not condition:
        raise AssertionError(problem)


def _require_close(value: Any, expected: Any, description: str, tolerance: float = TOLERANCE) -> None:
    """Compare tensors, or dictionaries of them."""
    compare = torch.testing.assert_close
    compare(value, expected, rtol=tolerance, atol=tolerance, msg=lambda message: f"{description}: {message}")


def _require_equal(value: Any, expected: Any, description: str) -> None:
    _require_close(value, expected, description, tolerance=0)


def _outputs(case: ContractCase) -> dict[str, Tensor]:
    """Losses, gradients and speech of the evaluation mode, in which nothing is random."""
    model = case.model()
    losses = compute_losses(model, case.batch)
    losses.total.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    speech = [valid_part(synthesize(model, case.batch), case.batch, i) for i in range(len(case.batch.ids))]
    spoken = {f"{name} of item {i}": value for i, values in enumerate(speech) for name, value in values.items()}
    return {name: value.detach() for name, value in losses.parts.items()} | gradients | spoken


def _output_that_stops(model: TrainableModel, batch: Batch) -> FreeRunningOutput:
    """Synthesis in which an item ends by itself after some steps, with a gate threshold found by trial."""
    for threshold in GATE_THRESHOLDS:
        model.set_gate_threshold(threshold)
        output = synthesize(model, batch)
        if (output.stopped & (output.steps >= MIN_STEPS_TO_CUT)).any():
            return output
    raise AssertionError(f"no item ends by itself after {MIN_STEPS_TO_CUT} steps or more")


def _check_alignments(alignments: Tensor, steps: Tensor, batch: Batch) -> None:
    """Each valid row [N] is a distribution over the item's own symbols."""
    n_steps, n_tokens = alignments.shape[1:]
    is_valid_shape = n_steps >= int(steps.max()) and n_tokens == batch.text.size(1)
    _require(is_valid_shape, f"alignments have shape {list(alignments.shape)}, text {list(batch.text.shape)}")
    is_valid_step = length_mask(steps, n_steps)
    rows = alignments[is_valid_step]
    _require_close(rows.sum(1), torch.ones_like(rows[:, 0]), "sums of the alignments' rows", tolerance=1e-4)
    is_padding = ~length_mask(batch.text_lengths, n_tokens).unsqueeze(1).expand_as(alignments)
    _require(not rows[is_padding[is_valid_step]].any(), "alignments are not zero for padding symbols")
