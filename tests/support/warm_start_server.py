"""Imports of the server that forks warm processes: the program, and the compiled code of a forward pass."""

from __future__ import annotations

import torch

import commands.process.watchdog
import commands.train
import commands.tune
import tests.support.warm_start
from tests.support.tiny import tiny_data, tiny_hparams, tiny_model

__all__ = ["commands", "tests"]

hparams = tiny_hparams()
with torch.no_grad():  # a backward pass would start threads
    tiny_model(hparams)(tiny_data(hparams).train.load([0]))
