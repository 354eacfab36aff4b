"""Angles that witnesses say as unit vectors: intervals around their circular median.

Angles have no smallest and no largest. But the *circular median*, the witness from
whom the others are least far in sum, has none of that trouble as an origin: the turns
from it to all others are plain numbers within π, and intervals of these hold as those
of any numbers do.

**Bound.** Let one of S >= 3 witnesses be compromised and all benign ones (and what else
is asked) lie within an arc of less than 2 π / 3. Then the circular median lies on the
arc of the benign: outside of it, a way α from the nearer end and β from the other, the
arc being s wide, α + β = 2 π - s, its distance to any benign one exceeds the nearer
end's, since the way around is at least β - s >= π - 3 s / 2 > 0 longer. So turns from
it are those of the line, and what is clamped between benign turns lies on the arc.

Shape letters: S witnesses, N frames; a direction is (N, 2, …), two dimensions follow.
"""

from __future__ import annotations

import torch
from torch import Tensor

_CHANNEL = -3
_WIDEST = 2 * torch.pi / 3
_ROUNDING = 1e-6


def circular_median(witnesses: Tensor, left_out: Tensor | None = None) -> Tensor:
    """(S, N, 2, …) to (N, 2, …): the witness least far from all others in sum.

    In frames where one is ``left_out`` (N,), S for none, it does not count.
    """
    angles = _angles(witnesses)
    apart = _wrapped(angles[:, None] - angles[None]).abs()  # (S, S, N, 1, …)
    if left_out is not None:
        numbers = torch.arange(len(witnesses), device=witnesses.device)
        aside = (numbers[:, None] == left_out).view(len(witnesses), -1, 1, 1, 1)
        apart = apart.masked_fill(aside[None], 0.0).masked_fill(aside[:, None], 9.0)
    nearest = apart.sum(dim=1).argmin(dim=0, keepdim=True)  # (1, N, 1, …)
    shape = [1, *witnesses.shape[1:]]
    return witnesses.nan_to_num().gather(0, nearest.expand(shape))[0]


def turns(origin: Tensor, directions: Tensor) -> Tensor:
    """(…, N, 1, …) angles from the origin (N, 2, …) to directions, within π."""
    return _wrapped(_angles(directions) - _angles(origin))


def turned(origin: Tensor, turn: Tensor) -> Tensor:
    """The unit vectors (N, 2, …) that lie so far (N, 1, …) from the origin."""
    angle = _angles(origin) + turn
    return torch.cat([angle.cos(), angle.sin()], dim=_CHANNEL)


def arc_bounds(witnesses: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest and largest components (N, 2, …) on the arc of benign (S, N, 2, …).

    Those of any direction where the arc is too wide to tell, see the module.
    """
    origin = witnesses[0]
    offsets = turns(origin, witnesses)
    low, high = offsets.amin(dim=0), offsets.amax(dim=0)
    wide = high - low >= _WIDEST
    start, end = _angles(origin) + low, _angles(origin) + high
    ends = torch.stack([turned(origin, low), turned(origin, high)])
    # cos is largest at 0 and smallest at pi; sin a quarter turn later.
    turn = 2 * torch.pi

    def reached(at: float) -> Tensor:
        return ((start - at) / turn).ceil() * turn + at <= end

    top = torch.cat([reached(0.0), reached(torch.pi / 2)], dim=_CHANNEL) | wide
    bottom = torch.cat([reached(torch.pi), reached(-torch.pi / 2)], dim=_CHANNEL) | wide
    least = ends.amin(dim=0).masked_fill(bottom, -1.0) - _ROUNDING
    return least, ends.amax(dim=0).masked_fill(top, 1.0) + _ROUNDING


def _angles(directions: Tensor) -> Tensor:
    """(…, 2, …) to (…, 1, …); what is not a number says 0: any lie is as good."""
    x, y = directions.nan_to_num().split(1, dim=_CHANNEL)
    return torch.atan2(y, x)


def _wrapped(angle: Tensor) -> Tensor:
    return torch.remainder(angle + torch.pi, 2 * torch.pi) - torch.pi
