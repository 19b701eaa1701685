from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hparams import UserError
from models.tacotron2.model import Tacotron2
from reports import TrainerOrder
from tests.tiny import tacotron, tiny_hparams
from tests.training.steered import ALL_SAVED, SteeringObserver, steered
from training.checkpoints.initial_weights import FILE_NAME, load_initial_weights, save_initial_weights
from training.run_state import RunLimits


def model(seed: int, **changes: int) -> Tacotron2:
    torch.manual_seed(seed)
    return Tacotron2(tiny_hparams(**changes), 20)


def test_a_new_start_has_the_given_weights_and_draws_the_others_anew(tmp_path: Path) -> None:
    given, other = model(1), model(2)
    drawn = {name: value.clone() for name, value in other.state_dict().items()}
    fresh = next(name for name, value in drawn.items() if not torch.equal(value, given.state_dict()[name]))
    save_initial_weights(tmp_path, given, fresh=[fresh])
    load_initial_weights(tmp_path, other)
    for name, value in other.state_dict().items():
        assert torch.equal(value, drawn[name] if name == fresh else given.state_dict()[name]), name


def test_what_no_longer_fits_is_drawn_anew(tmp_path: Path) -> None:
    given, wider = model(1), model(2, n_frames_per_step=4)
    save_initial_weights(tmp_path, given, fresh=[])
    load_initial_weights(tmp_path, wider)
    same = [
        torch.equal(value, given.state_dict()[name])
        for name, value in wider.state_dict().items()
        if value.shape == given.state_dict()[name].shape
    ]
    assert all(same) and len(same) < len(wider.state_dict())


def test_without_an_origin_nothing_is_loaded_and_a_ruined_one_is_named(tmp_path: Path) -> None:
    load_initial_weights(tmp_path, model(1))
    (tmp_path / FILE_NAME).write_bytes(b"nonsense")
    with pytest.raises(UserError, match=FILE_NAME):
        load_initial_weights(tmp_path, model(1))


def test_a_restarted_training_begins_with_its_origin(tmp_path: Path) -> None:
    observer = SteeringObserver({2: [TrainerOrder("restart", knobs={"learning_rate_multiplier": 1 / 256})]})
    trainer, _ = steered(tmp_path, hparams=tiny_hparams(**ALL_SAVED), observer=observer)
    given = {name: torch.full_like(value, 0.01) for name, value in trainer.state.model.state_dict().items()}
    began = trainer.state.model.state_dict()
    trainer.state.model.load_state_dict(
        {name: given[name] if began[name].is_floating_point() else began[name] for name in given}
    )
    save_initial_weights(tmp_path, trainer.state.model, fresh=[])
    trainer.fit(RunLimits(max_steps=3))
    embedding = tacotron(trainer).embedding.weight
    assert torch.allclose(embedding, torch.full_like(embedding, 0.01), atol=1e-3)
