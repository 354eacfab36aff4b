"""The FCOS loss of each frame by itself, for all frames of a batch in one pass.

MMDetection's head normalises over the whole batch. Attacks need frames that do not mix;
asking the head once per frame is right and slow. Here the head's own loss modules
judge all locations at once, and only the sums are taken frame by frame.

Shape letters: N frames, L locations of all pyramid levels, K classes, P positives:
locations of any frame that are to detect an object.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.dense_heads import FCOSHead
from mmdet.models.losses import CrossEntropyLoss, FocalLoss, GIoULoss, IoULoss
from torch import Tensor

from perception.models.heads.fcos_3d import FCOS3DHead
from perception.models.heads.last_layer import LastLayerFCOSHead

# MMDetection adds it to what it divides a loss's sum by.
_EPS = torch.finfo(torch.float32).eps


def can_take_frames_at_once(head: Any) -> bool:
    """Whether :func:`fcos_frame_losses` is this head's own loss, frame by frame.

    A subclass may change anything, and a loss of another type may mix locations.
    """
    if type(head) not in (FCOSHead, LastLayerFCOSHead, FCOS3DHead):
        return False
    score, box, center = head.loss_cls, head.loss_bbox, head.loss_centerness
    plain = type(score) is FocalLoss and type(center) is CrossEntropyLoss
    return (
        plain
        and center.use_sigmoid
        and type(box) in (IoULoss, GIoULoss)
        and all(loss.reduction == "mean" for loss in (score, box, center))
    )


def fcos_frame_losses(
    head: FCOSHead, outputs: Sequence[Sequence[Tensor]], truth: Sequence[Any]
) -> Tensor:
    """Sum of the head's losses, each frame normalised over itself alone.

    The same numbers as ``head.loss_by_feat`` of one frame after the other, but for
    rounding. Unlike that it never averages the number of positives over processes.

    Args:
        head: A head that :func:`can_take_frames_at_once`, in training mode.
        outputs: Its class logits (N, K, H_l, W_l), box distances (N, 4, H_l, W_l) and
            centerness logits (N, 1, H_l, W_l), each a list over the levels; and what
            a head of boxes in metres says beside them.
        truth: N ``InstanceData`` with ``bboxes`` (G, 4) in pixels and ``labels`` (G,),
            for such a head also ``targets_3d``.

    Returns:
        (N,) losses, differentiable in ``outputs``.
    """
    scores, distances, centerness = (_side_by_side(kind) for kind in outputs[:3])
    points = head.prior_generator.grid_priors(
        [level.shape[-2:] for level in outputs[0]],
        dtype=distances.dtype,
        device=distances.device,
    )
    labels, wanted = (
        _by_frame(levels, len(truth)) for levels in head.get_targets(points, truth)
    )
    positive = (labels >= 0) & (labels < head.num_classes)  # (N, L)
    frame, place = positive.nonzero(as_tuple=True)  # (P,) each
    member = frame == torch.arange(len(truth), device=frame.device)[:, None]  # (N, P)
    counts = positive.sum(dim=1).clamp(min=1)

    of_scores = head.loss_cls(
        scores.flatten(0, 1), labels.flatten(), reduction_override="none"
    )
    weight = head.centerness_target(wanted[frame, place])  # (P,)
    of_boxes = weight * _box_losses(
        head, torch.cat(points)[place], distances[frame, place], wanted[frame, place]
    )
    of_centerness = head.loss_centerness(
        centerness[frame, place, 0], weight, reduction_override="none"
    )
    total = of_scores.view(len(truth), -1).sum(dim=1) + _sums(of_centerness, member)
    weights = _sums(weight, member).clamp(min=1e-6)
    total = total / (counts + _EPS) + _sums(of_boxes, member) / (weights + _EPS)
    if not isinstance(head, FCOS3DHead):
        return total
    numbers, directions = outputs[3:]
    terms, weight, frame = head.metric_losses(numbers, directions, truth)
    member = frame == torch.arange(len(truth), device=frame.device)[:, None]
    weights = _sums(weight, member).clamp(min=1e-6)
    return total + _sums(weight * terms.sum(dim=1), member) / weights


def _box_losses(
    head: FCOSHead, points: Tensor, distances: Tensor, wanted: Tensor
) -> Tensor:
    """(P,) losses of distances (P, 4) from points (P, 2) that should be ``wanted``."""
    decode = head.bbox_coder.decode
    return head.loss_bbox(
        decode(points, distances), decode(points, wanted), reduction_override="none"
    )


def _sums(values: Tensor, member: Tensor) -> Tensor:
    """Sum of (P,) over the members (N, P) of each frame, also beside an inf or NaN."""
    return torch.where(member, values, values.new_zeros(())).sum(dim=1)


def _side_by_side(levels: Sequence[Tensor]) -> Tensor:
    """One (N, K, H_l, W_l) per level to (N, L, K)."""
    return torch.cat([level.flatten(2) for level in levels], dim=2).transpose(1, 2)


def _by_frame(levels: Sequence[Tensor], frames: int) -> Tensor:
    """One (N L_l, ...) per level to (N, L, ...)."""
    return torch.cat(
        [level.view(frames, -1, *level.shape[1:]) for level in levels], dim=1
    )
