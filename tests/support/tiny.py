"""A recipe, a corpus and an observer so small that a training step takes milliseconds."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from corpus.batches import BatchLoader, Example
from corpus.utterances import Utterance
from hparams import HParams
from models import TrainableModel, build_model
from models.tacotron2.model import Tacotron2
from reports import (
    AbandonedReport,
    ArmReport,
    CheckpointReport,
    EvaluationReport,
    QuarantineReport,
    RaceReport,
    RaceWinner,
    RollbackReport,
    StepReport,
)
from speech.decoding import Sentence
from training.distributed.rank_group import RankGroup
from training.run_state import RunState, TrainingData
from training.step.learner import Learner
from training.trainer import EnhancedTrainer

N_MEL = 6
SYMBOLS = tuple("_abcdefghijk")
RECIPE: dict[str, Any] = {
    "n_mel_channels": N_MEL,
    "symbols_embedding_dim": 8,
    "encoder_embedding_dim": 8,
    "encoder_n_convolutions": 2,
    "decoder_rnn_dim": 12,
    "prenet_dim": 8,
    "attention_rnn_dim": 12,
    "attention_dim": 8,
    "attention_location_n_filters": 3,
    "attention_location_kernel_size": 5,
    "postnet_embedding_dim": 8,
    "postnet_n_convolutions": 3,
    "max_decoder_steps": 12,
    "n_frames_per_step": 2,
    "batch_size": 3,
    "learning_rate": 1e-2,
    "warmup_steps": 0,
    "evaluation_utterances": 3,
}
NO_DROPOUT: dict[str, Any] = {
    f"p_{part}_dropout": 0.0 for part in ("encoder", "prenet", "attention", "decoder", "postnet")
}


GLOW: dict[str, Any] = {
    "model": "glow_tts",
    "hidden_channels_enc": 8,
    "encoder_num_layers": 1,
    "encoder_hidden_channels_ffn": 12,
    "hidden_channels_dp": 8,
    "num_flow_blocks_dec": 2,
    "num_block_layers": 2,
    "hidden_channels_dec": 8,
    "kernel_size_dec": 3,
    "max_decoder_steps": 40,
    "guide_loss_weight": 0.0,
}


def tiny_hparams(**changes: Any) -> HParams:
    return HParams(**{**RECIPE, **changes})


def tiny_model(hparams: HParams, seed: int = 0) -> TrainableModel:
    torch.manual_seed(seed)
    return build_model(hparams, len(SYMBOLS))


def tacotron(owner: EnhancedTrainer | Learner) -> Tacotron2:
    """Their model, known to be that one."""
    model = owner.state.model if isinstance(owner, EnhancedTrainer) else owner.model
    assert isinstance(model, Tacotron2)
    return model


def tiny_mel(utterance: Utterance) -> np.ndarray:
    """[n_mel, frames] log-mel like numbers, a function of the id; the frames are in it: `u03-11` has 11."""
    rng = np.random.default_rng(zlib.crc32(utterance.id.encode()))
    return rng.normal(-2.0, 1.0, (N_MEL, int(utterance.id.split("-")[1]))).astype(np.float32)


def tiny_examples(n_frames: list[int]) -> list[Example]:
    """One for each number of frames, with about half as many symbols."""
    examples = []
    for i, frames in enumerate(n_frames):
        ids = tuple(1 + (i * 5 + k * 3) % (len(SYMBOLS) - 1) for k in range(2 + frames // 2))
        text = "".join(SYMBOLS[k] for k in ids)
        examples.append(Example(Utterance(f"u{i:02d}-{frames}", Path(f"{i}.wav"), text), ids, frames))
    return examples


def tiny_data(hparams: HParams, load_mel: Any = tiny_mel, fingerprint: str = "tiny") -> TrainingData:
    """Eight utterances to train on (three batches an epoch), three held out, one sentence to speak."""
    examples = tiny_examples([7, 12, 5, 9, 14, 6, 11, 8, 10, 13, 4])
    return TrainingData(
        train=BatchLoader(examples[:8], hparams, load_mel),
        held_out=BatchLoader(examples[8:], hparams, tiny_mel),
        sentences=(Sentence("own-000", "abc", (1, 2, 3)),),
        symbols=SYMBOLS,
        fingerprint=fingerprint,
    )


class RecordingObserver:
    """Observer that keeps all reports and returns prepared scores."""

    def __init__(self, scores: dict[int, float | None] | None = None) -> None:
        self.scores = scores or {}
        self.steps: list[StepReport] = []
        self.evaluations: list[EvaluationReport] = []
        self.events: list[str] = []
        self.checkpoints: list[tuple[Path, Path | None]] = []
        self.restored: dict[str, Any] | None = None
        self.rollbacks: list[RollbackReport] = []
        self.abandoned: list[AbandonedReport] = []
        self.returns = False  # to what was left
        self.races: list[list[ArmReport]] = []
        self.winner = 0

    def on_step(self, report: StepReport) -> None:
        self.steps.append(report)
        self.events.append(f"step {report.step}")

    def on_evaluation_start(self) -> None:
        self.events.append("before evaluation")

    def on_evaluation(self, report: EvaluationReport) -> float | None:
        self.evaluations.append(report)
        self.events.append(f"evaluation {report.step}")
        return self.scores.get(report.step)

    def on_save_start(self) -> None:
        self.events.append("before checkpoint")

    def on_checkpoint(self, report: CheckpointReport) -> None:
        self.checkpoints.append((report.latest, report.best))
        self.events.append("after checkpoint")

    def on_rollback(self, report: RollbackReport) -> None:
        self.rollbacks.append(report)
        self.events.append(f"rollback to {report.step}")

    def on_race_step(self) -> None:
        self.events.append("arm step")

    def on_quarantine(self, report: QuarantineReport) -> None:
        self.events.append(f"quarantine {', '.join(report.utterances)}: {report.reason}")

    def on_race(self, report: RaceReport) -> RaceWinner:
        self.races.append(list(report.arms))
        self.events.append(f"race from {report.start_step}")
        return RaceWinner(self.winner, self.scores.get(report.arms[self.winner].evaluation.step))

    def on_abandoned(self, report: AbandonedReport) -> RaceWinner | None:
        self.abandoned.append(report)
        self.events.append(f"tried what was left at {report.start_step}")
        return RaceWinner(0, None) if self.returns else None

    def state_dict(self) -> dict[str, Any]:
        return {"n_steps": len(self.steps)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.restored = state

    @property
    def losses(self) -> list[float | None]:
        return [report.total_loss for report in self.steps]


def tiny_trainer(
    folder: Path,
    hparams: HParams,
    *,
    data: TrainingData | None = None,
    observer: RecordingObserver | None = None,
    rank_group: RankGroup | None = None,
) -> tuple[EnhancedTrainer, RecordingObserver]:
    """A trainer of a fresh model, always the same one, and its observer."""
    observer = observer or RecordingObserver()
    state = RunState(
        tiny_model(hparams),
        data or tiny_data(hparams),
        hparams,
        folder=folder,
        observer=observer,
        device=torch.device("cpu"),
        rank_group=rank_group,
    )
    return EnhancedTrainer(state), observer
