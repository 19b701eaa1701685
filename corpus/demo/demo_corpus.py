"""Demo corpus on disk: generated sentences synthesized by espeak-ng, with the true times of their phones and words."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import shutil
import signal
import wave
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing import resource_tracker
from pathlib import Path

from filelock import FileLock

from corpus.demo.sentences import make_sentences
from corpus.text import espeak
from corpus.timings import Timings, write_timings
from files import hex_digest
from hparams import UserError

VERSION = 2
SEED = 1
SPLITS = ("train", "validation")
TRAINING_UTTERANCES = 2_400
VALIDATION_UTTERANCES = 64
PROCESSES = 4  # fixed: espeak-ng's pitch depends on everything that a process has synthesized before
MIN_UTTERANCES_PER_PROCESS = 250


def make_demo_corpus(folder: Path, language: str, size: int = TRAINING_UTTERANCES, texts: Sequence[str] = ()) -> Path:
    """Return the folder of the demo corpus below `folder`; generate it if it is missing or incomplete.

    `size` is the number of training utterances. `train.txt` and `validation.txt` list `wavs/<id>.wav|text`;
    `timings/<id>.json` has the phones and words. The same language and size give the same samples. A second process
    waits for the first. `texts`: those whose words make the sentences, for a language without a word list.
    """
    tag = espeak.require_supported(language)
    if size < 1:
        raise UserError(f"demo corpus: expected at least 1 training utterance, got {size}")
    of_texts = f"-{hex_digest(repr(texts))[:8]}" if texts else ""
    corpus = folder / f"demo-{VERSION}-{tag}-{size}{of_texts}"
    if _is_complete(corpus, size):
        return corpus
    training, validation = make_sentences(tag, training=size, validation=VALIDATION_UTTERANCES, seed=SEED, texts=texts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{corpus.name}.lock"):
            if not _is_complete(corpus, size):
                _generate(corpus, tag, {"train": training, "validation": validation})
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"demo corpus: cannot be written to {corpus} ({reason}): choose another --output") from error
    return corpus


def timings_path(audio_path: Path) -> Path:
    return audio_path.parent.parent / "timings" / f"{audio_path.stem}.json"


def _is_complete(corpus: Path, size: int) -> bool:
    """Whether all files have their full length; the manifest, written last, states the number of bytes."""
    try:
        manifest = json.loads((corpus / "manifest.json").read_text(encoding="utf-8"))
        return bool(manifest["bytes"] == _count_bytes(corpus, size))
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError):
        return False


def _ids(split: str, count: int) -> list[str]:
    return [f"{split}-{number:05d}" for number in range(count)]


def _count_bytes(corpus: Path, size: int) -> int:
    ids = _ids("train", size) + _ids("validation", VALIDATION_UTTERANCES)
    paths = [corpus / "train.txt", corpus / "validation.txt"]
    paths += [path for id_ in ids for path in (_audio_path(corpus, id_), timings_path(_audio_path(corpus, id_)))]
    return sum(path.stat().st_size for path in paths)


def _audio_path(corpus: Path, id_: str) -> Path:
    return corpus / "wavs" / f"{id_}.wav"


def _generate(corpus: Path, language: str, texts: dict[str, list[str]]) -> None:
    """Generate the corpus in a temporary folder, then rename it; remove temporary folders of killed processes first."""
    for abandoned in corpus.parent.glob(f".{corpus.name}.*.partial"):
        shutil.rmtree(abandoned, ignore_errors=True)  # a worker of the killed process may still be writing to it
    partial = corpus.with_name(f".{corpus.name}.{os.getpid()}.partial")
    (partial / "wavs").mkdir(parents=True)
    (partial / "timings").mkdir()
    for split in SPLITS:
        rows = zip(_ids(split, len(texts[split])), texts[split], strict=True)
        lines = [f"wavs/{id_}.wav|{text}\n" for id_, text in rows]
        (partial / f"{split}.txt").write_text("".join(lines), encoding="utf-8")
    _synthesize_in_processes(partial, language, sum(map(len, texts.values())))
    manifest = {"version": VERSION, "language": language, "bytes": _count_bytes(partial, len(texts["train"]))}
    (partial / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    if corpus.exists():
        shutil.rmtree(corpus)
    os.replace(partial, corpus)


def _synthesize_in_processes(corpus: Path, language: str, n_utterances: int) -> None:
    """Have workers read the lists themselves: a pool may wait for ever for a dead one to take a long task (3.11)."""
    processes = min(PROCESSES, math.ceil(n_utterances / MIN_UTTERANCES_PER_PROCESS))
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        tasks = []
        with _delayed_interrupts():  # for ever in the workers, which inherit it: Ctrl-C is for this process to handle
            for first in range(processes):
                executor = stack.enter_context(ProcessPoolExecutor(1, mp_context=context))
                tasks.append(executor.submit(_synthesize_share, corpus, language, first, processes))
            stack.push(_terminate_workers_on_error)  # before a delayed interrupt arrives
        for task in tasks:
            task.result()


def _terminate_workers_on_error(kind: type[BaseException] | None, *_: object) -> None:
    """Exit callback that runs before the pools are left, which would wait for the end of all tasks."""
    if kind is not None:
        for process in multiprocessing.active_children():
            process.terminate()


@contextmanager
def _delayed_interrupts() -> Iterator[None]:
    """Block Ctrl-C, which then arrives at the end."""
    resource_tracker.ensure_running()  # its start, if left to the first worker's, would let Ctrl-C through again
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)


def _synthesize_share(corpus: Path, language: str, first: int, step: int) -> None:
    lines = [line for split in SPLITS for line in (corpus / f"{split}.txt").read_text(encoding="utf-8").splitlines()]
    for line in lines[first::step]:
        file_name, text = line.split("|", 1)
        speech = espeak.synthesize(text, language)
        path = corpus / file_name
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(speech.audio.itemsize)
            file.setframerate(speech.sampling_rate)
            file.writeframes(speech.audio.astype("<i2").tobytes())
        write_timings(timings_path(path), Timings(speech.phones, speech.words))
