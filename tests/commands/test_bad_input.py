"""Bad input: a single clip costs only itself, by name and reason; anything else ends with exit 2 and one clear line."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from string import ascii_lowercase

import numpy as np
import pytest
import soundfile
import torch

from commands.data import check
from corpus.utterances import read_corpus
from models.checkpoint_file import load_checkpoint
from tests.commands.program import RATE, Program, good_clips, journal, losses, newest, tiny, tone, write_metadata
from tests.tiny import GLOW

Maker = Callable[[Path], object]


def _header_only(path: Path) -> None:
    soundfile.write(path, np.zeros(0), RATE)


def _truncated(path: Path) -> None:
    soundfile.write(path, tone(1.0), RATE)
    path.write_bytes(path.read_bytes()[:20_000])


def _with_nan(path: Path) -> None:
    wave = tone(1.0)
    wave[100] = np.nan
    soundfile.write(path, wave, RATE, subtype="FLOAT")


def _no_audio(path: Path) -> None:
    path.write_bytes(b"this is a text, whatever its name says" * 50)


BAD_CLIPS: dict[str, tuple[Maker, str]] = {
    "zero_length": (lambda path: path.write_bytes(b""), "not readable"),
    "header_only": (_header_only, "empty"),
    "truncated": (_truncated, "truncated"),
    "no_audio": (_no_audio, "not readable"),
    "nan": (_with_nan, "NaN"),
    "silence": (lambda path: soundfile.write(path, np.zeros(RATE), RATE), "silence"),
    "minute": (lambda path: soundfile.write(path, tone(60.0), RATE), "too long"),
    "blink": (lambda path: soundfile.write(path, tone(0.1), RATE), "too short"),
}
BAD_ROWS = {
    "absent": ("absent|no such recording", "no audio file"),
    "no_text": ("good0b|", "empty"),
    "unknown_only": ("good1b|☃☃☃", "nothing that can be spoken"),
    "broken": ("just words without a bar", "columns"),
    "twice": ("good0|the same id again", "duplicate id 'good0'"),
}
GOOD_CLIPS: dict[str, Maker] = {
    "eight_bit": lambda path: soundfile.write(path, tone(1.0), RATE, subtype="PCM_U8"),
    "twenty_four_bit": lambda path: soundfile.write(path, tone(1.0), RATE, subtype="PCM_24"),
    "float": lambda path: soundfile.write(path, tone(1.0), RATE, subtype="FLOAT"),
    "stereo": lambda path: soundfile.write(path, np.stack([tone(1.0)] * 2, axis=1), RATE),
    "8_khz": lambda path: soundfile.write(path, tone(1.0, 8_000), 8_000),
    "96_khz": lambda path: soundfile.write(path, tone(1.0, 96_000), 96_000),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "recordings"


def test_speakers_that_cannot_be_told_apart_are_refused(program: Program, folder: Path) -> None:
    write_metadata(folder, good_clips(folder, 2))
    program("--data", folder, "--hparams", "num_speakers=2").refused("tacotron2 has one voice")
    several = ("--model", "glow_tts", "--hparams")
    program("--data", folder, *several, "num_speakers=2").refused("names no speakers; leave it at 0")
    program("--data", folder, *several, "num_speakers=1,speakers=a;b").refused(
        "different names, num_speakers=1 at most"
    )


def test_what_a_flow_cannot_align_costs_only_itself(program: Program, folder: Path) -> None:
    texts = good_clips(folder, 14)
    texts["good0"] = "far too much to say in a second " * 3
    write_metadata(folder, texts)
    glow = {name: value for name, value in GLOW.items() if name != "model"}
    outcome = program("--data", folder, "--run_name", "run", "--model", "glow_tts", "--max_steps", 1, *tiny(**glow))
    assert outcome.code == 0, outcome.err
    (told,) = journal(program.output / "run", "skipped")
    assert told["utterance"] == "good0" and "glow_tts needs a frame for each" in told["reason"]


def test_bad_clips_are_named_and_training_goes_on(program: Program, folder: Path) -> None:
    texts = good_clips(folder, 14)  # more than half: from fewer the check advises against training
    for i, (name, (make, _)) in enumerate(BAD_CLIPS.items()):
        make(folder / "wavs" / f"{name}.wav")
        texts[name] = f"bad words number {ascii_lowercase[i]}"
    for name in ("good0b", "good1b"):
        soundfile.write(folder / "wavs" / f"{name}.wav", tone(1.0), RATE)
    write_metadata(folder, texts, *[row for row, _ in BAD_ROWS.values()])
    outcome = program.train(folder, "--max_steps", 1)
    assert outcome.code == 0, outcome.err
    reasons = {record["utterance"]: record["reason"] for record in journal(program.output / "run", "skipped")}
    first_bad_row = len(texts) + 1
    expected = {name: reason for name, (_, reason) in BAD_CLIPS.items()}
    expected |= {
        "good1b" if name == "unknown_only" else f"metadata.csv:{first_bad_row + i}": reason
        for i, (name, (_, reason)) in enumerate(BAD_ROWS.items())
    }
    assert reasons.keys() == expected.keys()
    for name, reason in expected.items():
        assert reason in reasons[name], name
        assert f"skipped {name}: {reasons[name]}" in outcome.out
    checked = program("--mode", "check", "--data", folder)
    assert checked.code == check.EXIT_GO
    for name in expected:
        assert name in checked.out


def test_every_ordinary_kind_of_recording_is_used(program: Program, folder: Path) -> None:
    texts = good_clips(folder)
    for i, (name, make) in enumerate(GOOD_CLIPS.items()):
        make(folder / "wavs" / f"{name}.wav")
        texts[name] = f"more words number {ascii_lowercase[i]}"
    write_metadata(folder, texts)
    outcome = program.train(folder, "--max_steps", 1, validation_percent=0)
    assert f"{len(texts)} utterances to train on" in outcome.out
    assert "0 skipped" in outcome.out


@pytest.mark.parametrize("start", ["\ufeff", ""])
@pytest.mark.parametrize("line_end", ["\r\n", "\n"])
def test_marks_and_line_ends_of_other_systems_are_read(folder: Path, start: str, line_end: str) -> None:
    texts = good_clips(folder)
    content = start + line_end.join(f"{id_}|{text}" for id_, text in texts.items()) + line_end
    (folder / "metadata.csv").write_bytes(content.encode())
    corpus = read_corpus(str(folder), "auto")
    assert {u.id: u.text for u in corpus.utterances} == texts
    assert not corpus.skipped


def _write(content: bytes) -> Maker:
    return lambda folder: (folder / "metadata.csv").write_bytes(content)


def _one_clip(folder: Path) -> None:
    write_metadata(folder, {"good0": "the only one"})


def _absent_files(folder: Path) -> None:
    write_metadata(folder, {f"absent{i}": "some words" for i in range(4)})


def _all_silent(folder: Path) -> None:
    for path in (folder / "wavs").iterdir():
        soundfile.write(path, np.zeros(RATE), RATE)
    write_metadata(folder, {f"good{i}": "some words" for i in range(4)})


def _all_unknown(folder: Path) -> None:
    write_metadata(folder, {f"good{i}": "☃☃" for i in range(4)})


BAD_CORPORA: dict[str, tuple[Maker, str]] = {
    "missing": (shutil.rmtree, "no such file or folder"),
    "without_metadata": (lambda folder: None, "found no metadata"),
    "empty_metadata": (_write(b""), "is empty"),
    "blank_metadata": (_write(b"\n \n"), "is empty"),
    "latin_1": (_write("good0|caf\xe9\n".encode("latin-1") * 3), r"metadata.csv:1: expected UTF-8"),
    "binary": (_write(bytes(range(256))), "UTF-8"),
    "one_clip": (_one_clip, "at least 2"),
    "absent_files": (_absent_files, "at least 2.*no audio file"),
    "silent": (_all_silent, "at least 2.*silence"),
    "unknown": (_all_unknown, "at least 2.*nothing that can be spoken"),
}


@pytest.mark.parametrize("name", BAD_CORPORA)
def test_a_hopeless_corpus_is_refused(program: Program, folder: Path, name: str) -> None:
    spoil, message = BAD_CORPORA[name]
    good_clips(folder)
    spoil(folder)
    program.train(folder).refused(message)
    assert not (program.output / "run" / "checkpoints").exists()
    assert program("--mode", "check", "--data", folder).code == check.EXIT_NO_GO


BAD_COMMANDS: dict[str, tuple[list[str], str]] = {
    "no_data": (["--data", ""], "--data is empty"),
    "language": (["--language", "klingonese"], "klingonese"),
    "batch_size": (["--batch_size", "0"], "batch_size"),
    "learning_rate": (["--learning_rate", "-1"], "learning_rate"),
    "learning_rate_text": (["--learning_rate", "fast"], "learning_rate"),
    "seed": (["--seed", "x"], "seed"),
    "unknown_hparam": (["--hparams", "lerning_rate=1"], "lerning_rate.*learning_rate"),
    "ill_typed_hparam": (["--hparams", "epochs=many"], "epochs"),
    "hparam_without_value": (["--hparams", "epochs"], "NAME=VALUE"),
    "nan_hparam": (["--hparams", "learning_rate=nan"], "learning_rate"),
    "two_at_once": (["--hparams", "batch_size=0,learning_rate=-1"], "batch_size.*learning_rate"),
    "model": (["--model", "wavenet"], "wavenet.*tacotron2|tacotron2.*wavenet"),
    "preset": (["--preset", "huge"], "huge.*full"),
    "data_format": (["--data_format", "xml"], "xml.*ljspeech"),
    "mode": (["--mode", "tarin"], "tarin.*train"),
    "unknown_option": (["--lerning_rate", "1"], "--lerning_rate.*--help"),
    "max_steps": (["--max_steps", "0"], "at least 1"),
    "max_steps_text": (["--max_steps", "ten"], "ten"),
    "max_minutes": (["--max_minutes", "0"], "more than 0"),
    "max_minutes_nan": (["--max_minutes", "nan"], "more than 0"),
    "run_name": (["--run_name", "../escape"], "run_name"),
    "config": (["--config", "no/such.yaml"], "no/such.yaml"),
    "resume": (["--resume", "no/such/run"], "no/such/run"),
    "warm_start": (["--warm_start", "no/such.pt"], "no/such.pt"),
    "mlflow_uri": (["--mlflow_uri", "server"], "mlflow.uri.*http://"),
    "mlflow_uri_torn": (["--mlflow_uri", "http://[::1"], "mlflow.uri"),
    "eval_sentences": (["--eval_sentences", "no/such.txt"], "no/such.txt"),
}


@pytest.mark.parametrize("name", BAD_COMMANDS)
def test_a_wrong_command_is_refused(program: Program, data: Path, name: str) -> None:
    arguments, message = BAD_COMMANDS[name]
    program("--data", data, "--preset", "demo", *arguments).refused(message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"tensorboard: [", "not valid YAML"),
        (b"- a\n- b\n", "name: value"),
        (b"tensorbord: true", "tensorbord"),
        (b"progress_every_seconds: soon", "progress_every_seconds"),
        (b"hparams: {epoch: 3}", "epoch"),
        (b"webhook: {url: example.org}", "webhook.url.*https://"),
        (b"mlflow: server", "mlflow"),
        (b"\xff\xfe\x00", "UTF-8|not valid YAML"),
    ],
)
def test_a_broken_config_is_refused(program: Program, data: Path, tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "config.yaml").write_bytes(content)
    program("--data", data, "--config", tmp_path / "config.yaml").refused(message)


def test_an_unwritable_output_is_refused(program: Program, data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")  # a folder without rights would not stop root
    program.output = tmp_path / "file" / "logs"
    program.train(data).refused("cannot be written.*--output")


class _RunsCode:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return Path.touch, (Path("code-has-run"),)  # type: ignore[return-value]


def _write_checkpoint(kind: str, good: Path, path: Path) -> None:
    match kind:
        case "truncated":
            path.write_bytes(good.read_bytes()[:-5_000])
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_bytes(b"no checkpoint at all")
        case "code":
            torch.save({"state_dict": _RunsCode()}, path)
        case "bare_code":
            path.write_bytes(pickle.dumps(_RunsCode()))
        case "other_dictionary":
            torch.save({"weights": torch.zeros(3)}, path)
        case "list":
            torch.save([torch.zeros(3)], path)
        case "foreign_of_another_model":
            torch.save({"state_dict": {"encoder.weight": torch.zeros(3)}, "iteration": 3}, path)
        case "not_a_number":
            weights = load_checkpoint(good)["model"]
            weights["embedding.weight"][0, 0] = float("nan")
            torch.save({"state_dict": weights, "iteration": 3}, path)
        case "own_not_a_number":
            state = load_checkpoint(good)
            state["model"]["embedding.weight"][0, 0] = float("nan")
            torch.save(state, path)
        case "lost_weight":
            state = load_checkpoint(good)
            state["model"].pop("embedding.weight")
            torch.save(state, path)


BAD_CHECKPOINTS = {
    "truncated": "not a readable checkpoint",
    "empty": "not a readable checkpoint",
    "text": "not a readable checkpoint",
    "code": "not a readable checkpoint",
    "bare_code": "not a readable checkpoint",
    "other_dictionary": "holds no",
    "list": "expected a dictionary",
    "foreign_of_another_model": "another model",
    "not_a_number": r"not all weights are numbers \(embedding.weight\)",
    "own_not_a_number": r"not all weights are numbers \(embedding.weight\)",
    "lost_weight": "another model",
}


@pytest.mark.parametrize("kind", BAD_CHECKPOINTS)
def test_a_useless_checkpoint_is_refused(
    program: Program, data: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    _write_checkpoint(kind, newest(run), tmp_path / "given.pt")
    program.train(data, "--resume", tmp_path / "given.pt", run="other").refused(BAD_CHECKPOINTS[kind])
    assert not (program.output / "other").exists()
    voice = program("--mode", "validate", "--resume", tmp_path / "given.pt", "--data", data)
    assert voice.code == 2 and len(voice.err.splitlines()) == 1
    if "not_a_number" in kind:
        program.train(data, "--warm_start", tmp_path / "given.pt", run="other").refused(BAD_CHECKPOINTS[kind])
    assert not (tmp_path / "code-has-run").exists()


@pytest.mark.parametrize("hparams", [None, [1], "x"])
def test_a_warm_start_takes_weights_whatever_lies_beside_them(
    program: Program, data: Path, run: Path, tmp_path: Path, hparams: object
) -> None:
    torch.save({"state_dict": load_checkpoint(newest(run))["model"], "hparams": hparams}, tmp_path / "given.pt")
    outcome = program.train(data, "--warm_start", tmp_path / "given.pt", "--max_steps", 1, run="other")
    assert outcome.code == 0, outcome.err


@pytest.mark.parametrize("part", ["optimizer", "random", "knobs", "data_fingerprint"])
def test_a_checkpoint_that_lost_a_part_speaks_but_does_not_train_on(
    program: Program, data: Path, run: Path, tmp_path: Path, part: str
) -> None:
    state = load_checkpoint(newest(run))
    del state[part]
    torch.save(state, tmp_path / "given.pt")
    program.train(data, "--resume", tmp_path / "given.pt", run="other").refused(f"holds no {part}")
    assert not (program.output / "other").exists()
    assert program("--mode", "validate", "--resume", tmp_path / "given.pt", "--data", data).code == 0


def test_a_checkpoint_of_another_format_is_refused(program: Program, data: Path, run: Path, tmp_path: Path) -> None:
    torch.save(load_checkpoint(newest(run)) | {"schema_version": 99}, tmp_path / "given.pt")
    program.train(data, "--resume", tmp_path / "given.pt", run="other").refused("format 99")


def test_a_refusal_leaves_a_folder_of_the_person_alone(program: Program, data: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    program("--data", data, "--preset", "demo", "--resume", tmp_path / "mine").refused("no usable checkpoint")
    assert (tmp_path / "mine").is_dir()


@pytest.mark.parametrize("resume", ["auto", "run"])
def test_a_damaged_newest_checkpoint_costs_only_its_interval(
    program: Program, data: Path, run: Path, resume: str
) -> None:
    program.trained(data, epochs=4)
    before = losses(run)
    damaged = newest(run)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    program.trained(data, "--resume", run if resume == "run" else "auto", epochs=4)
    assert journal(run, "resumed")[-1]["step"] == 4
    assert losses(run) == before


def test_a_run_of_only_damaged_checkpoints_is_refused(program: Program, data: Path, run: Path) -> None:
    for path in (run / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    program.train(data).refused("checksum")
