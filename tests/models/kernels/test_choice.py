"""Choice between compiled kernels and plain torch operations."""

from __future__ import annotations

from typing import NoReturn

import pytest
import torch

from models import ARCHITECTURES
from models.contract_case import ContractCase, compute_losses, synthesize
from models.kernels.choice import choose_kernels, may_compile, plain_operations
from models.layers import run_lstm
from tests.models.test_contract import CASES

COMPILED = (
    *("models.tacotron2.attention_cpu.scan", "models.tacotron2.attention_cpu.scan_back"),
    *("models.tacotron2.decode_batch.NumbaSteps", "models.kernels.conv1d.to_tiles", "models.layers.LstmScan.apply"),
    *("models.glow_tts.alignment_search._search", "torch.ops.mkldnn._reorder_linear_weight", "numpy.random.SFC64"),
)


def refuse(*_arguments: object) -> NoReturn:
    raise AssertionError("compiled code ran")


@pytest.fixture
def no_compiled_code(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in COMPILED:
        monkeypatch.setattr(name, refuse)


@pytest.mark.parametrize("model", ARCHITECTURES)
@pytest.mark.parametrize("n_items", [1, 4])
def test_plain_operations_run_no_compiled_code(no_compiled_code: None, model: str, n_items: int) -> None:
    case: ContractCase = CASES[model]
    batch, trained = case.batch.rows(list(range(n_items))), case.new_model(is_random=True)
    with plain_operations():
        for dtype in (torch.float32, torch.bfloat16):
            with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
                loss = compute_losses(trained.train(), batch).total
                synthesize(trained.eval(), batch, 4)
            loss.backward()


def test_the_choice_ends_with_its_context() -> None:
    with plain_operations():
        assert not may_compile()
    assert may_compile()
    choose_kernels("plain")
    try:
        assert not may_compile()
    finally:
        choose_kernels("auto")


def test_plain_lstm_in_bfloat16_has_the_gradient_of_float32() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 5, 8, generator=generator, requires_grad=True)
    weights = [torch.randn(16, n, generator=generator) for n in (8, 4)] + [torch.zeros(16)] * 2
    (expected,) = torch.autograd.grad(run_lstm(x, weights).square().sum(), x)
    with plain_operations(), torch.autocast("cpu", torch.bfloat16):
        output = run_lstm(x.bfloat16(), weights)
        (gradient,) = torch.autograd.grad(output.float().square().sum(), x)
    assert output.dtype == torch.bfloat16
    assert float((gradient - expected).norm() / expected.norm()) < 0.02
