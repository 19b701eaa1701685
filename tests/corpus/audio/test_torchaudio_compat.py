from __future__ import annotations

import subprocess
import sys

import torch

from corpus.audio.torchaudio_compat import torchaudio_module

BROKEN_EXTENSION = """
import importlib.abc, sys

class Broken(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "torchaudio._extension":
            raise {error}("libc10_cuda.so")

sys.meta_path.insert(0, Broken())
from corpus.audio.torchaudio_compat import torchaudio_module
import torch
print(len(torchaudio_module().functional.resample(torch.zeros(400), 4, 2)))
"""


def run_in_new_process(error: str) -> subprocess.CompletedProcess[str]:
    script = BROKEN_EXTENSION.format(error=error)
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)


def test_torchaudio_is_imported_once_and_works() -> None:
    assert torchaudio_module() is torchaudio_module()
    assert torchaudio_module().functional.melscale_fbanks(9, 0.0, 4.0, 2, 8).shape == (9, 2)
    assert len(torchaudio_module().functional.resample(torch.zeros(400), 4, 2)) == 200


def test_an_extension_that_does_not_load_is_replaced() -> None:
    assert run_in_new_process("OSError").stdout == "200\n"


CONCURRENT_IMPORT = """
class ImportingName(str):
    def split(self, *arguments):
        sys.modules[f"{self}{len(sys.modules)}"] = sys
        return super().split(*arguments)

sys.modules[ImportingName("made by another thread")] = sys
"""


def test_another_thread_may_import_at_the_same_time() -> None:
    """Simulated by a module name that adds a module while the names are listed."""
    script = BROKEN_EXTENSION.format(error="OSError").replace("from corpus", CONCURRENT_IMPORT + "from corpus")
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert finished.stdout == "200\n", finished.stderr


def test_any_other_error_of_the_import_is_raised() -> None:
    failed = run_in_new_process("ValueError")
    assert failed.returncode == 1 and "ValueError: libc10_cuda.so" in failed.stderr
