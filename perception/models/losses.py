"""Losses that are not MMDetection's.

Shape letters: N frames, S sensors, h, w size of the gate's grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from perception.models.heads.outputs import (
    HeadOutputs,
    losses_of_frames,
    mean_losses,
    worst_within,
)


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


def losses_by_honesty(
    neck: Any,
    heads: tuple[Any, Any],
    outputs: HeadOutputs,
    fused: Any,
    samples: Sequence,
) -> dict[str, Tensor]:
    """All detection losses, those of frames where a sensor lies apart: ``attacked_*``.

    So they weigh as much as all the honest ones.

    Args:
        neck: The ``FusionNeck``; None for a single sensor.
        heads: The head of fused features and that of single sensors.
        outputs: What the detector says of N frames.
        fused: The ``FusionOutput`` that they were made from.
        samples: The N frames, with ground truth; ``odd_sensor`` is known to lie.
    """
    losses: dict[str, Tensor] = {}
    lies = [sample.get("odd_sensor") is not None for sample in samples]
    for prefix, lie in (("", False), ("attacked_", True)):
        index = [n for n, one in enumerate(lies) if one == lie]
        if not index:
            continue
        chosen = [samples[n] for n in index]
        terms = losses_of_frames(heads[0], outputs, chosen, index)
        if neck is not None:
            terms |= losses_of_parts(neck, heads, fused, chosen, index)
            if not lie and neck.worst_loss_weight:
                terms |= losses_at_worst(neck, heads[0], outputs, fused, chosen, index)
        losses |= {prefix + name: term for name, term in terms.items()}
    return losses


def losses_of_parts(
    neck: Any, heads: tuple[Any, Any], fused: Any, samples: Sequence, frames: Sequence
) -> dict[str, Tensor]:
    """Detection losses of what a neck chooses from, the mean over parts of a kind.

    Args:
        neck: The ``FusionNeck``, which weights them.
        heads: The head of fused features and that of single sensors.
        fused: The ``FusionOutput`` of N frames.
        samples: The chosen frames, with ground truth.
        frames: Their numbers among the N.

    Returns:
        ``view_*`` and ``expert_*``; empty for necks without.
    """
    losses: dict[str, Tensor] = {}
    for kind, head, parts, weight in (
        ("view", heads[1], fused.views, neck.view_loss_weight),
        ("expert", heads[0], fused.experts, neck.expert_loss_weight),
    ):
        if parts and weight:
            terms = mean_losses(head, parts, samples, frames)
            losses |= {f"{kind}_{name}": weight * x for name, x in terms.items()}
    return losses


def losses_at_worst(
    neck: Any,
    head: Any,
    outputs: HeadOutputs,
    fused: Any,
    samples: Sequence,
    frames: Sequence[int],
) -> dict[str, Tensor]:
    """``worst_*``: detection losses if one sensor did its worst, the mean over which.

    Args:
        neck: A neck whose ``bounds`` say how far one sensor moves the outputs.
        head: The head whose ``outputs`` of N frames these are.
        outputs: What the detector says.
        fused: The ``FusionOutput`` that they were made from.
        samples: The chosen frames, with ground truth.
        frames: Their numbers among the N.
    """
    bounds = [neck.bounds(fused, i) for i in range(len(neck.sensors))]
    worst = worst_within(head, outputs, bounds, samples, frames)
    terms = mean_losses(head, worst, samples, frames)
    return {f"worst_{name}": neck.worst_loss_weight * x for name, x in terms.items()}
