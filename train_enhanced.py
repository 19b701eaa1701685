"""Smart Tuner's command line: parse, pick the mode, run it."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

if __name__ == "__main__":  # slow imports follow, some of which would swallow an exception; nothing is written yet
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

from commands.options import TrainOptions  # noqa: E402
from commands.process.exit_codes import EXIT_FAILED, EXIT_USER_ERROR  # noqa: E402
from commands.process.heartbeat import VARIABLE as HEARTBEAT  # noqa: E402
from commands.process.openmp_settings import limit_spinning  # noqa: E402
from files import REPOSITORY, is_disk_full  # noqa: E402
from hparams import UserError  # noqa: E402
from recipes import PRESET_NAMES  # noqa: E402

MODES = {
    "train": ("train", "train a voice on --data, or on a demo corpus made on the spot"),
    "test": ("self_test", "try every component, for about a minute in all, and report what is wrong"),
    "validate": ("voice.validate", "evaluate a run's best checkpoint, or --resume CHECKPOINT, on --data"),
    "check": ("data.check", "find problems of a corpus before a training starts"),
    "tune": ("tune", "search for better settings in many short trainings: --n_trials, --workers"),
    "report": ("report", "make report.html of --run from its folder alone"),
    "synthesize": ("voice.synthesize", "speak --text or --text_file with a trained voice"),
}
"""Mode → its module in commands/, and its purpose."""
FORMATS = ("auto", "ljspeech", "ruslan", "filelist", "csv", "paired")
TORCHRUN = ("TORCHELASTIC_RUN_ID", "LOCAL_RANK")


class OneLineParser(argparse.ArgumentParser):
    """Parser that reports a mistake in one line instead of printing the whole usage."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; --help lists every option")


def version() -> str:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["version"])


def parse_options(arguments: Sequence[str]) -> TrainOptions:
    given = build_parser().parse_args(arguments)
    return TrainOptions(**vars(given), arguments=tuple(arguments))


def build_parser() -> argparse.ArgumentParser:
    """Parser of every option; its result holds only what was given, since TrainOptions has the defaults."""
    parser = OneLineParser(
        prog="train_enhanced.py",
        description="Train a text-to-speech voice and walk away.",
        epilog="\n".join(f"  --mode {mode:<11} {purpose}" for mode, (_, purpose) in MODES.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    add = parser.add_argument
    add("--mode", choices=MODES, metavar="MODE", help="one of those listed below; default: train")
    add("--version", action="version", version=f"Smart Tuner {version()}")
    add("--config", type=Path, help="settings file; default: smart_tuner/config.yaml")

    corpus = parser.add_argument_group("corpus")
    add = corpus.add_argument
    add("--data", metavar="PATH", help="folder, metadata file or train.txt,val.txt; without: the demo corpus")
    add("--data_format", choices=FORMATS, help="default: recognised from the files")
    add("--language", metavar="VOICE", help="an espeak-ng voice name; default: en-us")
    add("--lexicon", type=Path, metavar="FILE", help="words said otherwise than written, a line word<TAB>said each")

    recipe = parser.add_argument_group("recipe")
    add = recipe.add_argument
    add("--model", help="architecture; default: tacotron2")
    add(
        "--preset",
        choices=PRESET_NAMES,
        help="default: demo without --data; with it the largest that the time is enough for",
    )
    add("--epochs", type=int, metavar="N", help="passes over the corpus")
    add("--batch_size", type=int, metavar="N", help="utterances in a batch at most")
    add("--batch_frames", type=frame_limit, metavar="N|auto", help="padded frames in a batch; auto: what memory allows")
    add("--learning_rate", type=float, metavar="X", help="peak learning rate")
    add("--seed", type=int, metavar="N", help="the run is a function of it")
    add("--hparams_file", type=Path, metavar="FILE", help="YAML with values of hparams.py, as a search writes it")
    add("--hparams", metavar="NAME=VALUE,…", help="any other value of hparams.py")
    add("--pin", metavar="NAME,…", help="knobs that the supervisor must not turn")

    _add_run(parser.add_argument_group("run"))
    _add_search(parser.add_argument_group("search for better settings"))
    _add_speech(parser.add_argument_group("use of a voice"))
    return parser


def _add_run(run: argparse._ArgumentGroup) -> None:
    add = run.add_argument
    add("--output", type=Path, help="folder that holds the run folders; default: logs")
    add("--run_name", metavar="NAME", help="name of the run's folder; default: made from corpus, language and model")
    add("--max_minutes", type=float, metavar="X", help="stop after this time")
    add("--max_steps", type=int, metavar="N", help="stop at this step")
    add("--resume", metavar="auto|none|PATH", help="continue from a run folder or a checkpoint; default: auto")
    add(
        "--warm_start",
        metavar="auto|espeak|none|PATH",
        help="begin with the weights of a voice, checkpoint or run, or of a base voice that espeak-ng teaches first; "
        "default: auto, which is espeak for less than two hours of recordings",
    )
    add("--device", choices=("auto", "cpu", "cuda"))
    add("--eval_sentences", type=Path, metavar="FILE", help="your own sentences, spoken at every evaluation")
    add("--supervise", choices=("on", "advise", "off"), help="treat problems, only advise, or neither; default: on")
    add("--watchdog", choices=("on", "off"), help="restart a training that crashed or hangs; default: on")
    add("--companion", choices=("on", "off"), help="a second process writes reports and sends messages; default: on")
    add("--quiet", action="store_true", help="print only the result")
    add("--mlflow_uri", metavar="URI", help="an MLflow server; default: a file in --output")


def _add_search(search: argparse._ArgumentGroup) -> None:
    add = search.add_argument
    add("--n_trials", type=int, metavar="N", help="trials that the study has in the end; default: 20")
    add("--workers", type=int, metavar="N", help="trials at the same time on this machine; default: 1")
    add("--storage", metavar="URL", help="postgresql://… for several machines; default: a file in the study's folder")


def _add_speech(speech: argparse._ArgumentGroup) -> None:
    add = speech.add_argument
    add("--run", type=Path, metavar="FOLDER", help="the run to speak with or report on; default: the latest")
    add("--text", help="text to speak")
    add("--text_file", type=Path, metavar="FILE", help="text to speak; with --out FOLDER/ each line becomes a sound")
    add("--speaker", metavar="NAME", help="one of a voice's several speakers; default: the first")
    add("--out", type=Path, help="the .wav to write, or a folder for the lines of --text_file")
    add("--speed", type=float, metavar="X", help="faster or slower, for models with durations; default: 1")
    add("--stream", action="store_true", help="write the .wav while it is spoken, so that it can be played at once")
    add("--timings", action="store_true", help="write subtitles (.srt) beside the .wav")
    add("--json", action="store_true", help="validate and check print one JSON object")


def frame_limit(text: str) -> int | str:
    if text == "auto" or text.removeprefix("-").isdecimal():
        return text if text == "auto" else int(text)
    raise argparse.ArgumentTypeError(f"expected a number of frames or auto, got {text!r}")


def module_of(options: TrainOptions) -> str:
    """Module of commands/ that runs the mode. Under torchrun, which restarts its processes itself, no watchdog runs."""
    if options.mode == "train" and options.watchdog == "on" and not any(name in os.environ for name in TORCHRUN):
        return "process.watchdog"
    return MODES[options.mode][0]


def print_first_line(options: TrainOptions) -> None:
    """Say at once what begins: loading the libraries takes seconds. A restarted or further process says nothing."""
    is_first = HEARTBEAT not in os.environ and os.environ.get("RANK", "0") == "0"
    if options.mode == "train" and is_first and not options.quiet:
        sys.stdout.write(f"Smart Tuner {version()} trains on {options.data or 'its demo corpus'}; loading libraries\n")
        sys.stdout.flush()


def require_one_process(mode: str) -> None:
    if mode != "train" and os.environ.get("WORLD_SIZE", "1") != "1":
        raise UserError(f"--mode {mode} runs in one process; start it without torchrun, and unset WORLD_SIZE")


def main(arguments: Sequence[str]) -> int:
    """Run one mode and return the exit code."""
    try:
        options = parse_options(arguments)
        require_one_process(options.mode)
        print_first_line(options)
        limit_spinning()
        command = importlib.import_module(f"commands.{module_of(options)}")
        return int(command.run(options))
    except UserError as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        return EXIT_USER_ERROR
    except OSError as error:
        if not is_disk_full(error):
            raise
        sys.stderr.write(f"error: {error}; free some disk space and run the same command again\n")
        return EXIT_FAILED


if __name__ == "__main__":
    try:
        exit_code = main(sys.argv[1:])
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # libraries take half a second to unload: keep the exit code
    sys.exit(exit_code)
