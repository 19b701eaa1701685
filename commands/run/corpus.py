"""A corpus made ready: found or made, mels cached, texts encoded, what cannot be used named with its reason."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from commands.options import TrainOptions
from commands.run.speakers import strangers, with_speakers
from corpus.batches import BatchLoader, Example, alignment_problem
from corpus.demo.demo_corpus import make_demo_corpus
from corpus.mel_cache import MelCache
from corpus.text.frontend import TextFrontend, text_frontend, unknown_symbols
from corpus.text.text_cache import fill_text_cache
from corpus.utterances import Corpus, SkippedEntry, Utterance, is_held_out, read_corpus, require_usable
from hparams import HParams, UserError
from models import ARCHITECTURES
from speech.decoding import Sentence, encode_sentence
from speech.speakers import speaker_inputs
from training.run_state import TrainingData

SHOWN_SKIPPED = 20


@dataclass(frozen=True)
class PreparedCorpus:
    """What training and evaluation need of a corpus."""

    name: str
    frontend: TextFrontend
    train: tuple[Example, ...]
    held_out: tuple[Example, ...]
    skipped: tuple[SkippedEntry, ...]
    cache: MelCache
    hparams: HParams  # with the names of its speakers

    def training_data(self, hparams: HParams, sentences: tuple[Sentence, ...]) -> TrainingData:
        few = sorted(self.held_out, key=lambda e: e.utterance.id)[: hparams.evaluation_utterances]
        return TrainingData(
            train=self.loader(self.train, hparams),
            held_out=self.loader(few, hparams),
            sentences=sentences,
            symbols=self.frontend.symbols,
            fingerprint=_fingerprint(self.train, hparams),
        )

    def loader(self, examples: Sequence[Example], hparams: HParams) -> BatchLoader:
        """Loader of batches with the inputs that the model of the recipe declares."""
        return BatchLoader(examples, hparams, self.cache.mel, ARCHITECTURES[hparams.model].INPUTS)

    @property
    def identity(self) -> str:
        """The same for the same utterances, transcripts and split."""
        return _digest(repr([[_facts(e) for e in part] for part in (self.train, self.held_out)]))


def find_corpus(options: TrainOptions, hparams: HParams) -> tuple[str, Corpus]:
    """A short name and the corpus: the person's, or the demo made on the spot."""
    if options.data is not None:
        return Path(options.data.split(",")[0]).expanduser().resolve().stem, read_corpus(
            options.data, options.data_format
        )
    folder = make_demo_corpus(options.output / ".cache", hparams.language)
    return "demo", read_corpus(str(folder), "filelist")


def prepare_corpus(options: TrainOptions, hparams: HParams, console: Console) -> PreparedCorpus:
    """Find the corpus and make it ready; whatever is wrong with a single clip only costs that clip."""
    frontend = text_frontend(hparams)
    name, corpus = find_corpus(options, hparams)
    require_usable(corpus)
    workers = os.cpu_count() or 1
    cache = MelCache(options.output / ".cache" / "mels", hparams)
    with shown_progress(console, "reading recordings") as progress:
        unreadable = cache.fill(corpus.utterances, workers, progress)
    lost = {skip.where for skip in unreadable}
    readable = [u for u in corpus.utterances if u.id not in lost]
    texts = [u.text for u in readable]
    with shown_progress(console, "reading transcripts") as progress:
        fill_text_cache(frontend, texts, options.output / ".cache", workers=workers, progress=progress)
    _report_unknown_symbols(frontend, readable, console)
    if (n_speakers := len({u.speaker for u in readable if u.speaker})) > 1 and not hparams.num_speakers:
        console.print(
            f"{n_speakers} speakers: one voice is trained on all of them, a blend; give one speaker's rows, "
            f"or a voice to each: --model glow_tts --hparams num_speakers={n_speakers}"
        )
    encoded = [(u, tuple(frontend.encode(u.text))) for u in readable]
    frontend.normalized_texts.clear()
    speechless = [
        SkippedEntry(u.id, "its transcript holds nothing that can be spoken") for u, ids in encoded if not ids
    ]
    found = [Example(u, ids, cache.n_frames(u)) for u, ids in encoded if ids]
    reasons = {e.utterance.id: alignment_problem(len(e.symbol_ids), e.n_frames, hparams) for e in found}
    aligned = [e for e in found if reasons[e.utterance.id] is None]
    hparams = with_speakers(hparams, to_learn_from(aligned, hparams.validation_percent))
    strange = strangers(aligned, hparams)
    unwanted = {skip.where for skip in strange}
    known = [e for e in aligned if e.utterance.id not in unwanted]
    examples = [replace(e, inputs=speaker_inputs(e.utterance.speaker, hparams)) for e in known]
    hurried = [SkippedEntry(id_, reason) for id_, reason in reasons.items() if reason is not None]
    skipped = (*corpus.skipped, *unreadable, *speechless, *hurried, *strange)
    report_skipped(skipped, console)
    train, held_out = split(examples, hparams.validation_percent, skipped)
    return PreparedCorpus(name, frontend, train, held_out, skipped, cache, hparams)


@contextmanager
def shown_progress(console: Console, what: str) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on a terminal, nothing elsewhere."""
    if not console.is_terminal:
        yield None
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(what)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def to_learn_from(examples: list[Example], percent: float) -> list[Example]:
    """All but what is held out: by hash, or at least one, best of a speaker of whom there are others."""
    if percent == 0 or len(examples) < 2:
        return examples
    held_out = [e for e in examples if is_held_out(e.utterance, percent)]
    if len(held_out) == len(examples):
        held_out = held_out[:1]
    if not held_out:
        count = Counter(e.utterance.speaker for e in examples)
        held_out = [min(examples, key=lambda e: (-count[e.utterance.speaker], _digest(e.utterance.id)))]
    away = {e.utterance.id for e in held_out}
    return [e for e in examples if e.utterance.id not in away]


def split(
    examples: list[Example], percent: float, skipped: tuple[SkippedEntry, ...]
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Training and held-out examples; with 0 percent the voice is evaluated on what it was trained on."""
    if len(examples) < 2:
        why = f"; the first reason: {skipped[0].where}: {skipped[0].reason}" if skipped else ""
        raise UserError(f"the corpus has {len(examples)} usable utterances, at least 2 are needed{why}")
    if percent == 0:
        return tuple(examples), tuple(examples)
    train = tuple(to_learn_from(examples, percent))
    kept = {e.utterance.id for e in train}
    return train, tuple(e for e in examples if e.utterance.id not in kept)


def read_sentences(path: Path | None, frontend: TextFrontend, hparams: HParams) -> tuple[Sentence, ...]:
    """The person's own sentences, one a line; several speakers take turns."""
    if path is None:
        return ()
    lines = read_lines(path, "--eval_sentences")
    if not hparams.speakers:
        return tuple(encode_sentence(f"own-{i:03d}", text, frontend) for i, text in enumerate(lines))
    turns = zip(lines, itertools.cycle(hparams.speakers), strict=False)
    return tuple(
        encode_sentence(f"own-{i:03d}-{name}", text, frontend, speaker_inputs(name, hparams))
        for i, (text, name) in enumerate(turns)
    )


def read_lines(path: Path, option: str) -> list[str]:
    """The non-empty lines of a UTF-8 text file."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except OSError as error:
        raise UserError(f"{option} {path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{option} {path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    if not any(lines):
        raise UserError(f"{option} {path}: holds no text; write one sentence a line")
    return [line for line in lines if line]


def report_skipped(skipped: tuple[SkippedEntry, ...], console: Console) -> None:
    for skip in skipped[:SHOWN_SKIPPED]:
        console.print(f"skipped {skip.where}: {skip.reason}")
    if len(skipped) > SHOWN_SKIPPED:
        console.print(f"… {len(skipped)} skipped in all; --mode check and the journal list every one")


def _report_unknown_symbols(frontend: TextFrontend, utterances: list[Utterance], console: Console) -> None:
    for symbol, found in unknown_symbols(frontend, utterances).items():
        where = ", ".join(found.utterance_ids)
        console.print(f"symbol {symbol!r} is not in the symbol set: {found.count} times, in {where}; it is left out")


def _fingerprint(examples: tuple[Example, ...], hparams: HParams) -> str:
    """Of all that decides the order and content of the batches."""
    order = [_facts(e) for e in examples]
    return _digest(repr((order, hparams.seed, hparams.batch_size, hparams.max_frames_per_batch)))


def _facts(example: Example) -> tuple[object, ...]:
    inputs = (values.tolist() for values in example.inputs.values())
    return example.utterance.id, example.symbol_ids, example.n_frames, *inputs


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
