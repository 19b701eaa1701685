from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from corpus.batches import Axis, Batch, BatchLoader, Example, collate, epoch_order, prefetch
from corpus.utterances import Utterance
from hparams import HParams
from tests.support.tiny import tiny_examples, tiny_hparams, tiny_mel

LENGTHS = [int(n) for n in np.random.default_rng(5).integers(20, 400, 100)]
EXAMPLES = tiny_examples(LENGTHS)
HPARAMS = tiny_hparams(batch_size=8, max_frames_per_batch=1600)


def order(epoch: int = 0, **changes: Any) -> list[list[int]]:
    return epoch_order(EXAMPLES, tiny_hparams(batch_size=8, max_frames_per_batch=1600, **changes), epoch)


def padding_share(batches: list[list[int]]) -> float:
    padded = sum(max(LENGTHS[i] for i in batch) * len(batch) for batch in batches)
    return 1 - sum(LENGTHS) / padded


def batch_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("batches")]


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    assert order(3) == order(3)
    assert order(3) != order(4)
    assert order(3) != order(3, seed=9)


def test_examples_share_their_batch_with_others_in_another_epoch() -> None:
    batches_of_epoch = [{frozenset(batch) for batch in order(epoch)} for epoch in (0, 1)]
    assert len(batches_of_epoch[0] & batches_of_epoch[1]) < len(batches_of_epoch[0]) / 2


@pytest.mark.parametrize("epoch", range(5))
def test_every_utterance_is_used_once_per_epoch(epoch: int) -> None:
    assert sorted(i for batch in order(epoch) for i in batch) == list(range(len(EXAMPLES)))


@pytest.mark.parametrize("epoch", range(5))
def test_no_batch_exceeds_its_size_or_its_frame_budget(epoch: int) -> None:
    batches = order(epoch)
    frames = [max(LENGTHS[i] for i in batch) * len(batch) for batch in batches]
    assert max(len(batch) for batch in batches) == 8
    assert 1200 < max(frames) <= 1600


def test_an_utterance_above_the_budget_has_its_own_batch() -> None:
    examples = tiny_examples([150, 20, 160, 30])
    batches = epoch_order(examples, tiny_hparams(max_frames_per_batch=100), 0)
    assert sorted(sorted(batch) for batch in batches) == [[0], [1, 3], [2]]


def test_a_batch_has_similar_lengths() -> None:
    shuffled = np.random.default_rng(0).permutation(len(LENGTHS)).tolist()
    random_share = padding_share([shuffled[i : i + 8] for i in range(0, len(shuffled), 8)])
    assert padding_share(order()) < 0.15 < random_share / 2


def test_the_batches_are_not_sorted_by_length() -> None:
    longest = [max(LENGTHS[i] for i in batch) for batch in order()]
    assert abs(np.corrcoef(longest, range(len(longest)))[0, 1]) < 0.6


def test_no_examples_make_no_batches() -> None:
    assert epoch_order([], HPARAMS, 0) == []


def test_collate_pads_with_zeros_and_puts_the_longest_text_first() -> None:
    examples = [
        Example(Utterance("u0-3", EXAMPLES[0].utterance.audio_path, "x"), (1, 2), 3),
        Example(Utterance("u1-2", EXAMPLES[0].utterance.audio_path, "y"), (4, 5, 6), 2),
    ]
    mels = [tiny_mel(e.utterance) for e in examples]
    batch = collate(examples, mels)
    assert batch.ids == ("u1-2", "u0-3")
    assert batch.text.tolist() == [[4, 5, 6], [1, 2, 0]] and batch.text_lengths.tolist() == [3, 2]
    assert batch.mel_lengths.tolist() == [2, 3] and batch.mels.shape == (2, 6, 3)
    assert np.array_equal(batch.mels[1], mels[0]) and np.array_equal(batch.mels[0, :, :2], mels[1])
    assert (batch.mels[0, :, 2] == 0).all()
    assert (batch.mels.dtype, batch.text.dtype) == (torch.float32, torch.int64)
    assert batch.to(torch.device("cpu")).ids == batch.ids


AXES: dict[str, Axis] = {"speakers": "utterance", "pitch": "token", "teacher": "frame"}


def with_inputs(example: Example, speaker: int) -> Example:
    """An example with a further input along each axis; its numbers count upwards from 1."""
    inputs = {
        "speakers": np.array(speaker),
        "pitch": np.arange(1.0, 1 + len(example.symbol_ids), dtype=np.float32),
        "teacher": np.arange(1.0, 1 + 2 * example.n_frames, dtype=np.float32).reshape(2, -1),
    }
    return replace(example, inputs=inputs)


def assert_own_inputs(batch: Batch, examples: list[Example]) -> None:
    """Each row of the batch holds the inputs of its own example, and zeros beyond its length."""
    by_id = {example.utterance.id: example for example in examples}
    n_rows, n_tokens = batch.text.shape
    assert batch.inputs["pitch"].shape == (n_rows, n_tokens)
    assert batch.inputs["teacher"].shape == (n_rows, 2, batch.mels.shape[2])
    for row, example in enumerate(by_id[id_] for id_ in batch.ids):
        assert batch.inputs["speakers"][row] == example.inputs["speakers"]
        for name, length in (("pitch", len(example.symbol_ids)), ("teacher", example.n_frames)):
            padded = batch.inputs[name][row]
            assert np.array_equal(padded[..., :length], example.inputs[name]) and (padded[..., length:] == 0).all()


def test_further_inputs_follow_their_axis_into_a_batch_and_its_parts() -> None:
    examples = [with_inputs(example, i) for i, example in enumerate(tiny_examples([3, 9, 6]))]
    batch = collate(examples, [tiny_mel(e.utterance) for e in examples], axes=AXES)
    assert batch.inputs["speakers"].tolist() == [1, 2, 0] and batch.inputs["speakers"].dtype == torch.int64
    last_rows = batch.rows([1, 2])
    for part in (batch, batch.to(torch.device("cpu")), batch.rows([0]), last_rows, last_rows.rows([1])):
        assert_own_inputs(part, examples)


def test_further_inputs_are_split_among_ranks() -> None:
    examples = [with_inputs(example, i) for i, example in enumerate(tiny_examples([3, 9, 6, 4]))]
    loader = BatchLoader(examples, HPARAMS, tiny_mel, AXES)
    loader.n_ranks = 2
    batch = loader.load_for_ranks([0, 1, 2, 3], 0)
    assert batch.rank_indices == ((0, 2), (1, 3))
    assert_own_inputs(batch, examples)
    assert_own_inputs(loader.load(batch.rank_indices[1]), examples)


def test_an_input_that_does_not_fit_its_axis_is_refused() -> None:
    example = with_inputs(tiny_examples([9])[0], 0)
    wrong = replace(example, inputs={**example.inputs, "pitch": np.zeros(2)})
    with pytest.raises(ValueError, match="broadcast"):
        collate([wrong], [tiny_mel(wrong.utterance)], axes=AXES)
    with pytest.raises(KeyError, match="pitch"):
        collate([example], [tiny_mel(example.utterance)], axes={"speakers": "utterance"})


def loader(load_mel: Callable[[Utterance], np.ndarray] = tiny_mel) -> BatchLoader:
    return BatchLoader(EXAMPLES, HPARAMS, load_mel)


def test_an_epoch_loads_the_batches_of_its_order() -> None:
    batches = list(loader().epoch(2))
    assert loader().n_batches(2) == len(batches)
    expected = [{EXAMPLES[i].utterance.id for i in indices} for indices in order(2)]
    assert [set(batch.ids) for batch in batches] == expected
    assert batch_threads() == []


@pytest.mark.parametrize("start", [0, 1, 7, 10_000])
def test_resuming_in_the_middle_gives_the_same_rest(start: int) -> None:
    all_batches = list(loader().epoch(1))
    rest = list(loader().epoch(1, start=start))
    assert [batch.ids for batch in rest] == [batch.ids for batch in all_batches[start:]]
    assert all(torch.equal(a.mels, b.mels) for a, b in zip(rest, all_batches[start:], strict=True))


def test_an_error_while_loading_reaches_the_reader_after_the_batches_before_it() -> None:
    def load(number: int) -> Batch:
        if number == 2:
            raise OSError("the disk is gone")
        return collate(EXAMPLES[:1], [tiny_mel(EXAMPLES[0].utterance)])

    batches = prefetch(partial(load, number) for number in range(5))
    assert len(next(batches).ids) == len(next(batches).ids) == 1
    with pytest.raises(OSError, match="the disk is gone"):
        next(batches)
    assert batch_threads() == []


def test_closing_early_ends_the_threads_and_loads_nothing_more() -> None:
    loaded: list[int] = []

    def load(number: int) -> Batch:
        loaded.append(number)
        if number > 0:
            time.sleep(0.1)
        return collate(EXAMPLES[:1], [tiny_mel(EXAMPLES[0].utterance)])

    batches = prefetch((partial(load, number) for number in range(50)), depth=10)
    next(batches)
    assert batch_threads()
    batches.close()
    assert batch_threads() == []
    assert len(loaded) <= 5


def test_an_iterator_that_was_never_read_can_be_closed() -> None:
    loader().epoch(0).close()
    assert batch_threads() == []


def test_batches_are_loaded_while_the_reader_is_busy_but_only_a_few_ahead() -> None:
    started: list[int] = []
    second_started = threading.Event()

    def load(number: int) -> Batch:
        started.append(number)
        if number >= 3:
            second_started.set()
        return collate(EXAMPLES[:1], [tiny_mel(EXAMPLES[0].utterance)])

    def loads() -> Iterator[Callable[[], Batch]]:
        return (partial(load, number) for number in range(50))

    batches = prefetch(loads(), depth=3)
    next(batches)
    assert second_started.wait(30)
    assert len(started) <= 4
    batches.close()


def ids_by_number(epoch: int) -> list[set[str]]:
    return [{EXAMPLES[i].utterance.id for i in indices} for indices in order(epoch)]


@pytest.mark.parametrize("start", [0, 3])
def test_a_batch_has_its_number_in_the_epoch(start: int) -> None:
    numbers = [batch.number for batch in loader().epoch(1, start=start)]
    assert numbers == list(range(start, loader().n_batches(1)))


def test_batches_for_a_gpu_are_loaded_into_pinned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    copies: list[Tensor] = []

    def pin(x: Tensor) -> Tensor:
        """Real pinning needs a GPU."""
        copies.append(x.clone())
        return copies[-1]

    monkeypatch.setattr(Tensor, "pin_memory", pin)
    batches = loader()
    batches.pins_memory = True
    batch = next(batches.epoch(0))
    for x in (batch.text, batch.text_lengths, batch.mels, batch.mel_lengths):
        assert any(x is copy for copy in copies)


def test_quarantined_utterances_are_left_out_and_batches_keep_their_numbers() -> None:
    batch_loader = loader()
    ids_of_batches = ids_by_number(1)
    batch_loader.quarantined |= {min(ids_of_batches[2]), min(ids_of_batches[5])} | ids_of_batches[4]
    batches = list(batch_loader.epoch(1))
    assert {batch.number: set(batch.ids) for batch in batches} == {
        number: ids - batch_loader.quarantined for number, ids in enumerate(ids_of_batches) if number != 4
    }
    assert batch_loader.n_batches(1) == len(ids_of_batches)


def test_skipped_batches_are_left_out_of_their_own_epoch_only() -> None:
    batch_loader = loader()
    batch_loader.skipped_batches |= {(1, 0), (1, 3), (2, 1)}
    n = batch_loader.n_batches(1)
    assert [batch.number for batch in batch_loader.epoch(1)] == [k for k in range(n) if k not in (0, 3)]
    assert [batch.number for batch in batch_loader.epoch(1, start=3)] == list(range(4, n))
    assert [batch.number for batch in batch_loader.epoch(3)] == list(range(batch_loader.n_batches(3)))


def test_an_epoch_may_be_empty() -> None:
    batch_loader = loader()
    assert batch_loader.has_utterances
    batch_loader.quarantined |= {example.utterance.id for example in EXAMPLES[1:]}
    assert batch_loader.has_utterances
    assert [batch.ids for batch in batch_loader.epoch(0)] == [(EXAMPLES[0].utterance.id,)]
    batch_loader.quarantined.add(EXAMPLES[0].utterance.id)
    assert not batch_loader.has_utterances and list(batch_loader.epoch(0)) == []
    assert batch_threads() == []


@pytest.mark.parametrize("n_threads", [2, 5])
def test_several_threads_keep_the_order_of_the_loads(n_threads: int) -> None:
    """The first load of each pair waits until the second one is done."""
    second_done = [threading.Event() for _ in range(20)]

    def load(number: int) -> Batch:
        if number % 2:
            second_done[number // 2].set()
        else:
            assert second_done[number // 2].wait(30)
        return collate(EXAMPLES[:1], [tiny_mel(EXAMPLES[0].utterance)], number)

    batches = list(prefetch((partial(load, number) for number in range(40)), n_threads=n_threads))
    assert [batch.number for batch in batches] == list(range(40))
    assert batch_threads() == []


def test_a_loader_with_more_threads_loads_the_same() -> None:
    one, three = loader(), loader()
    three.n_threads = 3
    pairs = zip(one.epoch(1), three.epoch(1), strict=True)
    assert all(a.ids == b.ids and torch.equal(a.mels, b.mels) and a.number == b.number for a, b in pairs)


MARKS = frozenset({8, 9})


def plain_loader(share: float, seed: int = 1) -> BatchLoader:
    hparams = HParams(plain_text_share=share, seed=seed, batch_size=4, validation_percent=0)
    ids = (3, 4, 8, 5, 9, 8)
    examples = [
        Example(Utterance(f"u{i}", Path(f"{i}.wav"), "x"), ids, 12, durations=np.array([1, 2, 2, 3, 2, 2]))
        for i in range(200)
    ]
    return BatchLoader(examples, hparams, lambda utterance: np.zeros((2, 12), np.float32), final_marks=MARKS)


def lengths(loader: BatchLoader, epoch: int | None) -> list[int]:
    return [int(loader.load([i], epoch=epoch).text_lengths) for i in range(200)]


def test_a_share_of_training_texts_loses_its_final_punctuation() -> None:
    loader = plain_loader(0.25)
    assert set(lengths(loader, 0)) == {6, 4} and 30 <= lengths(loader, 0).count(4) <= 70
    assert lengths(loader, 0) == lengths(plain_loader(0.25), 0)
    assert lengths(loader, 0) != lengths(loader, 1) and lengths(loader, 0) != lengths(plain_loader(0.25, seed=2), 0)
    assert set(lengths(loader, None)) == {6} and set(lengths(plain_loader(0.0), 0)) == {6}


def test_the_time_of_the_punctuation_goes_to_the_symbol_before() -> None:
    batch = plain_loader(1.0).load([0], epoch=0)
    assert batch.text.tolist() == [[3, 4, 8, 5]]
    assert batch.durations is not None and batch.durations.tolist() == [[1, 2, 2, 7]]
    batches = list(plain_loader(1.0).epoch(0))
    assert all(set(batch.text_lengths.tolist()) == {4} for batch in batches)


def test_a_text_of_punctuation_alone_keeps_a_symbol() -> None:
    loader = plain_loader(1.0)
    loader.examples = (Example(Utterance("u", Path("u.wav"), "."), (9, 9), 12),)
    assert loader.load([0], epoch=0).text.tolist() == [[9]]
