"""Import of torchaudio whose Python operations work beside a CPU-only torch too."""

from __future__ import annotations

import importlib
import sys
import threading
from types import ModuleType

_import_lock = threading.Lock()


def torchaudio_module() -> ModuleType:
    """Return torchaudio, imported on first use.

    The wheel on PyPI is built for CUDA: beside a CPU-only torch its compiled extension does not load. Nothing here
    needs that extension, so in this one case a stub replaces it and the import is tried again.
    """
    with _import_lock:
        try:
            return importlib.import_module("torchaudio")
        except OSError:
            for name in [name for name in list(sys.modules) if name.split(".")[0] == "torchaudio"]:
                del sys.modules[name]
            sys.modules["torchaudio._extension"] = _extension_stub()
            return importlib.import_module("torchaudio")


def _extension_stub() -> ModuleType:
    """Return a module with the four names that torchaudio imports from its extension."""
    stub = ModuleType("torchaudio._extension")
    stub.__dict__.update(
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        fail_if_no_align=lambda function: function,
        _check_cuda_version=lambda: None,
    )
    return stub
