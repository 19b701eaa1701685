"""Languages: both have a name for every identifier of the journal, and texts with the same placeholders."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from string import Formatter

import numpy as np
import pytest

from files import REPOSITORY
from hparams import HParams
from models import ARCHITECTURES
from monitoring.language import LANGUAGES
from monitoring.language.base import Language, format_number
from monitoring.language.english import ENGLISH
from monitoring.language.russian import RUSSIAN
from monitoring.measures.evaluation import evaluation_signals
from reports import Action
from smart_tuner.phases import FIRST_PHASE
from smart_tuner.settings import Phases
from smart_tuner.treatment.remedy_order import REMEDIES_BY_AILMENT
from tests.monitoring.measures.sample_reports import N_TOKENS, make_decode, make_evaluation
from training.knobs import KNOB_NAMES

BOTH = pytest.mark.parametrize("language", [ENGLISH, RUSSIAN], ids=["en", "ru"])
WATCHDOG_AILMENTS, WATCHDOG_REMEDIES = {"process_died", "no_progress"}, {"restart_process"}


def test_languages_are_found_by_their_codes() -> None:
    assert (LANGUAGES["en"], LANGUAGES["ru"]) == (ENGLISH, RUSSIAN)


@BOTH
def test_every_ailment_and_remedy_has_a_name(language: Language) -> None:
    remedies = {name for remedies in REMEDIES_BY_AILMENT.values() for name in remedies}
    assert set(language.ailments) == set(REMEDIES_BY_AILMENT) | WATCHDOG_AILMENTS
    assert set(language.remedies) == remedies | WATCHDOG_REMEDIES


@BOTH
def test_every_action_phase_and_knob_has_a_name(language: Language) -> None:
    assert set(Action.__args__) - {"enter_phase"} == set(language.actions)  # type: ignore[attr-defined]
    assert set(language.phases) == set(Phases.model_fields) and FIRST_PHASE in language.phases
    assert set(KNOB_NAMES) <= set(language.knobs)
    assert set(language.knobs) <= set(KNOB_NAMES) | set(HParams.model_fields)


def evidence_names() -> set[str]:
    """Keys of all dictionaries called `evidence` in the detectors."""
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
def test_every_signal_and_piece_of_evidence_has_a_name(language: Language) -> None:
    parts = {part for model in ARCHITECTURES.values() for part in ("total_loss", *model.LOSS_PARTS)}
    measures = {name for model in ARCHITECTURES.values() for name in model.MEASURES}
    losses = {f"val_{part}": 1.0 for part in parts}
    without_gate = make_evaluation(decodes=[make_decode(forced_gate=None, durations=np.ones(N_TOKENS))], losses=losses)
    evaluated = {*evaluation_signals(make_evaluation(losses=losses)), *evaluation_signals(without_gate)}
    signals = {*parts, *measures, *evaluated}
    assert len(evidence_names()) > 20
    assert (signals | evidence_names()) - set(language.signals) == set()


@BOTH
def test_no_identifier_has_two_names(language: Language) -> None:
    groups = (language.signals, language.knobs, language.ailments, language.phases)
    assert len({name for group in groups for name in group}) == sum(map(len, groups))


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


def test_both_languages_have_the_same_texts_with_the_same_placeholders() -> None:
    for field in fields(Language):
        in_english, in_russian = getattr(ENGLISH, field.name), getattr(RUSSIAN, field.name)
        assert set(in_english) == set(in_russian), field.name
        for key in in_english:
            assert placeholders(in_english[key]) == placeholders(in_russian[key]), key


@BOTH
def test_no_text_is_in_the_other_language(language: Language) -> None:
    for field in fields(Language):
        for key, text in getattr(language, field.name).items():
            is_russian = any("а" <= letter.lower() <= "я" for letter in text)
            assert is_russian == (language is RUSSIAN) or text.startswith("{") or key == "adam_beta2", (key, text)


def test_every_text_is_used() -> None:
    sources = [path for folder in ("monitoring", "commands") for path in (REPOSITORY / folder).rglob("*.*")]
    outside = [path for path in sources if path.suffix in (".py", ".html") and "language" not in path.parts]
    quoted = set(re.findall(r"""["'](\w+)["']""", "\n".join(path.read_text(encoding="utf-8") for path in outside)))
    built = {f"expected_{direction}" for direction in ("up", "down")} | {"request_done", "request_refused"}
    built |= {f"outcome_{comparison}" for comparison in ("better", "usual", "worse")}
    units = {"seconds", "minutes", "hours"}  # used by the language itself
    assert set(ENGLISH.texts) - quoted <= built | units


@pytest.mark.parametrize(
    ("value", "text"),
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
def test_numbers_are_short(value: object, text: str) -> None:
    assert format_number(value) == text


@pytest.mark.parametrize(("seconds", "text"), [(12, "12 s"), (89, "89 s"), (600, "10 min"), (7260, "2 h 1 min")])
def test_durations_are_short(seconds: float, text: str) -> None:
    assert ENGLISH.format_duration(seconds) == text


def test_an_unknown_identifier_keeps_its_name() -> None:
    assert (ENGLISH.name("fine_tuning"), ENGLISH.name("something_new")) == ("fine-tuning", "something new")
    assert ENGLISH.format_values({"braces{x}": "{y}"}) == "braces{x} {y}"
