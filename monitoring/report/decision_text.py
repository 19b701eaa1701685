"""Text of the supervisor's decisions: diagnoses, interventions, follow-ups."""

from __future__ import annotations

from collections.abc import Sequence

from monitoring.journal.interventions import InterventionEntry
from monitoring.journal.journal import Record
from monitoring.language.base import Language, format_number

MAX_NAMES = 5  # utterances named in one line
ARMS_OF_EARLIER_RACES = 2


def intervention_title(entry: InterventionEntry, language: Language) -> str:
    step = language.text("step", step=entry.step)
    if entry.by == "person":
        return f"{step}: {change_text(entry.record, language)} ({language.text('by_person')})"
    return f"{step}: {remedy_name(entry.record, language)}"


def intervention_lines(entry: InterventionEntry, language: Language) -> list[str]:
    """Evidence, change, expected effect and results of an intervention, a line each."""
    evidence = [diagnosis_line(entry.record, language)] if entry.record.get("evidence") is not None else []
    results = [follow_up_text(record, language) for record in entry.follow_ups]
    return [*evidence, *_intervention_lines(entry.record, language), *results]


def verdict_text(entry: InterventionEntry, language: Language) -> str:
    """Verdict on an intervention; changes by people and by the watchdog are not judged."""
    if entry.is_advice:
        return language.text("advice_only")
    if entry.verdict is None and (entry.by != "supervisor" or entry.is_superseded):
        return language.text("not_judged")
    return language.verdicts[entry.verdict]


def remedy_name(record: Record, language: Language) -> str:
    return language.remedies.get(record["remedy"], record["remedy"])


def diagnosis_line(record: Record, language: Language) -> str:
    return language.text("found", diagnosis=_diagnosis(record, language))


def change_text(record: Record, language: Language) -> str:
    if "knob" in record:
        before, after = format_number(record["from"]), format_number(record["to"])
        return language.text("change", name=language.name(record["knob"]), before=before, after=after)
    if "action" not in record:  # an intervention of the watchdog
        return remedy_name(record, language)
    actions = [record["action"], *record.get("besides", ())]
    text = ", ".join(language.actions.get(action, action) for action in actions)
    if "to_step" in record:
        text = language.text("to_step", change=text, step=record["to_step"])
    settings = {**record.get("knobs", {}), **record.get("settings", {})}
    if settings:
        text = language.text("with_settings", change=text, settings=language.format_values(settings))
    return text


def follow_up_text(record: Record, language: Language) -> str:
    if "superseded_by" in record:
        return language.text("superseded")
    if record.get("check") == "abandoned":
        return language.text("abandoned", step=record["abandoned_at"], n=record["n_steps"])
    if "check" in record:
        return language.text("race", n=record.get("n_arms", ARMS_OF_EARLIER_RACES), step=record["from_step"])
    if "verdict" not in record:
        return language.text("mechanism", step=record["judged_by"], **_signal_value(record, language))
    text = language.text("follow_up", verdict=language.verdicts[record["verdict"]])
    if details := _result_details(record, language):
        text += f"; {details}"
    if record.get("reverted"):
        text += f"; {language.text('reverted', change=change_text(record, language))}"
    return text


def _result_details(record: Record, language: Language) -> str:
    """Values that a verdict rests on."""
    evidence, forecast = record.get("evidence", {}), record["expected"]["forecast"]
    parts = []
    if record["value"] is not None:
        parts.append(language.text("signal_value", **_signal_value(record, language)))
        if forecast is not None and not evidence:
            parts.append(language.text("without_it", value=format_number(forecast)))
    for outcome in evidence.get("outcomes", ()):
        signal, value = language.name(outcome["signal"]), format_number(outcome["value"])
        parts.append(language.text(f"outcome_{outcome['placebo']}", signal=signal, value=value))
    others = {name: value for name, value in evidence.items() if name != "outcomes" and value is not None}
    return ", ".join([*parts, *([language.format_values(others)] if others else [])])


def _signal_value(record: Record, language: Language) -> dict[str, str]:
    return {"signal": language.name(record["expected"]["signal"]), "value": format_number(record["value"])}


def decision_line(kind: str, record: Record, language: Language) -> str:
    """One line about a record of kind phase, diagnosis, proposal, intervention or follow_up."""
    if kind == "phase":
        before, after = language.name(record["from"]), language.name(record["to"])
        return f"{before} → {after} ({language.format_values(record['signals'])})"
    if kind == "diagnosis":
        return ". ".join([_diagnosis(record, language), *_utterance_lines(record, language)])
    if "remedy" not in record:
        return f"{change_text(record, language)} ({_origin_of_turn(record, language)})"
    if kind == "follow_up":
        return f"{_remedy(record, language)}. {follow_up_text(record, language)}"
    if kind == "proposal":
        number, lines = record["number"], _intervention_lines(record, language, "proposed")
        waits = language.text("waits_for_answer", number=number)
        return ". ".join([f"#{number} {_remedy(record, language)}", *lines, waits])
    return ". ".join([_remedy(record, language), *_intervention_lines(record, language)])


def name_list(names: Sequence[str], language: Language) -> str:
    first, n_more = ", ".join(names[:MAX_NAMES]), len(names) - MAX_NAMES
    return language.text("names_and_more", names=first, n=n_more) if n_more > 0 else first


def _diagnosis(record: Record, language: Language) -> str:
    text = f"{language.name(record['ailment'])} ({language.severities[record['severity']]})"
    if "since" in record:  # a diagnosis of the watchdog has no first step
        text += f" {language.text('since', step=record['since'])}"
    evidence = {name: value for name, value in record["evidence"].items() if value is not None}
    return f"{text}: {language.format_values(evidence)}" if evidence else text


def _remedy(record: Record, language: Language) -> str:
    remedy = remedy_name(record, language)
    return f"{remedy} ({language.name(record['ailment'])})" if "ailment" in record else remedy


def _intervention_lines(record: Record, language: Language, key: str = "done") -> list[str]:
    key = "advised" if record.get("advice") else key
    lines = [*_utterance_lines(record, language), language.text(key, change=change_text(record, language))]
    if (expected := record.get("expected")) is not None:
        key = f"expected_{expected['direction']}"
        lines.append(language.text(key, signal=language.name(expected["signal"]), step=expected["by_step"]))
    return lines


def _utterance_lines(record: Record, language: Language) -> list[str]:
    names = record.get("utterances")
    return [language.text("utterances", names=name_list(names, language))] if names else []


def _origin_of_turn(record: Record, language: Language) -> str:
    """A knob is turned without a remedy by a person, or step by step towards its target."""
    if "on_the_way_to" in record:
        return language.text("on_the_way_to", value=format_number(record["on_the_way_to"]))
    return language.text("by_person")
