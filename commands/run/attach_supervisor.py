"""Puts a supervisor beside a trainer: what it is told of the run, and who carries out its orders."""

from __future__ import annotations

from typing import Any

from commands.run.event_publisher import EventPublisher
from hparams import HParams
from smart_tuner.inputs.run_facts import KnobFacts, RunFacts
from smart_tuner.runtime import SupervisorRuntime
from smart_tuner.settings import Settings
from smart_tuner.supervisor import Supervisor
from training.knobs import KNOB_BOUNDS, Knobs
from training.run_state import TrainingData
from training.schedule import base_guide_weight
from training.trainer import EnhancedTrainer

FAR, FAR_SHARE = 3.0, 0.25
SETTINGS_WITHOUT_KNOB = (
    *("warmup_steps", "adam_beta2", "weight_decay", "gate_loss_weight"),
    *(name for name in HParams.model_fields if "dropout" in name),
)
"""They decide how well is learnt, not what: on a new start they may be other ones."""


def facts_of(trainer: EnhancedTrainer, preset: HParams, *, pinned: tuple[str, ...], planned_steps: int) -> RunFacts:
    """What a supervisor is told of this training, and of the preset that its recipe was made from."""
    hparams = trainer.state.hparams
    starts, presets = vars(Knobs.from_hparams(hparams)), preset_knobs(hparams, preset)
    return RunFacts(
        steps_per_evaluation=hparams.iters_per_evaluation,
        steps_per_epoch=trainer.state.data.train.n_batches(0),
        planned_steps=max(1, planned_steps),
        warmup_steps=hparams.warmup_steps,
        alignment_patience_steps=hparams.alignment_patience_steps if trainer.state.model.HAS_ATTENTION else 0,
        peak_learning_rate=hparams.learning_rate,
        balanced_gate_weight=_balanced_gate_weight(trainer.state.data, hparams),
        spectrum_loss=trainer.state.model.SPECTRUM_LOSS,
        log_losses=trainer.state.model.LOG_LOSSES,
        n_frames_per_step=hparams.n_frames_per_step,
        utterances=len(trainer.state.data.train.examples),
        evaluated_utterances=len(trainer.state.data.held_out.examples),
        effective_batch_size=hparams.batch_size,
        knobs={
            name: KnobFacts(
                start=starts[name],
                low=min(bounds.low, starts[name]),
                high=max(bounds.high, starts[name]),
                first=bounds.first,
                preset=presets[name] if are_far(name, presets[name], starts[name]) else None,
            )
            for name, bounds in KNOB_BOUNDS.items()
        },
        preset_settings={
            name: getattr(preset, name)
            for name in SETTINGS_WITHOUT_KNOB
            if are_far(name, getattr(preset, name), getattr(hparams, name))
        },
        pinned=pinned,
        actions=trainer.control.actions,
    )


def are_far(name: str, preset: float, value: float) -> bool:
    """Whether a setting is another one, and not the preset's adapted to a corpus."""
    if name == "weight_decay" and value < preset:
        return False  # decay keeps weights small, and too little of it keeps nothing from being learnt
    if "dropout" in name:
        return abs(preset - value) >= FAR_SHARE
    return preset != value and max(preset, value) >= FAR * min(preset, value)


def preset_knobs(hparams: HParams, preset: HParams) -> dict[str, float]:
    """Where the knobs of this recipe would have to stand for the preset's settings."""
    return vars(Knobs.from_hparams(preset)) | {
        "learning_rate_multiplier": preset.learning_rate / hparams.learning_rate,
        "guide_weight_multiplier": preset.guide_loss_weight / base_guide_weight(hparams),
    }


def _balanced_gate_weight(data: TrainingData, hparams: HParams) -> float:
    """Half as much as the decoder steps of an utterance, of which one is its end: more would end it too early."""
    frames = [example.n_frames for example in data.train.examples]
    return max(1.0, sum(frames) / len(frames) / hparams.n_frames_per_step / 2)


def supervise(
    publisher: EventPublisher, trainer: EnhancedTrainer, facts: RunFacts, settings: Settings, mode: str
) -> SupervisorRuntime:
    """Attach a supervisor that hears of every event and steers the trainer."""
    supervisor = Supervisor(facts, settings, advise=mode == "advise")
    publisher.supervisor = SupervisorRuntime(supervisor, trainer.control, on_decision=publisher.recorder.on_decision)
    return publisher.supervisor


def description(runtime: SupervisorRuntime, trainer: EnhancedTrainer, mode: str) -> dict[str, Any]:
    """All that the decisions to come depend on beside the signals, for the journal."""
    supervisor = runtime.supervisor
    supervisor.state.knobs |= vars(trainer.state.knobs)
    return {
        "mode": mode,
        "facts": supervisor.facts.model_dump(mode="json"),
        "settings": supervisor.settings.model_dump(mode="json", include={"quality_control", "phases", "supervision"}),
        "knobs": dict(vars(trainer.state.knobs)),
    }
