"""Every architecture satisfies the contract of acoustic models, and models that are broken on purpose do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from corpus.batches import collate
from hparams import HParams, build_hparams
from models import ARCHITECTURES, contract
from models.contract import CHECKS
from models.contract_case import ContractCase
from models.kernels.choice import may_compile
from recipes import RECIPES
from tests.support.tiny import N_MEL, SYMBOLS, tiny_examples, tiny_mel

TINY = {"n_mel_channels": N_MEL, "max_decoder_steps": 24}
SPEAKERS = ("anna", "ben", "cleo")


def contract_case(name: str, **changes: Any) -> ContractCase:
    """The model of the tiny preset, and utterances of 4 to 13 frames."""
    hparams = build_hparams(RECIPES[name].presets["tiny"], {"model": name}, TINY, changes)
    examples = tiny_examples([7, 13, 4, 10])
    batch = collate(examples, [tiny_mel(example.utterance) for example in examples])
    if hparams.num_speakers:
        batch = replace(batch, inputs={"speakers": torch.tensor([0, 2, 1, 0])}, axes={"speakers": "utterance"})
    return ContractCase(ARCHITECTURES[name], hparams, len(SYMBOLS), batch)


CASES = {name: contract_case(name) for name in ARCHITECTURES}
CASES |= {
    f"{name} of several speakers": contract_case(name, num_speakers=len(SPEAKERS), speakers=SPEAKERS)
    for name, architecture in ARCHITECTURES.items()
    if "speakers" in architecture.INPUTS
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_every_architecture_satisfies_the_contract(case: ContractCase, check: Callable[[ContractCase], None]) -> None:
    check(case)


def wrap(model: Any, method: str, change: Callable[[Any], Any]) -> None:
    """Replace a method of one model by one whose result is changed."""
    original = getattr(model, method)
    setattr(model, method, lambda *arguments, **keywords: change(original(*arguments, **keywords)))


def ignore_step_limit(model: Any) -> None:
    original = model.synthesize
    model.synthesize = lambda text, lengths, max_steps=None, inputs=None: original(text, lengths, None, inputs)


def change_weights_in_synthesis(model: Any) -> None:
    wrap(model, "synthesize", lambda output: (next(model.parameters()).data.add_(1e-3), output)[1])


def depend_on_passes_before(model: Any) -> None:
    """State that the state_dict does not hold."""
    model.n_passes = 0

    def count(output: Any) -> Any:
        model.n_passes += model.training
        return output

    wrap(model, "forward", count)
    wrap(model, "synthesize", lambda output: replace(output, mels=output.mels + model.n_passes))


def damage_weights_in_folding(model: Any) -> None:
    model.fold = lambda: [parameter.data.mul_(1.1) for parameter in model.parameters()]


def change_weights_with_the_speed(model: Any) -> None:
    model.set_speed = lambda speed: [parameter.data.mul_(1 + speed) for parameter in model.parameters()]


def take_mel_padding_for_frames(model: Any) -> None:
    original = model.forward
    model.forward = lambda batch: original(
        replace(batch, mel_lengths=torch.full_like(batch.mel_lengths, batch.mels.size(2)))
    )


def take_text_padding_for_symbols(model: Any) -> None:
    original = model.synthesize
    model.synthesize = lambda text, lengths, max_steps=None, inputs=None: original(
        text, torch.full_like(lengths, text.size(1)), max_steps, inputs
    )


def take_no_snapshot(model: Any) -> None:
    model.snapshot, model.restore = list, lambda snapshot: None


BROKEN: dict[str, list[Callable[[Any], None]]] = {
    "check_declarations": [
        lambda model: setattr(model, "SPECTRUM_LOSS", "unknown"),
        lambda model: wrap(model, "measures", lambda _: {"unknown": 1.0}),
        lambda model: wrap(model, "gradient_parts", lambda _: dict.fromkeys("ab", list(model.parameters()))),
    ],
    "check_losses": [
        lambda model: setattr(model, "LOSS_PARTS", (*model.LOSS_PARTS, "unknown")),
        lambda model: setattr(model, "LOSS_KNOBS", ()),
        lambda model: setattr(model, "LOSS_KNOBS", (*model.LOSS_KNOBS, "unknown")),
        lambda model: wrap(model, "losses", lambda losses: losses.detached()),
        lambda model: wrap(model, "losses", lambda losses: replace(losses, total=losses.total * torch.nan)),
        lambda model: wrap(model, "losses", lambda losses: replace(losses, by_utterance=losses.by_utterance.sum())),
    ],
    "check_snapshot": [take_no_snapshot],
    "check_evaluation_has_no_effect": [change_weights_in_synthesis],
    "check_padding": [take_mel_padding_for_frames],
    "check_teacher_forced_output": [
        lambda model: wrap(model, "teacher_forced_output", lambda o: replace(o, alignments=o.alignments * 0.9)),
        lambda model: wrap(model, "teacher_forced_output", lambda o: replace(o, alignments=o.alignments.flip(2))),
        lambda model: wrap(model, "teacher_forced_output", lambda o: replace(o, steps=o.steps + 1)),
        lambda model: setattr(model, "HAS_GATE", not model.HAS_GATE),
    ],
    "check_synthesis": [
        ignore_step_limit,
        take_text_padding_for_symbols,
        lambda model: wrap(model, "synthesize", lambda o: replace(o, alignments=o.alignments * 0.9)),
        lambda model: wrap(
            model, "synthesize", lambda o: replace(o, mel_lengths=o.mel_lengths + model.frames_per_step)
        ),
    ],
    "check_stopping": [
        lambda model: wrap(model, "synthesize", lambda o: replace(o, stopped=torch.ones_like(o.stopped))),
        lambda model: wrap(model, "synthesize", lambda o: replace(o, stopped=torch.zeros_like(o.stopped))),
        ignore_step_limit,
    ],
    "check_speed": [change_weights_with_the_speed],
    "check_folding": [damage_weights_in_folding],
    "check_state_dict": [depend_on_passes_before],
    "check_determinism": [
        lambda model: wrap(model, "synthesize", lambda o: replace(o, mels=o.mels + np.random.default_rng().random())),
    ],
    "check_plain_operations": [
        lambda model: wrap(model, "synthesize", lambda o: replace(o, mels=o.mels + 0.01 * may_compile())),
        lambda model: wrap(model, "losses", lambda o: replace(o, total=o.total * (1 + may_compile()))),
    ],
}


@pytest.mark.parametrize(
    ("name", "breakage"), [(name, breakage) for name in BROKEN for breakage in range(len(BROKEN[name]))]
)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_each_check_fails_for_a_broken_model(architecture: str, name: str, breakage: int) -> None:
    case = CASES[architecture]

    def build(hparams: HParams, n_symbols: int) -> Any:
        model = case.build(hparams, n_symbols)
        BROKEN[name][breakage](model)
        return model

    with pytest.raises(AssertionError):
        getattr(contract, name)(replace(case, build=build))


def test_every_check_has_a_broken_model() -> None:
    assert list(BROKEN) == [check.__name__ for check in CHECKS]
