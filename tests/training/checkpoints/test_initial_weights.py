from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hparams import UserError
from models.tacotron2.model import Tacotron2
from reports import TrainerOrder
from tests.support.tiny import tacotron, tiny_hparams
from tests.training.orders import ALL_SAVED, OrderingObserver, trainer_with_orders
from training.checkpoints.initial_weights import FILE_NAME, load_initial_weights, save_initial_weights
from training.run_state import RunLimits


def build_model(seed: int, **changes: int) -> Tacotron2:
    torch.manual_seed(seed)
    return Tacotron2(tiny_hparams(**changes), 20)


def test_stored_weights_are_loaded_and_fresh_ones_stay_random(tmp_path: Path) -> None:
    source, other = build_model(1), build_model(2)
    random = {name: value.clone() for name, value in other.state_dict().items()}
    fresh = next(name for name, value in random.items() if not torch.equal(value, source.state_dict()[name]))
    save_initial_weights(tmp_path, source, fresh=[fresh])
    load_initial_weights(tmp_path, other)
    for name, value in other.state_dict().items():
        assert torch.equal(value, random[name] if name == fresh else source.state_dict()[name]), name


def test_weights_of_another_shape_stay_random(tmp_path: Path) -> None:
    source, wider = build_model(1), build_model(2, n_frames_per_step=4)
    save_initial_weights(tmp_path, source, fresh=[])
    load_initial_weights(tmp_path, wider)
    same = [
        torch.equal(value, source.state_dict()[name])
        for name, value in wider.state_dict().items()
        if value.shape == source.state_dict()[name].shape
    ]
    assert all(same) and len(same) < len(wider.state_dict())


def test_missing_file_loads_nothing_and_damaged_file_is_named(tmp_path: Path) -> None:
    load_initial_weights(tmp_path, build_model(1))
    (tmp_path / FILE_NAME).write_bytes(b"nonsense")
    with pytest.raises(UserError, match=FILE_NAME):
        load_initial_weights(tmp_path, build_model(1))


def test_restart_begins_with_the_stored_weights(tmp_path: Path) -> None:
    observer = OrderingObserver({2: [TrainerOrder("restart", knobs={"learning_rate_multiplier": 1 / 256})]})
    trainer, _ = trainer_with_orders(tmp_path, hparams=tiny_hparams(**ALL_SAVED), observer=observer)
    stored = {name: torch.full_like(value, 0.01) for name, value in trainer.state.model.state_dict().items()}
    initial = trainer.state.model.state_dict()
    trainer.state.model.load_state_dict(
        {name: stored[name] if initial[name].is_floating_point() else initial[name] for name in stored}
    )
    save_initial_weights(tmp_path, trainer.state.model, fresh=[])
    trainer.fit(RunLimits(max_steps=3))
    embedding = tacotron(trainer).embedding.weight
    assert torch.allclose(embedding, torch.full_like(embedding, 0.01), atol=1e-3)
