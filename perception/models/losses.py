"""Losses that are not MMDetection's."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def odd_one_out_loss(gate_logits: Tensor, odd_sensors: Tensor) -> Tensor:
    """Cross-entropy of the odd-one-out network (Yang et al., CVPR 2021, sec. 3).

    Args:
        gate_logits: (N, S + 1) or (N, S + 1, h, w); class S means "no sensor lies".
        odd_sensors: (N,) index of the sensor that lies, S where none does. A gate
            per location is asked for the same answer everywhere.

    Returns:
        The mean over frames and locations, a scalar.
    """
    if gate_logits.ndim == 4:
        odd_sensors = odd_sensors[:, None, None].expand(-1, *gate_logits.shape[2:])
    return F.cross_entropy(gate_logits, odd_sensors)
