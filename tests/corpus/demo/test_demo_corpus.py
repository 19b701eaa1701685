"""corpus/demo/demo_corpus.py: the demo corpus on disk."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import wave
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from corpus.demo import demo_corpus as demo
from corpus.demo.demo_corpus import make_demo_corpus, timings_path
from corpus.text import espeak
from corpus.timings import align_characters, read_timings
from corpus.utterances import read_corpus
from hparams import UserError

SIZE = 24
TOTAL = SIZE + demo.VALIDATION_UTTERANCES


@pytest.fixture(scope="module")
def english(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo_corpus(tmp_path_factory.mktemp("demo"), "en-us", SIZE)


@pytest.fixture
def copy(english: Path, tmp_path: Path) -> Path:
    """Return a copy that a test may damage."""
    return Path(shutil.copytree(english, tmp_path / english.name))


def read_wave(path: Path) -> tuple[np.ndarray, int]:
    with wave.open(str(path), "rb") as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        return np.frombuffer(file.readframes(file.getnframes()), dtype="<i2"), file.getframerate()


def contents(corpus: Path) -> dict[str, bytes]:
    return {str(path.relative_to(corpus)): path.read_bytes() for path in sorted(corpus.rglob("*.*"))}


def rows(corpus: Path) -> list[tuple[Path, str]]:
    lines = [line for split in ("train", "validation") for line in (corpus / f"{split}.txt").read_text().splitlines()]
    return [(corpus / line.split("|")[0], line.split("|")[1]) for line in lines]


def test_the_folder_name_has_version_language_and_size(english: Path) -> None:
    assert english.name == f"demo-{demo.VERSION}-en-us-{SIZE}"


def test_the_corpus_reads_as_two_lists_with_its_own_split(english: Path) -> None:
    corpus = read_corpus(str(english), "auto")
    assert [utterance.split for utterance in corpus.utterances].count("train") == SIZE
    assert [utterance.split for utterance in corpus.utterances].count("validation") == TOTAL - SIZE
    assert not corpus.skipped
    assert all(utterance.audio_path.is_file() for utterance in corpus.utterances)


def test_recordings_have_plausible_lengths_and_levels(english: Path) -> None:
    for path, _ in rows(english):
        audio, sampling_rate = read_wave(path)
        assert sampling_rate == 22050
        assert 0.5 < len(audio) / sampling_rate < 8
        assert np.abs(audio).max() > 5000


def test_timings_are_ordered_and_audio_outside_them_is_silent(english: Path) -> None:
    for path, _ in rows(english):
        audio, sampling_rate = read_wave(path)
        timings = read_timings(timings_path(path))
        outside = audio.copy()
        for phone in timings.phones:
            outside[round(phone.start_seconds * sampling_rate) : round(phone.end_seconds * sampling_rate)] = 0
        assert not outside.any()
        for labels in (timings.phones, timings.words):
            assert all(0 <= label.start_seconds <= label.end_seconds <= len(audio) / sampling_rate for label in labels)
            assert all(label.end_seconds <= following.start_seconds for label, following in pairwise(labels))


def test_timings_fit_the_text(english: Path) -> None:
    for path, text in rows(english):
        timings, ipa = read_timings(timings_path(path)), espeak.phonemize(text, "en-us")
        assert " ".join(word.label for word in timings.words) == re.sub(r"[.,?!]", "", text)
        assert len(timings.words) == len(ipa.split())
        spans = align_characters(ipa, timings.phones)
        assert all(
            (span is None) == (character in espeak.MARKS + " ") for character, span in zip(ipa, spans, strict=True)
        )


def test_the_same_settings_give_the_same_samples(english: Path, tmp_path: Path) -> None:
    espeak.synthesize("Speech synthesized earlier in this process has no effect.", "en-us")
    assert contents(make_demo_corpus(tmp_path, "EN-US", SIZE)) == contents(english)


def test_a_complete_corpus_is_not_generated_again(english: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in english.parent.rglob("*")}
    assert make_demo_corpus(english.parent, "en-us", SIZE) == english
    assert {path: path.stat().st_mtime_ns for path in english.parent.rglob("*")} == before


def test_a_complete_corpus_needs_no_lock(copy: Path) -> None:
    assert make_demo_corpus(copy.parent, "en-us", SIZE) == copy
    assert list(copy.parent.iterdir()) == [copy]


@pytest.mark.parametrize(
    "damaged", ["wavs/train-00003.wav", "timings/validation-00007.json", "train.txt", "manifest.json"]
)
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_damaged_corpus_is_generated_again(english: Path, copy: Path, damaged: str, damage: str) -> None:
    if damage == "missing":
        (copy / damaged).unlink()
    else:
        (copy / damaged).write_bytes((copy / damaged).read_bytes()[:10])
    make_demo_corpus(copy.parent, "en-us", SIZE)
    assert contents(copy) == contents(english)


GENERATE = (
    "import sys; from pathlib import Path; from corpus.demo.demo_corpus import make_demo_corpus; "
    "make_demo_corpus(Path(sys.argv[1]), 'en-us', {})"
)


def start_generating(folder: Path, size: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", GENERATE.format(size), str(folder)], start_new_session=True)


def test_after_a_kill_the_next_process_removes_the_partial_corpus(tmp_path: Path) -> None:
    process = start_generating(tmp_path, 600)
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob(".*.partial/wavs/*.wav")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not list(tmp_path.glob("demo-*"))
    assert list(tmp_path.glob(".*.partial"))
    corpus = make_demo_corpus(tmp_path, "en-us", 600)
    assert len(rows(corpus)) == 600 + demo.VALIDATION_UTTERANCES
    assert all(path.is_file() for path, _ in rows(corpus))
    assert not list(tmp_path.glob(".*.partial"))


def test_two_processes_at_once_generate_one_corpus(english: Path, tmp_path: Path) -> None:
    processes = [start_generating(tmp_path, SIZE) for _ in range(2)]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    assert contents(tmp_path / english.name) == contents(english)
    assert not list(tmp_path.glob(".*.partial"))


def test_a_process_that_waited_for_another_uses_its_corpus(english: Path, tmp_path: Path) -> None:
    with FileLock(tmp_path / f".{english.name}.lock"):
        process = start_generating(tmp_path, SIZE)
        time.sleep(2)
        made = Path(shutil.copytree(english, tmp_path / english.name)).stat()
    assert process.wait(timeout=300) == 0
    assert (tmp_path / english.name).stat().st_ino == made.st_ino


@pytest.mark.parametrize(("language", "letters"), [("ru", "[а-яё]"), ("de", "[a-zäöüßé]")])
def test_other_languages_have_a_corpus(tmp_path: Path, language: str, letters: str) -> None:
    corpus = make_demo_corpus(tmp_path, language, SIZE)
    assert len(rows(corpus)) == TOTAL
    for path, text in rows(corpus):
        assert re.fullmatch(rf"({letters}+[,.?!]? ?)+", text.lower()), text
        assert len(read_timings(timings_path(path)).phones) > 5


@pytest.mark.parametrize(
    ("language", "size", "message"),
    [("xx", SIZE, "'xx': espeak-ng has no voice"), ("eo", SIZE, "no word list"), ("en-us", 0, "at least 1 .* got 0")],
)
def test_impossible_settings_are_a_user_error_and_create_no_folder(
    tmp_path: Path, language: str, size: int, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        make_demo_corpus(tmp_path / "new", language, size)
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_written_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written to .*choose another --output"):
        make_demo_corpus(tmp_path / "file", "en-us", SIZE)


def test_ctrl_c_ends_the_workers_at_once_and_without_tracebacks(tmp_path: Path) -> None:
    script = tmp_path / "make.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nfrom corpus.demo.demo_corpus import make_demo_corpus\n"
        "if __name__ == '__main__':\n    try:\n        make_demo_corpus(Path(sys.argv[1]), 'en-us', 20_000)\n"
        "    except KeyboardInterrupt:\n        sys.exit(130)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(demo.__file__).parents[2])}
    arguments = [sys.executable, str(script), str(tmp_path)]
    process = subprocess.Popen(arguments, env=environment, start_new_session=True, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not any(tmp_path.glob(".demo-*.partial/timings/*.json")):
        time.sleep(0.05)
    block_interrupts = [_blocks_interrupts(worker) for worker in _children(process.pid)]
    os.killpg(process.pid, signal.SIGINT)
    try:
        assert block_interrupts and all(block_interrupts)
        assert process.communicate(timeout=60)[1] == ""
        assert process.returncode == 130
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _blocks_interrupts(pid: int) -> bool:
    """Whether Ctrl-C does nothing to the process: blocked (SigBlk) or ignored (SigIgn)."""
    rows = dict(line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line[:3] == "Sig")
    return bool((int(rows["SigBlk"], 16) | int(rows["SigIgn"], 16)) & 1 << (signal.SIGINT - 1))


def test_ctrl_c_while_the_workers_start_is_not_lost() -> None:
    is_done = False
    with pytest.raises(KeyboardInterrupt), demo._delayed_interrupts():
        signal.raise_signal(signal.SIGINT)
        is_done = True
    assert is_done


def test_ctrl_c_while_the_workers_start_ends_them_before_their_pools_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool that is left waits for its tasks, which takes minutes."""
    order: list[str] = []

    class InterruptedPool:
        def __init__(self, *_: object, **__: object) -> None: ...

        def __enter__(self) -> InterruptedPool:
            return self

        def __exit__(self, *_: object) -> None:
            order.append("left")

        def submit(self, *_: object) -> None:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(demo, "ProcessPoolExecutor", InterruptedPool)
    monkeypatch.setattr(demo, "_terminate_workers_on_error", lambda kind, *_: order.append(kind.__name__))
    with pytest.raises(KeyboardInterrupt):
        demo._synthesize_in_processes(Path("unused"), "en-us", 2 * demo.MIN_UTTERANCES_PER_PROCESS)
    assert order == ["KeyboardInterrupt", "left", "left"]
