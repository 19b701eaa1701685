"""Preparation of a corpus: found or made, recordings turned into mels, transcripts encoded, unusable rows skipped."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from commands.options import TrainOptions
from commands.run.run_folder import make_writable
from commands.run.speakers import select_speakers, with_speaker_names
from corpus.alignment_cache import align_examples
from corpus.audio.speech_level import MAX_SPREAD_DB, measure_level_spread
from corpus.batches import BatchLoader, Example, alignment_problem
from corpus.demo.demo_corpus import make_demo_corpus
from corpus.mel_cache import MelCache
from corpus.text.frontend import TextFrontend, text_frontend, unknown_symbols
from corpus.text.statistics import measure_texts
from corpus.text.text_cache import fill_text_cache
from corpus.utterances import Corpus, SkippedEntry, Utterance, is_held_out, read_corpus, require_usable
from files import hex_digest
from hparams import HParams, UserError
from models import ARCHITECTURES
from monitoring.terminal.task_progress import task_progress
from recipes.facts import CorpusFacts
from speech.decoding import Sentence, encode_sentence
from speech.ordinary_sentences import ordinary_sentences
from speech.plain_texts import plain_texts
from speech.speakers import choose_speaker, speaker_inputs
from training.run_state import TrainingData

SHOWN_SKIPPED = 20


@dataclass(frozen=True, kw_only=True)
class PreparedCorpus:
    """Examples to train and to evaluate on, with the text front end and the mel cache that they need."""

    name: str
    frontend: TextFrontend
    train: tuple[Example, ...]
    held_out: tuple[Example, ...]
    skipped: tuple[SkippedEntry, ...]
    cache: MelCache
    hparams: HParams  # with the names of the speakers
    level_spread_db: float | None  # None: not measured

    def training_data(self, hparams: HParams, sentences: tuple[Sentence, ...]) -> TrainingData:
        evaluated = sorted(self.held_out, key=lambda e: e.utterance.id)[: hparams.evaluation_utterances]
        return TrainingData(
            train=self.loader(self.train, hparams),
            held_out=self.loader(evaluated, hparams),
            sentences=sentences,
            symbols=self.frontend.symbols,
            fingerprint=_batches_digest(self.train, hparams),
            text_statistics=measure_texts(self.train, hparams.hop_length / hparams.sampling_rate),
            plain_sentences=self._plain_sentences(evaluated, hparams),
        )

    def _plain_sentences(self, examples: Sequence[Example], hparams: HParams) -> tuple[Sentence, ...]:
        """Texts as people type them, made of held-out ones, for the first speaker."""
        inputs = speaker_inputs(choose_speaker(None, hparams), hparams)
        texts = plain_texts([example.utterance.text for example in examples])
        return tuple(
            encode_sentence(f"plain-{i}", text, self.frontend, inputs)
            for i, text in enumerate(texts)
            if self.frontend.encode(text)
        )

    def loader(self, examples: Sequence[Example], hparams: HParams) -> BatchLoader:
        """Loader of batches with the inputs that the model of the recipe declares."""
        inputs, marks = ARCHITECTURES[hparams.model].INPUTS, self.frontend.final_marks
        return BatchLoader(examples, hparams, self.cache.mel, inputs, marks)

    def aligned(self, folder: Path, console: Console) -> PreparedCorpus:
        """The same corpus with the alignment of each example; `folder` stores the alignments."""
        examples, n_symbols = (*self.train, *self.held_out), len(self.frontend.symbols)
        with task_progress(console, "aligning transcripts with recordings") as progress:
            aligned = align_examples(examples, self.cache, folder, n_symbols=n_symbols, progress=progress)
        return replace(self, train=tuple(aligned[: len(self.train)]), held_out=tuple(aligned[len(self.train) :]))

    @property
    def facts(self) -> CorpusFacts:
        """Measurements of the training utterances from which recipes follow."""
        frames = [e.n_frames for e in self.train]
        seconds = sum(frames) * self.hparams.hop_length / self.hparams.sampling_rate
        return CorpusFacts(
            utterances=len(frames),
            hours=seconds / 3600,
            mean_frames=sum(frames) / len(frames),
            longest_frames=max(frames),
            frames_per_symbol=sum(frames) / sum(len(e.symbol_ids) for e in self.train),
            speakers=len({e.utterance.speaker for e in self.train}),
            level_spread_db=self.level_spread_db,
            front_end=self.frontend.alphabet,
        )

    @property
    def identity(self) -> str:
        """Digest of utterances, transcripts and split."""
        return hex_digest(repr([[_content(e) for e in examples] for examples in (self.train, self.held_out)]))


def find_corpus(options: TrainOptions, hparams: HParams, demo_texts: Sequence[str] = ()) -> tuple[str, Corpus]:
    """Read the corpus given by --data, or make the demo corpus; return it with a short name.

    Its mels and texts, and the demo corpus itself, will be stored in --output, so that must be writable.
    """
    make_writable(options.output)
    if options.data is None:
        folder = make_demo_corpus(options.output / ".cache", hparams.language, texts=demo_texts)
        return corpus_name(options), read_corpus(str(folder), "filelist")
    return corpus_name(options), read_corpus(options.data, options.data_format)


def corpus_name(options: TrainOptions) -> str:
    """Short name of the corpus, from which the run's name is made."""
    return "demo" if options.data is None else Path(options.data.split(",")[0]).expanduser().resolve().stem


def prepare_corpus(
    options: TrainOptions, hparams: HParams, console: Console, demo_texts: Sequence[str] = ()
) -> PreparedCorpus:
    """Find the corpus and prepare it for training; an unusable recording or transcript is skipped and reported.

    `demo_texts`: those whose words make a demo corpus, in a language without a word list.
    """
    frontend = text_frontend(hparams)
    name, corpus = find_corpus(options, hparams, demo_texts)
    require_usable(corpus)
    hparams, level_spread_db = with_speech_level(hparams, corpus, console)
    cache, workers = MelCache(options.output / ".cache" / "mels", hparams), os.cpu_count() or 1
    with task_progress(console, "reading recordings") as progress:
        unreadable = cache.fill(corpus.utterances, workers, progress)
    unreadable_ids = {skip.where for skip in unreadable}
    utterances = [u for u in corpus.utterances if u.id not in unreadable_ids]
    texts = [u.text for u in utterances]
    with task_progress(console, "reading transcripts") as progress:
        fill_text_cache(frontend, texts, options.output / ".cache", workers=workers, progress=progress)
    _report_unknown_symbols(frontend, utterances, console)
    _report_mixed_speakers(utterances, hparams, console)
    examples, unspeakable = _encode(utterances, frontend, cache)
    examples, too_short = _select_alignable(examples, hparams)
    hparams = with_speaker_names(hparams, without_held_out(examples, hparams.validation_percent))
    examples, unknown_speaker = select_speakers(examples, hparams)
    skipped = (*corpus.skipped, *unreadable, *unspeakable, *too_short, *unknown_speaker)
    report_skipped(skipped, console)
    train, held_out = split(examples, hparams.validation_percent, skipped)
    return PreparedCorpus(
        name=name,
        frontend=frontend,
        train=train,
        held_out=held_out,
        skipped=skipped,
        cache=cache,
        hparams=hparams,
        level_spread_db=level_spread_db,
    )


def with_speech_level(hparams: HParams, corpus: Corpus, console: Console) -> tuple[HParams, float | None]:
    """Decide whether recordings are brought to one level, where the recipe leaves it open; return the spread too."""
    if hparams.speech_level != "auto":
        return hparams, None
    spread = measure_level_spread([utterance.audio_path for utterance in corpus.utterances])
    if spread <= MAX_SPREAD_DB:
        return hparams.model_copy(update={"speech_level": "as_recorded"}), spread
    console.print(f"levels  the recordings differ by {spread:.0f} dB: they are brought to one level", soft_wrap=True)
    return hparams.model_copy(update={"speech_level": "even"}), spread


def _encode(
    utterances: Sequence[Utterance], frontend: TextFrontend, cache: MelCache
) -> tuple[list[Example], list[SkippedEntry]]:
    encoded = [(utterance, tuple(frontend.encode(utterance.text))) for utterance in utterances]
    frontend.normalized_texts.clear()  # of use for these transcripts only
    examples = [Example(utterance, ids, cache.n_frames(utterance)) for utterance, ids in encoded if ids]
    reason = "its transcript holds nothing that can be spoken"
    return examples, [SkippedEntry(utterance.id, reason) for utterance, ids in encoded if not ids]


def _select_alignable(examples: Sequence[Example], hparams: HParams) -> tuple[list[Example], list[SkippedEntry]]:
    problems = [alignment_problem(len(e.symbol_ids), e.n_frames, hparams) for e in examples]
    pairs = list(zip(examples, problems, strict=True))
    skipped = [SkippedEntry(e.utterance.id, problem) for e, problem in pairs if problem is not None]
    return [e for e, problem in pairs if problem is None], skipped


def without_held_out(examples: list[Example], percent: float) -> list[Example]:
    """Leave out the held-out examples: chosen by hash, at least one, if possible of a speaker who has others."""
    if percent == 0 or len(examples) < 2:
        return examples
    held_out = [e for e in examples if is_held_out(e.utterance, percent)]
    if len(held_out) == len(examples):
        held_out = held_out[:1]
    if not held_out:
        count = Counter(e.utterance.speaker for e in examples)
        held_out = [min(examples, key=lambda e: (-count[e.utterance.speaker], hex_digest(e.utterance.id)))]
    held_out_ids = {e.utterance.id for e in held_out}
    return [e for e in examples if e.utterance.id not in held_out_ids]


def split(
    examples: list[Example], percent: float, skipped: tuple[SkippedEntry, ...]
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Split into training and held-out examples; with 0 percent the same examples serve for both."""
    if len(examples) < 2:
        why = f"; the first reason: {skipped[0].where}: {skipped[0].reason}" if skipped else ""
        raise UserError(f"the corpus has {len(examples)} usable utterances, at least 2 are needed{why}")
    if percent == 0:
        return tuple(examples), tuple(examples)
    train = tuple(without_held_out(examples, percent))
    train_ids = {e.utterance.id for e in train}
    return train, tuple(e for e in examples if e.utterance.id not in train_ids)


def sample_sentences(options: TrainOptions, corpus: PreparedCorpus, hparams: HParams) -> tuple[Sentence, ...]:
    """Encode the sentences of --eval_sentences, one a line; with recordings, without them, ordinary sentences."""
    if options.eval_sentences is not None:
        texts = read_lines(options.eval_sentences, "--eval_sentences")
        return encode_samples("own", texts, corpus.frontend, hparams)
    if options.data is None:
        return ()
    recorded = [example.utterance.text for example in corpus.train]
    texts = ordinary_sentences(hparams.language, recorded, hparams.evaluation_samples)
    return encode_samples("ordinary", [t for t in texts if corpus.frontend.encode(t)], corpus.frontend, hparams)


def encode_samples(prefix: str, texts: Sequence[str], frontend: TextFrontend, hparams: HParams) -> tuple[Sentence, ...]:
    """Encode sentences to be spoken at each evaluation; several speakers take turns."""
    speakers: Iterator[str | None] = itertools.cycle(hparams.speakers or (None,))
    return tuple(
        encode_sentence(f"{prefix}-{i:03d}{f'-{name}' if name else ''}", text, frontend, speaker_inputs(name, hparams))
        for i, (text, name) in enumerate(zip(texts, speakers, strict=False))
    )


def read_lines(path: Path, option: str) -> list[str]:
    """Read the non-empty lines of a UTF-8 text file."""
    return [line for line in map(str.strip, read_text(path, option).splitlines()) if line]


def read_text(path: Path, option: str) -> str:
    """Read a UTF-8 text file that is not empty."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{option} {path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{option} {path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    if not text.strip():
        raise UserError(f"{option} {path}: holds no text; write one sentence a line")
    return text


def report_skipped(skipped: tuple[SkippedEntry, ...], console: Console) -> None:
    for skip in skipped[:SHOWN_SKIPPED]:
        console.print(f"skipped {skip.where}: {skip.reason}")
    if len(skipped) > SHOWN_SKIPPED:
        console.print(f"… {len(skipped)} skipped in all; the run's journal lists every one")


def _report_unknown_symbols(frontend: TextFrontend, utterances: list[Utterance], console: Console) -> None:
    for symbol, usage in unknown_symbols(frontend, utterances).items():
        where = ", ".join(usage.utterance_ids)
        console.print(f"symbol {symbol!r} is not in the symbol set: {usage.count} times, in {where}; it is left out")


def _report_mixed_speakers(utterances: list[Utterance], hparams: HParams, console: Console) -> None:
    n_speakers = len({u.speaker for u in utterances if u.speaker})
    if n_speakers > 1 and not hparams.num_speakers:
        console.print(
            f"{n_speakers} speakers: one voice is trained on all of them, a blend; give one speaker's rows, "
            f"or a voice to each: --model glow_tts --hparams num_speakers={n_speakers}"
        )


def _batches_digest(examples: tuple[Example, ...], hparams: HParams) -> str:
    """Digest of everything that decides the order and content of the batches."""
    content = [_content(e) for e in examples]
    return hex_digest(repr((content, hparams.seed, hparams.batch_size, hparams.max_frames_per_batch)))


def _content(example: Example) -> tuple[object, ...]:
    inputs = (values.tolist() for values in example.inputs.values())
    return example.utterance.id, example.symbol_ids, example.n_frames, *inputs
