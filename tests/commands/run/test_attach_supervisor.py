"""Facts of a run that a supervisor starts from."""

from __future__ import annotations

from pathlib import Path

from commands.run.attach_supervisor import run_facts
from tests.support.tiny import GLOW, tiny_hparams, tiny_trainer
from training.knobs import KNOB_BOUNDS
from training.schedule import FALLBACK_GUIDE_WEIGHT


def test_facts_come_from_settings_and_data(tmp_path: Path) -> None:
    hparams = tiny_hparams(gate_positive_weight=5000.0, guide_loss_weight=0, warmup_steps=7)
    trainer, _ = tiny_trainer(tmp_path, hparams)
    facts = run_facts(trainer, hparams, pinned=("guide_sigma",), planned_steps=30)
    assert (facts.steps_per_epoch, facts.planned_steps, facts.warmup_steps, facts.utterances) == (3, 30, 7, 8)
    assert facts.peak_learning_rate == hparams.learning_rate and facts.pinned == ("guide_sigma",)
    assert facts.knobs.keys() == KNOB_BOUNDS.keys() - {"duration_loss_weight"}
    assert facts.knobs["gate_positive_weight"].start == facts.knobs["gate_positive_weight"].high == 5000.0
    assert (facts.knobs["guide_weight_multiplier"].start, facts.knobs["guide_weight_multiplier"].first) == (0.0, 0.25)
    assert {"turn", "roll_back", "restart", "quarantine", "screen"} <= set(facts.actions)
    mean_steps = sum((7, 12, 5, 9, 14, 6, 11, 8)) / 8 / hparams.n_frames_per_step
    assert facts.balanced_gate_weight == mean_steps / 2
    assert facts.n_frames_per_step == hparams.n_frames_per_step
    assert facts.evaluated_utterances == len(trainer.state.data.held_out.examples) > 0
    assert not facts.decay_is_planned
    trainer, _ = tiny_trainer(tmp_path / "decaying", tiny_hparams(decay_start_step=20, decay_half_life_steps=9))
    assert run_facts(trainer, hparams, pinned=(), planned_steps=30).decay_is_planned
    assert not run_facts(trainer, hparams, pinned=(), planned_steps=29).decay_is_planned


def test_a_model_without_gate_and_attention_gets_no_facts_and_knobs_of_them(tmp_path: Path) -> None:
    hparams = tiny_hparams(**GLOW)
    trainer, _ = tiny_trainer(tmp_path, hparams)
    facts = run_facts(trainer, hparams, pinned=(), planned_steps=30)
    assert (facts.alignment_patience_steps, facts.balanced_gate_weight, facts.n_frames_per_step) == (0, None, None)
    assert facts.search_patience_steps == hparams.alignment_patience_steps
    attention_and_gate = {"guide_weight_multiplier", "guide_sigma", "gate_positive_weight", "gate_threshold"}
    assert facts.knobs.keys() == KNOB_BOUNDS.keys() - attention_and_gate


def test_facts_name_settings_that_are_far_from_the_preset(tmp_path: Path) -> None:
    preset = tiny_hparams(learning_rate=1e-3, guide_loss_weight=10, weight_decay=1e-6, warmup_steps=9)
    far = {"learning_rate": 4e-3, "guide_loss_weight": 0, "guide_sigma": 0.1, "weight_decay": 0.5, "warmup_steps": 0}
    changes = far | {
        "grad_clip_thresh": 2.0 * preset.grad_clip_thresh,
        "p_prenet_dropout": preset.p_prenet_dropout + 0.2,
    }
    trainer, _ = tiny_trainer(tmp_path, preset.model_copy(update=changes))
    facts = run_facts(trainer, preset, pinned=(), planned_steps=30)
    presets = {name: knob.preset for name, knob in facts.knobs.items() if knob.preset is not None}
    assert presets == {
        "learning_rate_multiplier": 0.25,
        "guide_weight_multiplier": 10 / FALLBACK_GUIDE_WEIGHT,
        "guide_sigma": preset.guide_sigma,
    }
    assert facts.preset_settings == {"weight_decay": 1e-6, "warmup_steps": 9}
    unchanged, _ = tiny_trainer(tmp_path / "unchanged", preset)
    facts = run_facts(unchanged, preset, pinned=(), planned_steps=30)
    assert not facts.preset_settings and all(knob.preset is None for knob in facts.knobs.values())


def test_the_alignment_prior_is_reset_only_with_the_same_guide(tmp_path: Path) -> None:
    """Its weight for the corpus's alignment would force equal durations on the other guide."""
    preset = tiny_hparams(**GLOW, alignment_prior=5000.0, alignment_guide="corpus")
    for guide, reset in (("corpus", {"alignment_prior": 5000.0}), ("diagonal", {})):
        hparams = preset.model_copy(update={"alignment_prior": 30.0, "alignment_guide": guide})
        trainer, _ = tiny_trainer(tmp_path / guide, hparams)
        assert run_facts(trainer, preset, pinned=(), planned_steps=30).preset_settings == reset


def test_less_weight_decay_than_the_preset_is_not_far_from_it(tmp_path: Path) -> None:
    preset = tiny_hparams(weight_decay=1e-6)
    free, _ = tiny_trainer(tmp_path, preset.model_copy(update={"weight_decay": 0.0}))
    assert not run_facts(free, preset, pinned=(), planned_steps=30).preset_settings
