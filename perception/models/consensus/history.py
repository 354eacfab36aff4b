"""A witness from the past: the last trusted prediction, carried into the present.

A rig of two sensors that contradict each other cannot say which of them is compromised.
What the detector said a moment ago is a third witness, which whoever changes the
present frame does not touch: gate, consensus interval and bounds are those of three
sensors (:mod:`perception.models.consensus`), with the past as one more branch.

**Carrying.** Every object that was detected moves with the camera (ego motion; how far
it is follows from its box's height and its class's: nothing that a sensor says alone)
and at a constant velocity in the image, estimated from frame to frame. Its box moves
and grows, and all that the head said inside of the box moves and grows along, location
by location, on every level of the pyramid: class logits, sides, centre-ness. What was
inside of the former box alone is background now; elsewhere nothing changes. An object
that leaves the picture, or comes too near, is gone. One that appears is background to
the past: it is found as soon as both sensors see it, since the past is one witness
among three. One that is gone in truth is dropped likewise.

**Width.** The older the past, the less it knows: its class logits are lowered by
``lowering`` for every second of its age, which lowers both ends of what it allows (not
what the gate compares). What is not a number says nothing: a past that is NaN, as that
of a drive's first frame, is attributed the alarm, and the answer is plain fusion's.

**What is assumed.** The bounds hold for one compromised witness, and the past is one:
they hold for an attacker of one sensor if the past is benign, that is if no frame from
the last one of plain fusion on was attacked. An attacker who is patient drags the past
along. Let the camera be attacked in k frames on end, in none of which the LiDAR or the
past is left out, let v be the LiDAR's own class logit and p the answer before them. In
every frame the answer is at least the least of v and the carried answer of the frame
before less ``lowering`` times the seconds in between (the expert without the camera
lies between these two). So after k frames, d seconds apart, it is at least

    min(p - k d lowering, min over the frames j = 0 … k - 1 ago of v_j - j d lowering)

along the object's path: the attacker gets what the LiDAR itself said at worst, plus
``lowering``, and nothing by dragging if that is 0. A ghost gets no higher than p and
the LiDAR's own words, and once more the logit slack: what is remembered has none.

Shape letters: D objects, K classes, H_l, W_l size of pyramid level l, L locations of
all levels.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

import numpy as np
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor

from perception.models.consensus.base import Predictions
from perception.models.consensus.consensus import ConsensusAggregator
from perception.models.consensus.gate import Verdict
from perception.models.consensus.intervals import BOXES, CLASSES, Bounds
from perception.models.heads.outputs import HeadOutputs

OLDEST_S = 1.0  # an older past says nothing
NEAREST_M = 1.0
_SAME_IOU = 0.3
_GAIN = 0.3  # of a frame's residual in an object's velocity


@dataclass(frozen=True, eq=False, kw_only=True)
class Moving:
    """D objects that move in the image.

    Attributes:
        boxes_px: (D, 4) x1, y1, x2, y2 in pixels of the input.
        labels: (D,) numbers of their classes.
        scores: (D,) of their detection.
        speed: (D, 3) of the centre, x and y in pixels per second, and growth, the
            logarithm of the size per second; beside what the ego motion does.
    """

    boxes_px: Tensor
    labels: Tensor
    scores: Tensor
    speed: Tensor

    def select(self, keep: Tensor) -> Moving:
        """Those of a mask, or in the order of an index."""
        return Moving(**{name: value[keep] for name, value in vars(self).items()})


@dataclass(frozen=True, eq=False, kw_only=True)
class Motion:
    """From one frame to the next.

    Attributes:
        seconds: Between them.
        image_P_cam: (3, 4) projection of the input, the same in both.
        now_T_before: (4, 4) from the earlier cam frame to the later; None where it is
            not known.
    """

    seconds: float
    image_P_cam: np.ndarray
    now_T_before: np.ndarray | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Past:
    """The last trusted prediction of one frame; nothing changes it.

    Attributes:
        said: The head's outputs as in eval mode, sides in pixels; (1, …) each.
        objects: What was detected.
        age_s: Seconds since it was said.
    """

    said: HeadOutputs
    objects: Moving
    age_s: float = 0.0

    def carried(
        self, motion: Motion, *, strides: Sequence[int], heights_m: Sequence[float]
    ) -> Past | None:
        """The past as it is one frame later; None if it is too old.

        Args:
            motion: Between the frames.
            strides: Pixels per location of each level.
            heights_m: Mean height of each class.
        """
        if self.age_s + motion.seconds > OLDEST_S:
            return None
        moved, there = carried_objects(self.objects, motion, heights_m)
        said = carried_outputs(self.said, self.objects, moved, there, strides)
        age_s = self.age_s + motion.seconds
        return Past(said=said, objects=moved.select(there), age_s=age_s)


def carried_objects(
    objects: Moving, motion: Motion, heights_m: Sequence[float]
) -> tuple[Moving, Tensor]:
    """The objects one frame later, and (D,) which of them are still to be seen."""
    boxes = objects.boxes_px.double()
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    size = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-3)
    growth = torch.ones_like(centre[:, :1])
    there = torch.isfinite(boxes).all(dim=1)
    if motion.now_T_before is not None:
        camera = torch.as_tensor(motion.image_P_cam).double()
        height_m = torch.as_tensor(heights_m).double()[objects.labels]
        depth_m = camera[1, 1].abs() * height_m / size[:, 1]
        pixel = torch.cat([centre - 0.5, torch.ones_like(growth)], dim=1)
        seen = depth_m[:, None] * pixel - camera[:, 3]
        place_m = torch.linalg.solve(camera[:, :3], seen.T).T
        turn = torch.as_tensor(motion.now_T_before).double()
        place_m = place_m @ turn[:3, :3].T + turn[:3, 3]
        moved = place_m @ camera[:, :3].T + camera[:, 3]
        there = there & (moved[:, 2] > NEAREST_M)
        now_m = moved[:, 2:].clamp(min=NEAREST_M)
        centre, growth = moved[:, :2] / now_m + 0.5, depth_m[:, None] / now_m
    speed = objects.speed.double() * motion.seconds
    centre = centre + speed[:, :2]
    half = size * growth * speed[:, 2:].exp() / 2
    made = torch.cat([centre - half, centre + half], dim=1)
    return replace(objects, boxes_px=made.to(objects.boxes_px)), there


def carried_outputs(
    said: HeadOutputs,
    before: Moving,
    after: Moving,
    there: Tensor,
    strides: Sequence[int],
) -> HeadOutputs:
    """The head's outputs where the objects are ``after``, if they are ``there``."""
    order = before.scores.argsort().tolist()  # the surest last, before the others
    warps = [
        _Warp.of(level, stride, before.boxes_px, after.boxes_px, there, order)
        for level, stride in zip(said[CLASSES], strides, strict=True)
    ]
    kinds = []
    for number, kind in enumerate(said):
        levels = []
        for level, warp in zip(kind, warps, strict=True):
            moved = F.grid_sample(
                level, warp.grid, padding_mode="border", align_corners=False
            )
            if number == BOXES:
                moved = moved * warp.growth
            if number == CLASSES:
                nothing = level.flatten(2).median(dim=2).values[..., None, None]
                moved = torch.where(warp.vacated, nothing, moved)
            levels.append(moved)
        kinds.append(levels)
    return tuple(kinds)


@dataclass(frozen=True, eq=False)
class _Warp:
    """Where a level's locations come from.

    Attributes:
        grid: (1, H_l, W_l, 2) as ``grid_sample`` takes it.
        growth: (1, 4, H_l, W_l) factor of the sides l, t, r, b.
        vacated: (1, 1, H_l, W_l) what an object has left.
    """

    grid: Tensor
    growth: Tensor
    vacated: Tensor

    @classmethod
    def of(
        cls,
        level: Tensor,
        stride: int,
        before_px: Tensor,
        after_px: Tensor,
        there: Tensor,
        order: Sequence[int],
    ) -> _Warp:
        """Of a level (1, K, H_l, W_l)."""
        height, width = level.shape[-2:]
        x = (torch.arange(width, device=level.device) + 0.5) * stride
        y = (torch.arange(height, device=level.device) + 0.5) * stride
        place = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).to(level)
        source, growth = place.clone(), torch.ones_like(place)
        vacated = torch.zeros_like(place[..., 0], dtype=torch.bool)
        for d in range(len(before_px)):
            vacated |= _inside(place, before_px[d])
        for d in (d for d in order if there[d]):
            own = _inside(place, after_px[d])
            old, new = before_px[d].view(2, 2), after_px[d].view(2, 2)
            factor = (new[1] - new[0]) / (old[1] - old[0]).clamp(min=1e-3)
            back = old.mean(dim=0) + (place - new.mean(dim=0)) / factor
            source = torch.where(own[..., None], back, source)
            growth = torch.where(own[..., None], factor, growth)
            vacated &= ~own
        grid = 2 * source / place.new_tensor([width * stride, height * stride]) - 1
        sides = growth.permute(2, 0, 1)[[0, 1, 0, 1]]
        return cls(grid[None], sides[None], vacated[None, None])


def _inside(place: Tensor, box_px: Tensor) -> Tensor:
    """(H_l, W_l) which places (H_l, W_l, 2) lie in a box (4,)."""
    return ((place >= box_px[:2]) & (place <= box_px[2:])).all(dim=-1)


def followed(carried: Moving | None, found: Moving, seconds: float) -> Moving:
    """Detections with the speed that they have had, and a part of the residual.

    Args:
        carried: The objects of the past, carried into the frame of the detections.
        found: The detections; their speed does not count.
        seconds: Since the frame before.
    """
    speed = torch.zeros_like(found.speed)
    if carried is not None and len(carried.boxes_px) and len(found.boxes_px):
        overlap = _iou(found.boxes_px, carried.boxes_px)
        overlap[found.labels[:, None] != carried.labels] = 0
        while overlap.max() >= _SAME_IOU:
            d, c = divmod(int(overlap.argmax()), overlap.shape[1])
            new, old = found.boxes_px[d].view(2, 2), carried.boxes_px[c].view(2, 2)
            apart = new.mean(dim=0) - old.mean(dim=0)
            areas = [(b[1] - b[0]).clamp(min=1e-3).prod() for b in (new, old)]
            residual = torch.cat([apart, (areas[0] / areas[1]).log()[None] / 2])
            speed[d] = carried.speed[c] + _GAIN * residual / max(seconds, 1e-3)
            overlap[d], overlap[:, c] = 0, 0
    return replace(found, speed=speed)


def _iou(a: Tensor, b: Tensor) -> Tensor:
    """(D, 4) and (E, 4) boxes to (D, E)."""
    low = torch.maximum(a[:, None, :2], b[:, :2])
    high = torch.minimum(a[:, None, 2:], b[:, 2:])
    both = (high - low).clamp(min=0).prod(dim=2)
    area_a, area_b = ((one[:, 2:] - one[:, :2]).prod(dim=1) for one in (a, b))
    return (both / (area_a[:, None] + area_b - both).clamp(min=1e-6)).nan_to_num()


class HasAges(Predictions, Protocol):
    """Predictions whose last branch is the past."""

    ages_s: Tensor
    """(N,) seconds since that was said."""


@MODELS.register_module()
class HistoryAggregator(ConsensusAggregator):
    """A consensus whose last witness is the past; the older, the lower its logits.

    Args:
        lowering: Of the past's class logits for each second of age.
        settings: As for ``ConsensusAggregator``; the last sensor is the past.
    """

    def __init__(self, *, lowering: float = 1.0, **settings: Any) -> None:
        super().__init__(**settings)
        if not 0 <= lowering < float("inf"):
            raise ValueError(
                f"lowering must be finite and not negative, got {lowering}"
            )
        self.lowering = lowering

    def combine(self, verdict: Verdict, said: Predictions) -> HeadOutputs:
        """As that of the base class, of the lowered past."""
        return super().combine(verdict, self._lowered(said))

    def remembered(self, verdict: Verdict, said: Predictions) -> HeadOutputs:
        """The answer without logit slack, as the past of the next frame.

        With slack an attacker could raise a ghost by as much in every frame.
        """
        strict = copy.copy(self)
        strict.logit_slack = 0.0
        return strict.combine(verdict, said)

    def _limits(self, said: Predictions, compromised: int) -> Bounds:
        return super()._limits(self._lowered(said), compromised)

    def _lowered(self, said: Predictions) -> Predictions:
        *branches, past = said.branches
        ages_s = cast(HasAges, said).ages_s
        return _Said([*branches, lowered(past, ages_s, self.lowering)], said.experts)


@dataclass(frozen=True, eq=False)
class _Said:
    branches: Sequence[HeadOutputs]
    experts: Sequence[HeadOutputs]
    fused: HeadOutputs | None = None


def lowered(past: HeadOutputs, ages_s: Tensor, lowering: float) -> HeadOutputs:
    """The past (N, …) of these ages (N,) with lower class logits."""
    less = (lowering * ages_s)[:, None, None, None]
    return ([level - less for level in past[CLASSES]], *past[BOXES:])


def together(alone: HeadOutputs, past: HeadOutputs, share: float) -> HeadOutputs:
    """What a sensor and the past say: the expert that leaves the other sensor out.

    Logits are a mean with the past's ``share``; sides count as much as whoever says
    them is sure of an object there. Where the past is not a number, the sensor's.
    """
    kinds: list[list[Tensor]] = [[] for _ in alone]
    for n, logits in enumerate(alone[CLASSES]):
        told = past[CLASSES][n].isfinite().all(dim=1, keepdim=True)
        sure = logits.amax(dim=1, keepdim=True).sigmoid() * (1 - share)
        past_sure = past[CLASSES][n].amax(dim=1, keepdim=True).sigmoid() * share
        of_sides = past_sure / (past_sure + sure).clamp(min=1e-6)
        for kind, made in enumerate(kinds):
            own, then = alone[kind][n], past[kind][n]
            weight = of_sides if kind == BOXES else share
            mixed = own + weight * (then - own)
            made.append(torch.where(told & then.isfinite(), mixed, own))
    return tuple(kinds)
