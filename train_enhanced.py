"""Smart Tuner's command line: parse, pick the mode, run it."""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

EXIT_FAILED, EXIT_USER_ERROR, EXIT_INTERRUPTED = 1, 2, 130

if __name__ == "__main__":  # from here on Ctrl-C ends it without a traceback; a training saves first
    signal.signal(signal.SIGINT, lambda *_: sys.exit(EXIT_INTERRUPTED))

from hparams import UserError  # noqa: E402

MODES = {
    "train": "train a voice on --data, or on a demo corpus made on the spot",
    "test": "try every component for about a minute and say what is wrong",
    "validate": "evaluate a run's best checkpoint, or --resume CHECKPOINT, on --data",
    "check": "look for what is wrong with a corpus before an hour is lost",
    "tune": "search for better settings in many short trainings: --n_trials, --workers",
    "report": "make report.html of --run from its folder alone",
    "synthesize": "speak --text or --text_file with a trained voice",
}
MODULES = {
    "train": "train",
    "test": "self_test",
    "validate": "voice.validate",
    "check": "data.check",
    "tune": "tune",
    "report": "report",
    "synthesize": "voice.synthesize",
}
FORMATS = ("auto", "ljspeech", "ruslan", "filelist", "csv", "paired")
SUPERVISE = ("on", "advise", "off")
TORCHRUN = ("TORCHELASTIC_RUN_ID", "LOCAL_RANK")
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong with the command in one line instead of printing the whole usage."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; --help lists every option")


def build_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="train_enhanced.py",
        description="Train a text-to-speech voice and walk away.",
        epilog="\n".join(f"  --mode {mode:<11} {what}" for mode, what in MODES.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--mode", choices=MODES, default="train", metavar="MODE", help="one of those below; default: train")
    add("--config", type=Path, default=Path(__file__).with_name("smart_tuner") / "config.yaml", help="settings file")

    corpus = parser.add_argument_group("corpus")
    add = corpus.add_argument
    add("--data", metavar="PATH", help="folder, metadata file or train.txt,val.txt; without: the demo corpus")
    add("--data_format", choices=FORMATS, default="auto", help="default: found out by looking")
    add("--language", metavar="VOICE", help="an espeak-ng voice name; default: en-us")

    recipe = parser.add_argument_group("recipe")
    add = recipe.add_argument
    add("--model", help="architecture; default: tacotron2")
    add("--preset", choices=("tiny", "demo", "small", "full"), help="default: demo without --data, full with")
    add("--epochs", metavar="N", help="passes over the corpus")
    add("--batch_size", metavar="N", help="utterances in a batch at most")
    add("--batch_frames", metavar="N|auto", help="padded frames in a batch at most; auto: what fits into memory")
    add("--learning_rate", metavar="X", help="peak learning rate")
    add("--seed", metavar="N", help="the run is a function of it")
    add("--hparams_file", type=Path, metavar="FILE", help="YAML with values of hparams.py, as a search leaves it")
    add("--hparams", default="", metavar="NAME=VALUE,…", help="any other value of hparams.py")
    add("--pin", default="", metavar="NAME,…", help="knobs that nobody but you may turn")

    _add_run(parser.add_argument_group("run"))
    _add_search(parser.add_argument_group("searching for better settings"))
    _add_speech(parser.add_argument_group("using a voice"))
    return parser


def _add_run(run: argparse._ArgumentGroup) -> None:
    add = run.add_argument
    add("--output", type=Path, default=Path("logs"), help="where the run folders lie; default: logs")
    add("--run_name", metavar="NAME", help="the run's folder there; default: made from corpus, language and model")
    add("--max_minutes", type=float, metavar="X", help="end after this time")
    add("--max_steps", type=int, metavar="N", help="end at this step")
    add("--resume", default="auto", metavar="auto|none|PATH", help="go on from a run folder or a checkpoint")
    add("--warm_start", type=Path, metavar="PATH", help="begin with the weights of a checkpoint that fit")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--eval_sentences", type=Path, metavar="FILE", help="your own sentences, spoken at every evaluation")
    add("--supervise", choices=SUPERVISE, default="on", help="treat what goes wrong, only advise, or neither; on")
    add("--watchdog", choices=("on", "off"), default="on", help="a light parent restarts what dies or hangs; on")
    add("--companion", choices=("on", "off"), default="on", help="a process beside it shows the run everywhere; on")
    add("--quiet", action="store_true", help="say only how it ended")
    add("--mlflow_uri", metavar="URI", help="an MLflow server; default: a file in --output")


def _add_search(search: argparse._ArgumentGroup) -> None:
    add = search.add_argument
    add("--n_trials", type=int, default=20, metavar="N", help="that the study shall have in all; default: 20")
    add("--workers", type=int, default=1, metavar="N", help="trials at the same time on this machine; default: 1")
    add("--storage", metavar="URL", help="postgresql://… for several machines; default: a file in the study's folder")


def _add_speech(speech: argparse._ArgumentGroup) -> None:
    add = speech.add_argument
    add("--run", type=Path, metavar="FOLDER", help="the run to speak with or report on; default: the latest")
    add("--text", help="what to say")
    add("--text_file", type=Path, metavar="FILE", help="what to say, a sentence a line")
    add("--speaker", metavar="NAME", help="who of several; default: the first")
    add("--out", type=Path, help="the .wav to write; a folder for --text_file")
    add("--json", action="store_true", help="validate and check print one JSON object")


def module_of(options: argparse.Namespace) -> str:
    """The module of commands/ that runs the mode; torchrun watches its processes itself."""
    if options.mode == "train" and options.watchdog == "on" and not any(name in os.environ for name in TORCHRUN):
        return "process.watchdog"
    return MODULES[options.mode]


def require_alone(mode: str) -> None:
    if mode != "train" and os.environ.get("WORLD_SIZE", "1") != "1":
        raise UserError(f"--mode {mode} is the work of one process; start it without torchrun, and unset WORLD_SIZE")


def main(arguments: list[str]) -> int:
    """Run one mode and return the exit code."""
    try:
        options = build_parser().parse_args(arguments, argparse.Namespace(arguments=arguments))
        require_alone(options.mode)
        command = importlib.import_module(f"commands.{module_of(options)}")
        return int(command.run(options))
    except UserError as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        return EXIT_USER_ERROR
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        sys.stderr.write(f"error: {error}; make room and run the same command again\n")
        return EXIT_FAILED


if __name__ == "__main__":
    try:
        exit_code = main(sys.argv[1:])
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # clearing away half a second of libraries is not to fail
    sys.exit(exit_code)
