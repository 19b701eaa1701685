"""Both languages have words for everything that a journal can name, with the same places for values."""

from __future__ import annotations

import ast
from dataclasses import fields
from string import Formatter

import numpy as np
import pytest

from files import REPOSITORY
from hparams import HParams
from models import ARCHITECTURES
from monitoring.language.base import Words, number, words_of
from monitoring.measures.evaluation import evaluation_signals
from reports import Action
from smart_tuner.phases import FIRST_PHASE
from smart_tuner.settings import Phases
from smart_tuner.treatment.policy import REMEDIES_BY_AILMENT
from tests.monitoring.measures.sample_reports import N_TOKENS, make_decode, make_evaluation
from training.knobs import KNOB_NAMES

ENGLISH, RUSSIAN = words_of("en"), words_of("ru")
BOTH = pytest.mark.parametrize("words", [ENGLISH, RUSSIAN], ids=["en", "ru"])
OF_THE_WATCHDOG = {"process_died", "no_progress"}


@BOTH
def test_every_ailment_and_remedy_has_a_name(words: Words) -> None:
    assert set(words.ailments) == set(REMEDIES_BY_AILMENT) | OF_THE_WATCHDOG
    assert set(words.remedies) == {name for ladder in REMEDIES_BY_AILMENT.values() for name in ladder} | {
        "restart_process"
    }


@BOTH
def test_every_action_phase_and_knob_has_a_name(words: Words) -> None:
    assert set(Action.__args__) - {"enter_phase"} == set(words.actions)  # type: ignore[attr-defined]
    assert set(words.phases) == set(Phases.model_fields) and FIRST_PHASE in words.phases
    assert set(KNOB_NAMES) <= set(words.knobs)
    assert set(words.knobs) <= set(KNOB_NAMES) | set(HParams.model_fields)


def evidence_names() -> set[str]:
    """The names in all dictionaries called evidence in the detectors."""
    names = set()
    for path in (REPOSITORY / "smart_tuner" / "detectors").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "evidence":
                names |= {key.value for key in ast.walk(node.slice) if isinstance(key, ast.Constant)}
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
                keys = {key.value for key in node.value.keys if isinstance(key, ast.Constant)}
                names |= keys if ast.unparse(node.targets[0]) == "evidence" else set()
    return {str(name) for name in names}


@BOTH
def test_every_signal_and_piece_of_evidence_has_a_name(words: Words) -> None:
    parts = {part for model in ARCHITECTURES.values() for part in ("total_loss", *model.LOSS_PARTS)}
    measures = {name for model in ARCHITECTURES.values() for name in model.MEASURES}
    losses = {f"val_{part}": 1.0 for part in parts}
    without_gate = make_evaluation(decodes=[make_decode(forced_gate=None, durations=np.ones(N_TOKENS))], losses=losses)
    signals = {
        *parts,
        *measures,
        *evaluation_signals(make_evaluation(losses=losses)),
        *evaluation_signals(without_gate),
    }
    assert len(evidence_names()) > 20
    assert (signals | evidence_names()) - set(words.signals) == set()


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


def test_both_languages_say_the_same_things() -> None:
    for field in fields(Words):
        english, russian = getattr(ENGLISH, field.name), getattr(RUSSIAN, field.name)
        assert set(english) == set(russian), field.name
        for name in english:
            assert places(english[name]) == places(russian[name]), name


@BOTH
def test_nothing_is_said_in_the_other_language(words: Words) -> None:
    for field in fields(Words):
        for name, text in getattr(words, field.name).items():
            is_russian = any("а" <= letter.lower() <= "я" for letter in text)
            assert is_russian == (words is RUSSIAN) or text.startswith("{") or name == "adam_beta2", (name, text)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "–"),
        (3, "3"),
        (0.5, "0.5"),
        (1234.5, "1,234"),
        (0.0, "0"),
        (1e-5, "1.00e-05"),
        (2e6, "2.00e+06"),
        ("x", "x"),
    ],
)
def test_numbers_are_short(value: object, said: str) -> None:
    assert number(value) == said


@pytest.mark.parametrize(("seconds", "said"), [(12, "12 s"), (89, "89 s"), (600, "10 min"), (7260, "2 h 1 min")])
def test_durations_are_short(seconds: float, said: str) -> None:
    assert ENGLISH.duration(seconds) == said


def test_what_nobody_has_named_keeps_its_name() -> None:
    assert ENGLISH.name("something_new") == "something new"
    assert ENGLISH.values({"braces{x}": "{y}"}) == "braces{x} {y}"
