"""A wrong option, settings file or output folder ends with exit code 2 and one line on standard error."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.program import Program

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
    "max_steps_text": (["--max_steps", "ten"], "ten"),
    "max_minutes": (["--max_minutes", "0"], "more than 0"),
    "config": (["--config", "no/such.yaml"], "no/such.yaml"),
    "resume": (["--resume", "no/such/run"], "no/such/run"),
    "warm_start": (["--warm_start", "no/such.pt"], "no/such.pt"),
    "mlflow_uri": (["--mlflow_uri", "server"], "mlflow.uri.*http://"),
    "mlflow_uri_torn": (["--mlflow_uri", "http://[::1"], "mlflow.uri"),
    "eval_sentences": (["--eval_sentences", "no/such.txt"], "no/such.txt"),
}


@pytest.mark.parametrize("name", BAD_COMMANDS)
def test_a_wrong_option_is_refused(program: Program, data: Path, name: str) -> None:
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
