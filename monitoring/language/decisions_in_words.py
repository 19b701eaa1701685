"""What the supervisor decided, in one line for a person: what was found, what is done about it, what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

VERDICTS = {"helped": "helped", "no_effect": "had no effect", "harmful": "did harm"}
MOST_NAMED = 3  # utterances


def in_words(kind: str, fields: Mapping[str, Any]) -> str:
    says = {
        "phase": _phase,
        "diagnosis": _diagnosis,
        "proposal": _proposal,
        "intervention": _intervention,
        "follow_up": _follow_up,
    }
    return says[kind](fields)


def _phase(fields: Mapping[str, Any]) -> str:
    return f"{fields['from']} → {fields['to']} ({_listed(fields['signals'])})"


def _diagnosis(fields: Mapping[str, Any]) -> str:
    since = f" since step {fields['since']}" if "since" in fields else ""  # the watchdog knows of no steps
    found = f"{fields['ailment']} ({fields['severity']}){since}: {_listed(fields['evidence'])}"
    return found + _utterances(fields)


def _intervention(fields: Mapping[str, Any]) -> str:
    if "remedy" not in fields:
        on_its_way = f" on the way to {_plain(fields['on_the_way_to'])}" if "on_the_way_to" in fields else ""
        return f"{_moved(fields)}{on_its_way or ' by a person'}"
    would = "would try " if fields.get("advice") else ""
    expected = fields["expected"]
    return (
        f"{would}{fields['remedy']} for {fields['ailment']}: {_change(fields)}{_utterances(fields)}; "
        f"{expected['signal']} is to go {expected['direction']} by step {expected['by_step']}"
    )


def _proposal(fields: Mapping[str, Any]) -> str:
    return f"#{fields['number']} {_intervention(fields)}; waits for /approve {fields['number']} or /reject"


def _change(fields: Mapping[str, Any]) -> str:
    if "knob" in fields:
        return _moved(fields)
    said = " and ".join([fields["action"], *fields.get("besides", ())])
    said += f" to step {fields['to_step']}" if "to_step" in fields else ""
    settings = {**fields.get("knobs", {}), **fields.get("settings", {})}
    return f"{said} with {_listed(settings)}" if settings else said


def _follow_up(fields: Mapping[str, Any]) -> str:
    remedy = f"{fields['remedy']} for {fields['ailment']}"
    if "superseded_by" in fields:
        return f"{remedy}: not judged, a person has turned a knob meanwhile"
    if "verdict" not in fields:
        return f"{remedy}: too close to call, trained with and without it from step {fields['from_step']}"
    expected, evidence = fields["expected"], fields.get("evidence")
    said = f"{remedy} {VERDICTS[fields['verdict']]}: {expected['signal']} is {_plain(fields['value'])}"
    if evidence is not None:
        said += f" ({_listed(evidence)})"
    elif expected["forecast"] is not None:
        said += f", without it {_plain(expected['forecast'])} was to be expected"
    return f"{said}; undone: {_moved(fields)}" if fields.get("reverted") else said


def _moved(fields: Mapping[str, Any]) -> str:
    return f"{fields['knob']} {_plain(fields['from'])} → {_plain(fields['to'])}"


def _utterances(fields: Mapping[str, Any]) -> str:
    names = fields.get("utterances", ())
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f" [{', '.join(names[:MOST_NAMED])}{more}]" if names else ""


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_plain(value)}" for name, value in values.items())


def _plain(value: object) -> str:
    return "unknown" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)
