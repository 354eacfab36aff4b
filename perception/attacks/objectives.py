"""What an attacker ascends, one registered class each.

An objective judges what a target says (:class:`Response`) of frames with known truth.
Average precision depends on the order of scores, detectors are trained on losses:
neither is always the stronger thing to ascend.

Shape letters: N frames, K classes, L locations of all pyramid levels, G objects.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor

from perception.attacks.registry import OBJECTIVES
from perception.attacks.target import DoesNotApplyError, Response, Scores
from perception.core.parts import Part
from perception.core.structures import Objects
from perception.models.heads.metric_boxes import unproject

_TOP = 50  # how many of a frame's background scores count
_MATCH = 0.5  # overlap with an object above which a detection is of it
_NO_SCORE = -20.0  # a logit that is none


@dataclass(frozen=True)
class Objective(ABC):
    """Something to ascend; its registered name is what configs call it."""

    @property
    def text(self) -> str:
        """What configs and the command line call it."""
        return next(k for k, v in OBJECTIVES.module_dict.items() if v is type(self))

    @abstractmethod
    def value(
        self, response: Response, part: Part | None, samples: Sequence[Any]
    ) -> Tensor:
        """(N,) what the attacker wants high, differentiable in the inputs.

        Args:
            response: What the target says of N frames.
            part: The part of its prediction to judge; None: the whole.
            samples: The frames' truth.

        Raises:
            DoesNotApplyError: If the target does not say enough.
        """


@OBJECTIVES.register_module(name="detection")
@dataclass(frozen=True)
class DetectionLoss(Objective):
    """The whole training loss on the ground truth."""

    def value(
        self, response: Response, part: Part | None, samples: Sequence[Any]
    ) -> Tensor:
        """(N,) losses."""
        return response.losses(part)


@OBJECTIVES.register_module(name="predictions")
@dataclass(frozen=True)
class FinalPredictions(Objective):
    """Made of final predictions alone: for searches that only ask, such as Square.

    What average precision is made of, without its steps: of every true object the best
    score x overlap among detections of its class shall fall, and of the detections of
    no object as many of the highest scores as there are objects shall rise.
    """

    def value(
        self, response: Response, part: Part | None, samples: Sequence[Any]
    ) -> Tensor:
        """(N,) mean score of false detections less the mean match of true objects."""
        if part is not None:
            raise DoesNotApplyError("goal predictions: only final ones are asked for")
        found = [prediction.detections for prediction in response.predictions()]
        each = zip(found, samples, strict=True)
        margins = [
            _false_less_true(one, sample.objects, response.classes)
            for one, sample in each
        ]
        device = samples[0].gt_instances.bboxes.device
        return torch.tensor(margins, dtype=torch.float32, device=device)


def _false_less_true(
    found: Objects, labelled: Objects, classes: Sequence[str]
) -> float:
    """Of one frame; what overlaps an object of another class is neither."""
    true = labelled.select(np.isin(labelled.names, list(classes)))
    scores = np.zeros(0) if found.scores is None else found.scores
    boxes = torch.from_numpy(found.boxes_px)
    matches = bbox_overlaps(boxes, torch.from_numpy(true.boxes_px)).numpy()
    near = bbox_overlaps(boxes, torch.from_numpy(labelled.boxes_px)).numpy()
    same = found.names[:, None] == true.names
    reached = (np.where(same, matches, 0.0) * scores[:, None]).max(axis=0, initial=0.0)
    strangers = scores[near.max(axis=1, initial=0.0) < _MATCH]
    most = max(len(true), 1)
    return float(np.sort(strangers)[::-1][:most].sum() - reached.sum()) / most


@dataclass(frozen=True)
class Judged:
    """The scores of N frames and what is there.

    Attributes:
        scores: Class logits (N, L, K) of L locations.
        boxes_px: N times boxes (G, 4) of the true objects.
        classes: Names of the K classes.
    """

    scores: Scores
    boxes_px: Sequence[Tensor]
    classes: Sequence[str]

    @property
    def best(self) -> Tensor:
        """(N, L) logit of the likeliest class."""
        return self.scores.logits.amax(dim=2)

    def inside(self) -> Tensor:
        """(N, L) whether a location lies in any of its frame's boxes."""
        centers_px = self.scores.centers_px
        frames = [_inside(centers_px, boxes).any(dim=0) for boxes in self.boxes_px]
        return torch.stack(frames)

    def mean_inside(self, values: Tensor) -> Tensor:
        """(N,) mean of (N, L) values over the locations inside objects."""
        inside = self.inside()
        weight = inside.float() / inside.sum(dim=1, keepdim=True).clamp(min=1)
        return (values * weight).sum(dim=1)


class _OfScores(Objective):
    """Judges class logits by where the objects are."""

    def value(
        self, response: Response, part: Part | None, samples: Sequence[Any]
    ) -> Tensor:
        """(N,) from the logits and the locations inside objects."""
        boxes_px = [sample.gt_instances.bboxes for sample in samples]
        return self.of(Judged(response.scores(part), boxes_px, response.classes))

    @abstractmethod
    def of(self, judged: Judged) -> Tensor:
        """(N,) what the attacker wants high."""


@OBJECTIVES.register_module(name="hide")
@dataclass(frozen=True)
class Hide(_OfScores):
    """Lower the class scores inside the ground-truth boxes."""

    def of(self, judged: Judged) -> Tensor:
        """(N,) minus the mean score inside."""
        return -judged.mean_inside(F.softplus(judged.best))


@OBJECTIVES.register_module(name="create")
@dataclass(frozen=True)
class Create(_OfScores):
    """Raise the highest class scores outside of the ground-truth boxes."""

    def of(self, judged: Judged) -> Tensor:
        """(N,) mean of the highest scores outside."""
        best = judged.best.masked_fill(judged.inside(), -torch.inf)
        top = best.topk(min(_TOP, best.shape[1]), dim=1).values
        return F.softplus(top).mean(dim=1)


@OBJECTIVES.register_module(name="rank")
@dataclass(frozen=True)
class Rank(_OfScores):
    """Raise the highest scores outside above the highest one inside each box.

    What average precision measures is this order.
    """

    def of(self, judged: Judged) -> Tensor:
        """(N,) margins."""
        margins = [
            _rank_margin(best, judged.scores.centers_px, boxes)
            for best, boxes in zip(judged.best, judged.boxes_px, strict=True)
        ]
        return torch.stack(margins)


@OBJECTIVES.register_module(name="margin")
@dataclass(frozen=True)
class Margin(Objective):
    """Raise the best wrong class above the right one: what accuracy measures.

    For targets that classify whole samples; the objective of Carlini and Wagner,
    "Towards Evaluating the Robustness of Neural Networks", 2017.
    """

    def value(
        self, response: Response, part: Part | None, samples: Sequence[Any]
    ) -> Tensor:
        """(N,) difference of class logits."""
        logits = response.scores(part).logits
        labels = [sample.gt_instances.labels for sample in samples]
        if logits.shape[1] != 1 or any(len(one) != 1 for one in labels):
            raise DoesNotApplyError(
                f"goal {self.text}: the target does not classify whole samples"
            )
        right = torch.stack(labels).to(logits.device)
        wrong = logits[:, 0].scatter(1, right, -torch.inf).amax(dim=1)
        return wrong - logits[:, 0].gather(1, right)[:, 0]


@OBJECTIVES.register_module(name="class")
@dataclass(frozen=True)
class TakenFor(_OfScores):
    """Have the objects taken for one class, and for nothing else.

    Attributes:
        name: The class.
    """

    name: str

    @property
    def text(self) -> str:
        """``class:NAME``."""
        return f"{super().text}:{self.name}"

    def of(self, judged: Judged) -> Tensor:
        """(N,) mean score of the class less that of the others, inside."""
        classes, logits = list(judged.classes), judged.scores.logits
        if self.name not in classes:
            raise DoesNotApplyError(f"goal {self.text}: classes are {classes}")
        target = classes.index(self.name)
        others = [k for k in range(len(classes)) if k != target]
        wrong = F.softplus(logits[..., others]).sum(dim=2)
        return judged.mean_inside(-F.softplus(-logits[..., target]) - wrong)


@OBJECTIVES.register_module(name="displace")
@dataclass(frozen=True)
class Displace(Objective):
    """Have the nearest object be detected somewhere else on the ground.

    Its detection is the box of the location that scores best; all locations inside the
    object's image box count, by the square of their scores, since the best one may
    change. What is reached is in metres.
    """

    def value(
        self, response: Response, part: Part | None, samples: Sequence[Any]
    ) -> Tensor:
        """(N,) distance of the centres said from the true one; 0 without an object."""
        ground_m, scores = response.ground(part), response.scores(part)
        best = scores.logits.detach().amax(dim=2).sigmoid()
        moved = [
            _distance_m(where, score, scores.centers_px, sample)
            for where, score, sample in zip(ground_m, best, samples, strict=True)
        ]
        return torch.stack(moved)


def _distance_m(
    ground_m: Tensor, scores: Tensor, centers_px: Tensor, sample: Any
) -> Tensor:
    """Mean distance (L, 2) to a frame's nearest object, by scores (L,) inside it."""
    truth = sample.gt_instances
    known = truth.get("targets_3d")
    if known is None:
        raise DoesNotApplyError("goal displace: the frames have no labels in metres")
    depth_m = known[:, 2].nan_to_num(torch.inf)
    if not depth_m.isfinite().any():
        return (0 * ground_m).sum()
    nearest = depth_m.argmin()
    camera = torch.as_tensor(sample.image_P_cam).to(ground_m)[None]
    true = unproject(camera, known[nearest, None, :2] - 0.5, known[nearest, None, 2])
    inside = _inside(centers_px, truth.bboxes[nearest, None])[0]
    weight = scores.square() * inside
    off_m = (ground_m - true[:, [0, 2]].to(ground_m)).square().sum(dim=1)
    return (weight * (off_m + 1e-6).sqrt()).sum() / weight.sum().clamp(min=1e-9)


def _inside(centers_px: Tensor, boxes_px: Tensor) -> Tensor:
    """(G, L) whether a location (L, 2) lies in a box (G, 4)."""
    x, y = centers_px[:, 0], centers_px[:, 1]
    left, top, right, bottom = boxes_px.T[..., None]
    return (x >= left) & (x <= right) & (y >= top) & (y <= bottom)


def _rank_margin(scores: Tensor, centers_px: Tensor, boxes_px: Tensor) -> Tensor:
    """How far the best background scores (L,) lie above the objects' (G, 4) best."""
    own = _inside(centers_px, boxes_px)
    background = scores.masked_fill(own.any(dim=0), _NO_SCORE)
    risen = background.topk(min(_TOP, len(scores))).values.mean()
    if not own.any():
        return risen
    best = scores.expand_as(own).masked_fill(~own, _NO_SCORE).logsumexp(dim=1)
    return risen - best.mean()
