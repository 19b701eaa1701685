"""Losses and decodes of held-out utterances, measured without any effect on the training."""

from __future__ import annotations

import math
from collections.abc import Sequence

from corpus.batches import Batch, BatchLoader
from hparams import HParams
from models import TrainableModel
from models.interface import FreeRunningOutput, LossKnobs, TeacherForcedOutput
from models.memory import run_in_fitting_parts
from reports import DecodeReport, PlainDecodeReport, SentenceReport
from speech.decode_check import longest_rest
from speech.decoding import Sentence, decode_sentences, device_of, to_numpy
from training.run_state import TrainingData

MAX_DECODE_RATIO = 2
"""Longest decode, as a multiple of the longest recording: one that is longer will not stop, and would take minutes."""

MAX_TEXT_RATIO = 2.1
"""Longest decode of a text, as a multiple of its expected length; twice that length has failed already."""


def evaluate_utterances(
    model: TrainableModel, loader: BatchLoader, hparams: HParams, loss_knobs: LossKnobs
) -> tuple[dict[str, float], list[DecodeReport]]:
    """Mean losses over all utterances (`val_…`) and a report on the decodes of each."""
    results = [
        result
        for indices in _batches_by_length(loader, hparams)
        for result in run_in_fitting_parts(
            indices, lambda some: _evaluate_batch(model, loader, some, hparams, loss_knobs)
        )
    ]
    decodes = [decode for _, reports in results for decode in reports]
    sums: dict[str, float] = {}
    for losses, reports in results:
        for name, value in losses.items():
            sums[f"val_{name}"] = sums.get(f"val_{name}", 0.0) + value * len(reports)
    return {name: total / len(decodes) for name, total in sums.items()}, decodes


def longest_rest_seconds(decodes: Sequence[DecodeReport], hparams: HParams) -> float | None:
    """Longest time for which attention rests on the last symbols of a recording; None without attention."""
    rests = [longest_rest(d.forced_attention) * d.n_frames_per_step for d in decodes if d.forced_gate is not None]
    return max(rests) * hparams.hop_length / hparams.sampling_rate if rests else None


def decode_samples(model: TrainableModel, data: TrainingData, hparams: HParams) -> list[SentenceReport]:
    """Raw decodes of the sentences that a person hears."""
    frames = [*_expected_frames(data.sentences, data, hparams), *(e.n_frames for e in data.held_out.examples)]
    longest_steps = math.ceil(MAX_TEXT_RATIO * max(frames) / model.frames_per_step)
    return decode_sentences(model, data.sentences, hparams.batch_size, max_steps=longest_steps)


def decode_plain_texts(model: TrainableModel, data: TrainingData, hparams: HParams) -> list[PlainDecodeReport]:
    """Raw decodes of texts as people type them, none longer than a failed decode has to be."""
    if not data.plain_sentences or data.text_statistics is None:
        return []
    expected = _expected_frames(data.plain_sentences, data, hparams)
    longest_steps = math.ceil(MAX_TEXT_RATIO * max(expected) / model.frames_per_step)
    decodes = decode_sentences(model, data.plain_sentences, hparams.batch_size, max_steps=longest_steps)
    return [
        PlainDecodeReport(
            text=decode.text, n_frames=decode.free_mel.shape[1], expected_frames=frames, stopped=decode.stopped
        )
        for decode, frames in zip(decodes, expected, strict=True)
    ]


def _expected_frames(sentences: Sequence[Sentence], data: TrainingData, hparams: HParams) -> list[float]:
    """Mel frames of the sentences at the pace of the recordings; none where it is not known."""
    if data.text_statistics is None:
        return []
    frames_per_symbol = data.text_statistics.seconds_per_symbol * hparams.sampling_rate / hparams.hop_length
    return [frames_per_symbol * len(sentence.symbol_ids) for sentence in sentences]


def _evaluate_batch(
    model: TrainableModel, loader: BatchLoader, indices: Sequence[int], hparams: HParams, loss_knobs: LossKnobs
) -> tuple[dict[str, float], list[DecodeReport]]:
    batch = loader.load(indices).to(device_of(model))
    output = model(batch)
    losses = {name: float(value) for name, value in model.losses(output, batch, loss_knobs).parts.items()}
    forced = model.teacher_forced_output(output, batch)
    max_steps = MAX_DECODE_RATIO * -(-batch.mels.size(2) // model.frames_per_step)
    decoded = model.synthesize(batch.text, batch.text_lengths, max_steps, batch.inputs)
    texts = {loader.examples[i].utterance.id: loader.examples[i].utterance.text for i in indices}
    return losses, [
        _decode_report(i, batch, forced, decoded, text=texts[id_], model=model, gate_threshold=hparams.gate_threshold)
        for i, id_ in enumerate(batch.ids)
    ]


def _batches_by_length(loader: BatchLoader, hparams: HParams) -> list[list[int]]:
    order = sorted(range(len(loader.examples)), key=lambda i: loader.examples[i].n_frames)
    longest = max(e.n_frames for e in loader.examples)
    size = max(1, min(hparams.batch_size, hparams.max_frames_per_batch // longest))
    return [order[i : i + size] for i in range(0, len(order), size)]


def _decode_report(
    i: int,
    batch: Batch,
    forced: TeacherForcedOutput,
    decoded: FreeRunningOutput,
    *,
    text: str,
    model: TrainableModel,
    gate_threshold: float,
) -> DecodeReport:
    n_tokens, n_steps = int(batch.text_lengths[i]), int(forced.steps[i])
    forced_mel, forced_attention = map(to_numpy, forced.item(i, n_tokens))
    free_mel, free_attention = map(to_numpy, decoded.item(i, n_tokens))
    return DecodeReport(
        id=batch.ids[i],
        text=text,
        symbol_ids=tuple(batch.text[i, :n_tokens].tolist()),
        forced_attention=forced_attention,
        free_attention=free_attention,
        forced_gate=None if forced.gates is None else forced.gates[i, :n_steps].cpu().numpy(),
        gate_threshold=gate_threshold,
        durations=None if forced.durations is None else to_numpy(forced.durations[i, :n_tokens]),
        n_frames_per_step=model.frames_per_step,
        recorded_mel=to_numpy(batch.mels[i, :, : int(batch.mel_lengths[i])]),
        forced_mel=forced_mel,
        free_mel=free_mel,
        stopped=bool(decoded.stopped[i]),
    )
