"""How far no attack on one sensor can move an object: a certificate in metres.

A location of a head such as ``FCOS3DHead`` says where its box's centre is by a pixel
and a depth. Bounds of these, ``Aggregator.bounds`` again, are an interval of directions
seen from above and one of depths: on the ground a *trapezoid*, which holds the centre
whatever the sensor says.

Let a location vouch for an object, see :mod:`perception.evaluation.certificate.hiding`,
with a score of at least s. Then the object's *best detection*, the one of the highest
score among those that overlap it enough, scores at least s: it is of the vouching
location, or of one that might score s and overlap the object enough. These could
*speak* for the object, and their trapezoids together are the region in which its centre
stays. Of all vouching locations the one counts whose region reaches least far from the
object.

Shape letters: L locations of all levels, G objects, C vouching locations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
import torch
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor

from perception.evaluation.certificate.bounds import Bounds, highest_overlap_with
from perception.evaluation.certificate.hiding import Vouching
from perception.models.consensus.intervals import METRES
from perception.models.heads.fcos_3d import FCOS3DHead
from perception.models.heads.metric_boxes import unproject
from perception.models.heads.outputs import HeadOutputs

LIMITS_M = (2.0, 4.0)


@dataclass(frozen=True)
class Region:
    """Where the centre of an object's best detection stays, whatever a sensor says.

    Attributes:
        metres: How far from the object's true centre on the ground at most; infinite if
            it is not certified against hiding.
        outline: (K, 2) x, z in metres in the cam frame of a convex polygon around all
            these places; empty if not certified.
    """

    metres: float
    outline: np.ndarray


NOWHERE = Region(float("inf"), np.zeros((0, 2)))


def centre_trapezoids(
    head: FCOS3DHead,
    low: HeadOutputs,
    high: HeadOutputs,
    n: int,
    image_P_cam: Tensor,
) -> Tensor:
    """(L, 4, 2) corners x, z in metres of where the centres of frame n may be.

    Args:
        head: What the outputs are of.
        low: Smallest values of N frames' outputs.
        high: Largest values.
        n: Number of the frame.
        image_P_cam: (3, 4) projection of its cam frame to the input's pixels.

    Raises:
        ValueError: If the projection is none of a camera that looks along z.
    """
    sizes = [level.shape[-2:] for level in low[METRES]]
    like = low[METRES][0]
    grid = head.prior_generator.grid_priors(
        sizes, like.dtype, like.device, with_stride=True
    )
    places, strides = torch.cat(grid).split(2, dim=1)
    ends = [
        torch.cat([level[n, :3].flatten(1).T for level in one[METRES]])
        for one in (low, high)
    ]
    # Pixels (L, 2 ends, 2) and depths (L, 2 ends).
    pixels = torch.stack([e[:, :2] * strides + places - 0.5 for e in ends], dim=1)
    depths_m = torch.stack([head.code.depth_m(e[:, 2]) for e in ends], dim=1)
    inverse = torch.linalg.inv(image_P_cam[:, :3])
    centre = inverse @ image_P_cam[:, 3]
    if not torch.allclose(inverse[2], inverse.new_tensor([0.0, 0.0, 1.0]), atol=1e-5):
        raise ValueError("a projection must keep the depth of a camera that looks on")
    slopes = inverse[0, 2].expand(len(places), 2)
    for axis in (0, 1):  # the second turns up only where pixels are sheared
        if inverse[0, axis].abs() > 1e-9:
            across = inverse[0, axis] * pixels[:, :, axis]
            slopes = slopes + across.sort(dim=1).values
    near, far = depths_m[:, 0], depths_m[:, 1]
    corners = [
        torch.stack([(z + centre[2]) * slopes[:, side] - centre[0], z], dim=1)
        for z, side in ((near, 0), (near, 1), (far, 1), (far, 0))
    ]
    return torch.stack(corners, dim=1)


def certified_regions(
    bounds: Bounds,
    trapezoids: Tensor,
    vouching: Sequence[Vouching],
    boxes: Tensor,
    labels: Tensor,
    centres_m: Tensor,
    needed: Tensor,
    test_cfg: Any,
) -> list[Region]:
    """For each of G objects where the centre of its best detection stays.

    Args:
        bounds: What may become of the frame's L locations.
        trapezoids: (L, 4, 2) where their centres may be.
        vouching: For each object the locations that vouch for it.
        boxes: (G, 4) objects in pixels of the input.
        labels: (G,) their classes.
        centres_m: (G, 2) x, z of their centres; NaN where unknown.
        needed: (K,) overlap that a detection of each class must exceed.
        test_cfg: The head's thresholds.
    """
    regions: list[Region] = []
    reached = highest_overlap_with(bounds, boxes)
    for g, (k, own) in enumerate(zip(labels.tolist(), vouching, strict=True)):
        if not len(own.locations):
            regions.append(NOWHERE)
            continue
        able = bounds.classes_high[:, k] > test_cfg["score_thr"]
        able &= reached[:, g] > needed[k]
        speaks = able[None] & (bounds.scores_high[None, :, k] >= own.scores[:, None])
        speaks[torch.arange(len(own.locations)), own.locations] = True
        away_m = (trapezoids - centres_m[g]).norm(dim=2).amax(dim=1)  # (L,)
        furthest = torch.where(speaks, away_m, -1.0).amax(dim=1)  # (C,)
        best = int(_or_far(furthest).argmin())
        corners = trapezoids[speaks[best]].reshape(-1, 2).cpu().double().numpy()
        regions.append(Region(float(_or_far(furthest[best])), around([corners])))
    return regions


def around(places: Sequence[np.ndarray]) -> np.ndarray:
    """(K, 2) corners of the convex hull of points (…, 2)."""
    points = shapely.multipoints(np.concatenate(places))
    hull: np.ndarray = shapely.get_coordinates(shapely.convex_hull(points))
    return hull


def true_centres(sample: Any) -> Tensor:
    """(G, 2) x, z in metres of a frame's objects; NaN where unknown."""
    targets = sample.gt_instances.targets_3d
    camera = torch.as_tensor(sample.image_P_cam).to(targets)[None]
    return unproject(camera, targets[:, :2] - 0.5, targets[:, 2])[:, [0, 2]]


def off_metres(
    found: Any, boxes: Tensor, labels: Tensor, centres_m: Tensor, needed: Tensor
) -> Tensor:
    """(G,) how far from each object its best detection's centre is; inf without any.

    Args:
        found: D detections with ``bboxes`` (D, 4), ``scores``, ``labels`` (D,) and
            ``boxes_3d`` (D, 7).
        boxes: (G, 4) objects in the same pixels.
        labels: (G,) their classes.
        centres_m: (G, 2) x, z of their centres.
        needed: (K,) overlap that a detection of each class must exceed.
    """
    if not len(found.bboxes):
        return boxes.new_full((len(boxes),), torch.inf)
    overlap = bbox_overlaps(boxes, found.bboxes)
    own = (overlap > needed[labels][:, None]) & (labels[:, None] == found.labels[None])
    best = torch.where(own, found.scores[None], -1.0).argmax(dim=1)
    off = (found.boxes_3d[best][:, [0, 2]] - centres_m).norm(dim=1)
    return _or_far(torch.where(own.any(dim=1), off, torch.inf))


def _or_far(metres: Tensor) -> Tensor:
    """Infinite where unknown."""
    return metres.nan_to_num(nan=torch.inf, posinf=torch.inf)
