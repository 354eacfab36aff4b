"""The arithmetic of budgets, as pure functions.

Shape letters: N frames, C channels, H, W padded and h, w own size of a frame in pixels.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# Names of the fields of threat models that say how much may change.
BUDGETS = ("eps", "radius_m", "count")
_FARTHEST_PX = 1e-3  # disparity of what counts as infinitely far


def scaled(threat: Any, factor: float) -> Any:
    """The same threat model with its budget times ``factor``.

    Args:
        threat: A threat model; one without any of :data:`BUDGETS` stays as it is.
        factor: 0 or more.
    """
    return replace(threat, **scaled_budgets(threat, factor))


def scaled_budgets(threat: Any, factor: float) -> dict[str, Any]:
    """The fields of a threat model that hold budgets, each times ``factor``.

    The budgets of a joint threat are those of its ``parts``.
    """
    if parts := getattr(threat, "parts", ()):
        found = any(scaled_budgets(part, factor) for part in parts)
        return {"parts": tuple(scaled(p, factor) for p in parts)} if found else {}
    return {
        field.name: _times(field.name, getattr(threat, field.name), factor)
        for field in fields(threat)
        if field.name in BUDGETS and getattr(threat, field.name) is not None
    }


def _times(name: str, budget: Any, factor: float) -> Any:
    if isinstance(budget, Mapping):
        return {channel: value * factor for channel, value in budget.items()}
    return round(budget * factor) if name == "count" else budget * factor


def values_of(eps: float | Mapping[str, float]) -> list[float]:
    """The budgets of all channels that have one."""
    return list(eps.values()) if isinstance(eps, Mapping) else [eps]


def budget_of(eps: float | Mapping[str, float], channel: str) -> float:
    """The budget of one channel: its own, 0 without one, or that of all channels."""
    return float(eps.get(channel, 0.0) if isinstance(eps, Mapping) else eps)


def frame_norm(values: Tensor) -> Tensor:
    """Euclidean norm of each frame's values, (N, 1, 1, 1), never zero."""
    flat = values.flatten(1).norm(dim=1).clamp(min=1e-12)
    return flat.view(-1, *[1] * (values.ndim - 1))


def generator(*words: int | str) -> torch.Generator:
    """A random number generator seeded by all of these, in this order."""
    numbers = [w if isinstance(w, int) else zlib.crc32(w.encode()) for w in words]
    state = np.random.SeedSequence(numbers).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))


def spread(
    budget: Sequence[float], sizes: Sequence[tuple[int, int]], like: Tensor
) -> Tensor:
    """A budget of every value from one per channel.

    Args:
        budget: C budgets.
        sizes: N sizes (h, w); what lies beyond is padding and gets no budget.
        like: (N, C, H, W) tensor whose shape, type and device the result takes.
    """
    axes = torch.tensor(budget).to(like).view(1, -1, 1, 1).expand_as(like).clone()
    for n, (height, width) in enumerate(sizes):
        axes[n, :, height:] = 0
        axes[n, :, :, width:] = 0
    return axes


def uniform(
    generators: Sequence[torch.Generator],
    sizes: Sequence[tuple[int, int]],
    like: Tensor,
) -> Tensor:
    """Draws from [0, 1) of the shape of ``like`` (N, C, H, W).

    Each frame's draws depend on its generator and its own size alone, not on how far
    it is padded; padding gets 0.
    """
    channels, height, width = like.shape[1:]
    draws = []
    for generator, (h, w) in zip(generators, sizes, strict=True):
        draw = torch.rand((channels, h, w), generator=generator)
        draws.append(F.pad(draw, (0, width - w, 0, height - h)))
    return torch.stack(draws).to(like)


def disparity_box(
    depth_m: Tensor, eps_px: Tensor, fx_baseline_px_m: Tensor
) -> tuple[Tensor, Tensor]:
    """Depths whose disparity lies within a budget of the clean one's.

    Args:
        depth_m: (N, 1, H, W) clean depth in metres; 0, no return, stays as it is.
        eps_px: Budget in pixels of disparity.
        fx_baseline_px_m: (N, 1, 1, 1) focal length x baseline.

    Returns:
        Nearest and farthest depth in metres, each (N, 1, H, W).
    """
    disparity_px = fx_baseline_px_m / depth_m.clamp(min=1e-3)
    near = fx_baseline_px_m / (disparity_px + eps_px)
    far = fx_baseline_px_m / (disparity_px - eps_px).clamp(min=_FARTHEST_PX)
    seen = depth_m > 0
    # Two divisions round: the clean depth itself must never be shut out.
    low = torch.where(seen, torch.minimum(near, depth_m), depth_m)
    high = torch.where(seen, torch.maximum(far, depth_m), depth_m)
    return low, high
