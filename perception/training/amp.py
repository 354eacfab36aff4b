"""Mixed precision in bfloat16, on GPUs and on CPUs that have it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """MMEngine's wrapper with the forward pass in bfloat16, weights in float32.

    MMEngine's own ``AmpOptimWrapper`` is for GPUs alone. bfloat16 has float32's range,
    so that no loss needs scaling. Heads answer in float32 (``MultiModalDetector``), so
    losses and what a neck compares are exact.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast, and what MMEngine does there."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield
