"""Models of several speakers in training, evaluation and synthesis."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from commands.run.corpus import encode_samples
from corpus.batches import BatchLoader
from corpus.text.frontend import text_frontend
from hparams import HParams
from models import TrainableModel
from models.checkpoint_file import load_checkpoint
from speech.decoding import Sentence, decode_sentences, evaluation_mode
from tests.commands.search.studies import settings
from tests.support.program import RATE, Program, journal, newest, tiny, tone
from tests.support.tiny import GLOW, tiny_examples, tiny_hparams, tiny_mel, tiny_model
from training.evaluation import evaluate_utterances
from training.knobs import Knobs

SEVERAL = {name: value for name, value in GLOW.items() if name != "model"} | {
    "num_speakers": 3,
    "learning_rate": 0.05,
    "warmup_steps": 0,
}


@pytest.fixture
def speakers(tmp_path: Path) -> Path:
    """Corpus of a low voice (bert), a high voice (anna) and one recording without a speaker."""
    rows = []
    for i in range(12):
        name = ("bert", "anna")[i % 2]
        soundfile.write(tmp_path / f"{i}.wav", tone(0.6 + 0.1 * i, seed=i % 2), RATE)
        rows.append(f"{tmp_path / f'{i}.wav'}|good words {'abcdefghijkl'[i]}|{name}")
    soundfile.write(tmp_path / "12.wav", tone(0.7), RATE)
    (tmp_path / "list.txt").write_text("\n".join([*rows, f"{tmp_path / '12.wav'}|no name|"]) + "\n", encoding="utf-8")
    return tmp_path / "list.txt"


def train(program: Program, data: Path, *arguments: object, **changes: object) -> Path:
    options = ("--data", data, "--run_name", "run", "--model", "glow_tts", "--max_steps", 4, *arguments)
    outcome = program(*options, *tiny(**SEVERAL | changes))
    assert outcome.code == 0, outcome.err
    return program.output / "run"


def test_every_speaker_gets_a_voice_that_is_chosen_by_name(program: Program, speakers: Path, tmp_path: Path) -> None:
    run = train(program, speakers)
    assert [r["reason"] for r in journal(run, "skipped")] == ["its speaker, unnamed, is none of the model's"]
    assert load_checkpoint(newest(run))["hparams"]["speakers"] == ["anna", "bert"]
    waves = {}
    for name, given in {"first": (), "anna": ("--speaker", "anna"), "bert": ("--speaker", "bert")}.items():
        out = tmp_path / f"{name}.wav"
        outcome = program("--mode", "synthesize", "--run", run, "--text", "good words", "--out", out, *given)
        assert outcome.code == 0, outcome.err
        waves[name] = out.read_bytes()
    assert waves["first"] == waves["anna"] != waves["bert"]
    unknown = ("--run", run, "--text", "good", "--out", tmp_path / "x.wav", "--speaker", "carl")
    program("--mode", "synthesize", *unknown).refused(
        "speaker carl: not known to this voice; expected one of anna, bert"
    )
    assert program("--mode", "validate", "--run", run).code == 0


def test_resuming_with_other_speakers_is_refused(program: Program, speakers: Path) -> None:
    run = train(program, speakers)
    speakers.write_text(speakers.read_text(encoding="utf-8").replace("|anna", "|zoe"), encoding="utf-8")
    options = ("--data", speakers, "--run_name", "run", "--model", "glow_tts", "--max_steps", 6)
    program(*options, *tiny(**SEVERAL)).refused(
        r"speakers is \['anna', 'bert'\] in the checkpoint, \['bert', 'zoe'\] here"
    )
    assert newest(run).name.startswith("step-00000004-")


def test_only_the_speakers_of_the_setting_are_trained_in_its_order(program: Program, speakers: Path) -> None:
    run = train(program, speakers, speakers="bert")
    assert load_checkpoint(newest(run))["hparams"]["speakers"] == ["bert"]
    assert len(journal(run, "skipped")) == 7
    train(program, speakers, "--run_name", "other", speakers="bert; anna")
    other = newest(program.output / "other")
    assert load_checkpoint(other)["hparams"]["speakers"] == ["bert", "anna"]
    options = ("--data", speakers, "--model", "glow_tts", *tiny(**SEVERAL | {"speakers": "bert;ann"}))
    program(*options).refused("no recordings to train on of ann;")


def test_evaluation_decodes_an_utterance_with_its_own_speaker() -> None:
    hparams = tiny_hparams(**GLOW, num_speakers=2, inference_noise_scale=0.0)
    model, knobs = random_model(hparams), Knobs.from_hparams(hparams).for_losses(1, hparams)
    for speaker in (0, 1):
        inputs = {"speakers": np.array(speaker)}
        (example,) = (replace(example, inputs=inputs) for example in tiny_examples([9]))
        with evaluation_mode(model, 1):
            loader = BatchLoader([example], hparams, tiny_mel, model.INPUTS)
            _, (decode,) = evaluate_utterances(model, loader, hparams, knobs)
            (sentence_report,) = decode_sentences(model, [Sentence("x", "", example.symbol_ids, inputs)], 1)
        n = min(decode.free_mel.shape[1], sentence_report.free_mel.shape[1])  # utterances are cut sooner
        assert np.allclose(decode.free_mel[:, :n], sentence_report.free_mel[:, :n], atol=1e-3)


def test_speaker_names_are_never_used_as_paths_or_html(program: Program, speakers: Path, tmp_path: Path) -> None:
    odd = ("../../odd-speaker", "<script>alert(1)</script>")
    text = speakers.read_text(encoding="utf-8").replace("|anna", f"|{odd[0]}").replace("|bert", f"|{odd[1]}")
    speakers.write_text(text, encoding="utf-8")
    (tmp_path / "own.txt").write_text("good words\ngood words\n", encoding="utf-8")
    run = train(program, speakers, "--eval_sentences", tmp_path / "own.txt", iters_per_evaluation=4)
    program.shown(run)
    assert len(list((run / "samples").glob("*own-00*.wav"))) == 2
    assert not list(tmp_path.parent.glob("odd-speaker*")) and not list(program.output.glob("odd-speaker*"))
    assert "<script>alert" not in (run / "report.html").read_text(encoding="utf-8")
    synthesize = ("--run", run, "--text", "good", "--out", tmp_path / "x.wav", "--speaker", odd[0])
    assert program("--mode", "synthesize", *synthesize).code == 0


def test_the_only_recording_of_a_speaker_is_not_held_out(
    program: Program, speakers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The patched hash holds out nothing, so that one example is chosen, by digest the first."""
    monkeypatch.setattr("commands.run.corpus.is_held_out", lambda utterance, percent: False)
    monkeypatch.setattr("commands.run.corpus.hex_digest", lambda text: text)
    rows = speakers.read_text(encoding="utf-8").splitlines()[:8]
    first = min(rows, key=lambda row: Path(row.split("|")[0]).stem)
    rows[rows.index(first)] = first.rsplit("|", 1)[0] + "|carl"
    speakers.write_text("\n".join(rows) + "\n", encoding="utf-8")
    run = train(program, speakers)
    assert load_checkpoint(newest(run))["hparams"]["speakers"] == ["anna", "bert", "carl"]


def test_a_warm_start_does_not_load_the_embedding_of_other_speakers(
    program: Program, speakers: Path, tmp_path: Path
) -> None:
    first = newest(train(program, speakers))
    assert "emb_g.weight" not in warm(program, speakers, first, "same")
    text = speakers.read_text(encoding="utf-8").replace("|anna", "|zoe")
    (tmp_path / "others.txt").write_text(text, encoding="utf-8")
    assert "emb_g.weight" in warm(program, tmp_path / "others.txt", first, "others")


def warm(program: Program, data: Path, checkpoint: Path, name: str) -> str:
    options = ("--data", data, "--run_name", name, "--model", "glow_tts", "--max_steps", 1)
    outcome = program(*options, "--warm_start", checkpoint, *tiny(**SEVERAL))
    assert outcome.code == 0, outcome.err
    return outcome.flat


def test_a_study_searches_settings_for_several_speakers(program: Program, speakers: Path, tmp_path: Path) -> None:
    space = {"learning_rate": {"times": [0.5, 2]}}
    options = ("--data", speakers, "--run_name", "study", "--n_trials", 1, *settings(tmp_path / "x", space=space))
    outcome = program("--mode", "tune", "--model", "glow_tts", *options, *tiny(**SEVERAL, epochs=400, cpu_threads=1))
    assert outcome.code == 0, (outcome.out, outcome.err)
    trial = program.output / "study" / "trials" / "trial-00000"
    assert journal(trial, "started")[0]["hparams"]["speakers"] == ["anna", "bert"]


def test_more_speakers_than_the_setting_are_refused(program: Program, speakers: Path) -> None:
    options = ("--data", speakers, "--model", "glow_tts")
    program(*options, *tiny(**SEVERAL | {"num_speakers": 1})).refused("the corpus has 2 speakers, anna, bert; set it")


def test_evaluation_sentences_are_spoken_by_the_speakers_in_turns() -> None:
    hparams = HParams(model="glow_tts", num_speakers=2, speakers=("anna", "bert"))
    sentences = encode_samples("own", ["one", "two", "three"], text_frontend(hparams), hparams)
    places = [(s.id, s.inputs["speakers"]) for s in sentences]
    assert places == [("own-000-anna", 0), ("own-001-bert", 1), ("own-002-anna", 0)]


def random_model(hparams: HParams) -> TrainableModel:
    """A model whose output depends on all of its weights, which fresh ones do not."""
    model = tiny_model(hparams).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    return model


def test_a_voice_without_speaker_names_or_with_infinite_output_is_refused(
    program: Program, speakers: Path, tmp_path: Path
) -> None:
    state = load_checkpoint(newest(train(program, speakers)))
    synthesize = ("--mode", "synthesize", "--resume", tmp_path / "x.pt", "--text", "good", "--out", tmp_path / "x.wav")
    torch.save(state | {"hparams": state["hparams"] | {"speakers": []}}, tmp_path / "x.pt")
    program(*synthesize).refused("lacks the names of its 3 speakers")
    state["model"]["decoder.flows.1.weight"].zero_()
    torch.save(state, tmp_path / "x.pt")
    program(*synthesize).refused("this voice produces values that are not finite")


def test_speaker_names_may_be_numbers() -> None:
    assert HParams(model="glow_tts", num_speakers=2, speakers=[7, " anna "]).speakers == ("7", "anna")
    assert HParams(model="glow_tts", num_speakers=2, speakers=7).speakers == ("7",)
