"""Order of remedies: which are tried for each ailment, mildest first."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from reports import TrainerOrder
from smart_tuner.treatment.changed_settings import undo_changed_settings
from smart_tuner.treatment.forks import fork_and_race
from smart_tuner.treatment.knob_remedies import (
    balanced_gate_weight,
    calibrated_gate_threshold,
    healthy_learning_rate,
    stronger_guidance,
    tighter_clip_threshold,
    turn_by,
    turn_to,
    twice_the_batches,
)
from smart_tuner.treatment.remedies import (
    RESET_MOMENTS,
    Remedy,
    finish_with_best,
    for_exploded_signal,
    give_order,
    if_half_formed,
    if_healthy_before,
    if_never_healthy,
    quarantine,
    quarantine_group,
    rerun_step,
    roll_back,
    split_batches,
    stop_hopeless_run,
)
from smart_tuner.treatment.restarts import (
    restart,
    restart_with_balanced_gate,
    restart_with_larger_steps,
    restart_with_preset,
    restart_with_stronger_prior,
)

EARLY_SHARE = 0.3  # of the plan: until then a restart costs little

# Called with the signal that should improve, and its direction:
lower_learning_rate = partial(turn_by, "learning_rate_multiplier", 0.5)
tighter_clipping = partial(turn_to, "grad_clip_thresh", tighter_clip_threshold)
larger_effective_batch = partial(turn_to, "batches_per_update", twice_the_batches)
more_guidance = partial(turn_to, "guide_weight_multiplier", stronger_guidance)
roll_back_slower = partial(roll_back, learning_rate_factor=0.5)
restart_early = partial(restart, until_share=EARLY_SHARE)
restart_slower = partial(restart, learning_rate_factor=0.1)

calibrated_threshold = turn_to("gate_threshold", calibrated_gate_threshold, "gate_accuracy", "up")
healthy_rate = turn_to("learning_rate_multiplier", healthy_learning_rate, "total_loss", "down")
reset_moments = give_order(RESET_MOMENTS, "total_loss", "down")

REMEDIES_BY_AILMENT: dict[str, Mapping[str, Remedy]] = {
    "nonfinite_step": {
        "undo_changed_settings": undo_changed_settings("nonfinite_share", "down"),
        "rerun_step": rerun_step,
        "roll_back": roll_back("nonfinite_share", "down"),
        "roll_back_slower": roll_back_slower("nonfinite_share", "down"),
        "restart": restart("nonfinite_share", "down"),
    },
    "exploding_gradient": {
        "undo_changed_settings": undo_changed_settings("gradient_norm", "down"),
        "tighter_clipping": tighter_clipping("gradient_norm", "down"),
        "lower_learning_rate": lower_learning_rate("gradient_norm", "down"),
        "roll_back": roll_back("gradient_norm", "down"),
        "roll_back_slower": roll_back_slower("gradient_norm", "down"),
        "restart": restart("gradient_norm", "down"),
        "restart_slower": restart_slower("gradient_norm", "down"),
    },
    "vanishing_gradient": {
        "undo_changed_settings": undo_changed_settings("total_loss", "down"),
        "reset_moments": reset_moments,
        "restart": restart("total_loss", "down"),
    },
    "loss_spike": {
        "undo_changed_settings": undo_changed_settings("total_loss", "down"),
        "roll_back": roll_back("total_loss", "down"),
        "roll_back_slower": roll_back_slower("total_loss", "down"),
        "reset_moments": reset_moments,
        "lower_learning_rate": lower_learning_rate("total_loss", "down"),
        "restart": restart("total_loss", "down"),
        "restart_slower": restart_slower("total_loss", "down"),
    },
    "oscillating_loss": {
        "undo_changed_settings": undo_changed_settings("total_loss", "down"),
        "lower_learning_rate": lower_learning_rate("total_loss", "down"),
        "larger_effective_batch": larger_effective_batch("total_loss", "down"),
        "tighter_clipping": turn_by("grad_clip_thresh", 0.5, "total_loss", "down"),
    },
    "exploding_flow": {
        "undo_changed_settings": for_exploded_signal(undo_changed_settings),
        "roll_back": for_exploded_signal(roll_back),
        "roll_back_slower": for_exploded_signal(roll_back_slower),
        "tighter_clipping": for_exploded_signal(tighter_clipping),
        "lower_learning_rate": for_exploded_signal(lower_learning_rate),
        "restart": for_exploded_signal(restart),
        "restart_slower": for_exploded_signal(restart_slower),
    },
    "sawtooth_loss": {
        "undo_changed_settings": undo_changed_settings("nll_loss", "down"),
        "tighter_clipping": tighter_clipping("nll_loss", "down"),
        "lower_learning_rate": lower_learning_rate("nll_loss", "down"),
        "larger_effective_batch": larger_effective_batch("nll_loss", "down"),
        "restart_slower": restart_slower("nll_loss", "down"),
    },
    "collapsed_durations": {
        "undo_changed_settings": undo_changed_settings("length_accuracy", "up"),
        "restart_with_preset": restart_with_preset("length_accuracy", "up"),
        "roll_back": roll_back("length_accuracy", "up"),
        "lower_learning_rate": lower_learning_rate("length_accuracy", "up"),
        "restart": restart("length_accuracy", "up"),
    },
    "overfit_durations": {
        "freeze_durations": turn_to("duration_loss_weight", lambda context: 0.0, "val_duration_loss", "down"),
        "lower_learning_rate": lower_learning_rate("val_duration_loss", "down"),
    },
    "attention_not_forming": {
        "restart_with_preset": restart_with_preset("free_diagonality", "up"),
        "restart_from_half": if_half_formed(restart("free_diagonality", "up", learning_rate_factor=1.0)),
        "more_guidance": more_guidance("free_diagonality", "up"),
        "restart": restart("free_diagonality", "up"),
        "narrower_guidance": turn_by("guide_sigma", 0.5, "free_diagonality", "up"),
        "larger_effective_batch": larger_effective_batch("diagonality", "up"),
        "lower_learning_rate": lower_learning_rate("free_diagonality", "up"),
        "larger_reduction_factor": restart_with_larger_steps,
    },
    "alignment_not_forming": {
        "restart_with_preset": restart_with_preset("free_diagonality", "up"),
        "lower_learning_rate": lower_learning_rate("free_diagonality", "up"),
        "restart_with_stronger_prior": restart_with_stronger_prior,
        "restart": restart("free_diagonality", "up"),
    },
    "attention_lost": {
        "undo_changed_settings": undo_changed_settings("free_diagonality", "up"),
        "roll_back": roll_back("free_diagonality", "up"),
        "restart_with_preset": restart_with_preset("free_diagonality", "up"),
        "more_guidance": more_guidance("free_diagonality", "up"),
        "roll_back_slower": roll_back_slower("free_diagonality", "up"),
        "restart": restart("free_diagonality", "up"),
    },
    "gate_never_fires": {
        "undo_changed_settings": undo_changed_settings("gate_accuracy", "up"),
        "balanced_gate_weight": turn_to("gate_positive_weight", balanced_gate_weight("up"), "gate_overrun", "down"),
        "calibrated_threshold": calibrated_threshold,
        "more_gate_weight": turn_by("gate_positive_weight", 2.0, "gate_accuracy", "up"),
    },
    "premature_stop": {
        "undo_changed_settings": undo_changed_settings("gate_accuracy", "up"),
        "restart_with_balanced_gate": restart_with_balanced_gate,
        "restart_with_preset": restart_with_preset("gate_accuracy", "up"),
        "balanced_gate_weight": turn_to("gate_positive_weight", balanced_gate_weight("down"), "gate_premature", "down"),
        "calibrated_threshold": calibrated_threshold,
        "less_gate_weight": turn_by("gate_positive_weight", 0.5, "gate_accuracy", "up"),
    },
    "settings_far_from_recipe": {"restart_with_preset": restart_with_preset("total_loss", "down")},
    "learning_stopped": {"higher_learning_rate": turn_by("learning_rate_multiplier", 4.0, "val_spectrum_loss", "down")},
    "quality_regressed": {
        "undo_changed_settings": undo_changed_settings("mel_distance", "down"),
        "roll_back_slower": roll_back_slower("mel_distance", "down", skips_data=False),
        "roll_back": roll_back("mel_distance", "down", skips_data=False),
        "finish_with_best": finish_with_best,
    },
    "odd_group": {"quarantine_group": quarantine_group},
    "plateau": {
        "fork_and_race": fork_and_race,
        "lower_learning_rate": lower_learning_rate("val_total_loss", "down"),
    },
    "overfitting": {
        "lower_learning_rate": lower_learning_rate("val_spectrum_loss", "down"),
        "finish_with_best": finish_with_best,
    },
    "learning_rate_too_high": {
        "undo_changed_settings": undo_changed_settings("update_ratio", "down"),
        "restart": if_never_healthy(restart_early("update_ratio", "down")),
        "restart_with_preset": if_never_healthy(restart_with_preset("update_ratio", "down")),
        "roll_back": if_healthy_before(roll_back("total_loss", "down")),
        "healthy_learning_rate": healthy_rate,
        "restart_late": restart("update_ratio", "down"),
    },
    "learning_rate_too_low": {
        "undo_changed_settings": undo_changed_settings("update_ratio", "up"),
        "restart": if_never_healthy(restart_early("update_ratio", "up")),
        "roll_back": roll_back("update_ratio", "up"),
        "reset_moments": if_healthy_before(reset_moments),
        "healthy_learning_rate": if_never_healthy(healthy_rate),
    },
    "bad_utterance": {"quarantine": quarantine},
    "data_starvation": {"fetch_faster": give_order(TrainerOrder("fetch_faster"), "data_wait_share", "down")},
    "out_of_memory": {"split_batches": split_batches},
    "disk_running_full": {
        "keep_fewer_checkpoints": give_order(TrainerOrder("keep_fewer_checkpoints"), "disk_free_bytes", "up")
    },
    "hopeless_run": {"stop": stop_hopeless_run},
}
