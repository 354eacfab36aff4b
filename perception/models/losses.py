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


def gate_hits(gate_logits: Tensor, odd_sensors: Tensor) -> Tensor:
    """(N,) 1 where the gate's likeliest class is right, 0 elsewhere.

    Args:
        gate_logits: (N, S + 1) or (N, S + 1, h, w); a gate per location is averaged.
        odd_sensors: (N,) index of the sensor that lies, S where none does.
    """
    gate = gate_logits.detach().softmax(dim=1)
    mean = gate.reshape(*gate.shape[:2], -1).mean(dim=2)
    return (mean.argmax(dim=1) == odd_sensors).float()
