"""Tests compute in one thread: tiny models gain nothing from more, and their numbers stay the same."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
