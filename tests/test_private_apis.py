"""Private parts of libraries that the program uses, so that a new version without one is noticed."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator

import optuna
import pytest
import torch

from files import REPOSITORY

PRIVATE_APIS = {
    "argparse._ArgumentGroup": "type of the groups that add_argument_group returns",
    "os._exit": "ends the process while imports run that would swallow an exception",
    "optuna.Trial._trial_id": "argument of record_heartbeat",
    "optuna.Study._storage": "argument of upload_artifact",
    "torch.Tensor._version": "counts changes of a weight, after which values derived from it are stale",
    "torch.nn.Module._parameters": "tells a layer's own weight from one that belongs to a single pass",
    "torch._C._distributed_c10d.PrefixStore": "separates the keys of several groups in one store",
    "torch.distributed.distributed_c10d._set_pg_timeout": "timeout of a group that exists already",
    "torch.ops.aten._softmax_backward_data": "gradient of softmax into a given buffer, for a CUDA graph",
    "torch.ops.aten._thnn_fused_lstm_cell": "an LSTM step in one kernel",
    "torch.ops.aten._thnn_fused_lstm_cell_backward_impl": "its gradient",
    "torch.ops.mkldnn._is_mkldnn_bf16_supported": "oneDNN's own answer, which follows ONEDNN_MAX_CPU_ISA",
    "torch.ops.mkldnn._linear_pointwise": "product with a weight in oneDNN's own layout",
    "torch.ops.mkldnn._reorder_linear_weight": "brings a weight into that layout",
}
"""Name → what it is needed for."""
OF_STANDARD_TYPES = {"_replace", "_fields"}
"""Documented attributes of named tuples."""


def private_names(source: str) -> Iterator[str]:
    """Names with one leading underscore that a file uses and does not define itself."""
    nodes = list(ast.walk(ast.parse(source)))
    own = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    own |= {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}
    own |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    for node in nodes:
        if isinstance(node, ast.Attribute):
            used = [node.attr]
        elif isinstance(node, ast.ImportFrom):
            used = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
        else:
            continue
        yield from (name for name in used if name.startswith("_") and not name.startswith("__") and name not in own)


def test_every_private_name_that_the_program_uses_is_listed() -> None:
    listed = {part for api in PRIVATE_APIS for part in api.split(".")} | OF_STANDARD_TYPES
    for path in sorted(REPOSITORY.rglob("*.py")):
        folders = path.relative_to(REPOSITORY).parts[:-1]
        if not any(folder == "tests" or folder.startswith(".") for folder in folders):
            assert set(private_names(path.read_text(encoding="utf-8"))) <= listed, path


@pytest.mark.parametrize("api", PRIVATE_APIS)
def test_installed_libraries_have_the_private_part(api: str) -> None:
    study = optuna.create_study()
    examples = {"optuna.Study": study, "optuna.Trial": study.ask(), "torch.nn.Module": torch.nn.Linear(1, 1)}
    owner, name = api.rsplit(".", 1)
    assert hasattr(examples.get(owner) or _resolve(owner), name)


def _resolve(dotted: str) -> object:
    package, *names = dotted.split(".")
    found, path = importlib.import_module(package), package
    for name in names:
        path += f".{name}"
        found = getattr(found, name) if hasattr(found, name) else importlib.import_module(path)
    return found
