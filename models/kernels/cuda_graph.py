"""Work on a GPU that is launched in one go, since many tiny kernels launched one by one would let it wait."""

from __future__ import annotations

from collections.abc import Callable

import torch


def recorded(work: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """As a CUDA graph, for which work is done once (some libraries make themselves ready in it, which cannot be
    recorded) and whose tensors have to stay where they are; elsewhere it is simply work itself.
    """
    if device.type != "cuda":
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
