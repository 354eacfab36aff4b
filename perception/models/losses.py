"""Losses of gates, whatever they judge by.

Shape letters: N frames, S sensors, h, w size of the gate's grid.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def odd_one_out_loss(gate_logits: Tensor, odd_sensors: Tensor) -> Tensor:
    """Cross-entropy of the odd-one-out network (Yang et al., CVPR 2021, sec. 3).

    Args:
        gate_logits: (N, S + 1) or (N, S + 1, h, w); class S: no sensor is compromised.
        odd_sensors: (N,) index of the compromised sensor, S for none. A gate per
            location is asked for the same answer everywhere.

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
        odd_sensors: (N,) index of the compromised sensor, S for none.
    """
    gate = gate_logits.detach().softmax(dim=1)
    mean = gate.reshape(*gate.shape[:2], -1).mean(dim=2)
    return (mean.argmax(dim=1) == odd_sensors).float()


def gate_losses(
    gate_logits: Tensor,
    odd_sensors: Tensor,
    *,
    sensors: Sequence[str],
    weight: float,
) -> dict[str, Tensor]:
    """The odd-one-out loss and how often a gate is right.

    ``gate_right_*`` is the share of the frames with this sensor compromised (or none)
    that the gate says so of; it is logged, not minimised.

    Args:
        gate_logits: (N, S + 1) or (N, S + 1, h, w).
        odd_sensors: (N,) index of the compromised sensor, S for none.
        sensors: Names of the S sensors.
        weight: Factor of the loss; 0: there is none.
    """
    right = gate_hits(gate_logits, odd_sensors)
    terms = {
        f"gate_right_{name}": right[odd_sensors == i].mean()
        for i, name in enumerate([*sensors, "none"])
        if (odd_sensors == i).any()
    }
    if weight > 0:
        loss = odd_one_out_loss(gate_logits, odd_sensors)
        terms["loss_odd_one_out"] = weight * loss
    return terms
