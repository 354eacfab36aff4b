"""What an attacker ascends, one registered class each.

An objective judges what a target says (:class:`Response`) of frames with known truth.
Average precision depends on the order of scores, detectors are trained on losses:
neither is always the stronger thing to ascend.

Shape letters: N frames, K classes, L locations of all pyramid levels, G objects.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

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
_FOUND_M = 4.0


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


class _OnGround(Objective):
    """Judges where on the ground objects are said to be, and that they still are.

    An object's detection is the box of the location that scores best; all locations
    inside its image box count, by the square of their scores, since the best one may
    change. An object that is lost is not moved: where its best score falls below 0.5,
    the logarithm of that is a loss.

    Attributes:
        keep: Factor of that loss.
    """

    keep: ClassVar[float] = 1.0

    def value(
        self, response: Response, part: Part | None, samples: Sequence[Any]
    ) -> Tensor:
        """(N,) mean over the objects in question; 0 without any."""
        ground, scores = response.ground(part), response.scores(part)
        values = [
            self._of_frame(said, logits, scores.centers_px, sample)
            for said, logits, sample in zip(ground, scores.logits, samples, strict=True)
        ]
        return torch.stack(values)

    def _of_frame(
        self, said: Tensor, logits: Tensor, centers_px: Tensor, sample: Any
    ) -> Tensor:
        truth = sample.gt_instances
        known = truth.get("targets_3d")
        if known is None:
            text = f"goal {self.text}: the frames have no labels in metres"
            raise DoesNotApplyError(text)
        chosen = self.chosen(known)
        if not len(chosen):
            return (0 * said).sum()
        camera = torch.as_tensor(sample.image_P_cam).to(said)[None]
        true = known[chosen].to(said)
        where = unproject(camera, true[:, :2] - 0.5, true[:, 2])
        x, _, z = where.unbind(dim=1)
        places = torch.stack([x, z, true[:, 6] + torch.atan2(x, z)], dim=1)  # (G, 3)
        inside = _inside(centers_px, truth.bboxes[chosen])
        sure = logits.detach().amax(dim=1).sigmoid().square() * inside  # (G, L)
        off = self.off(said, places[:, None])
        reached = (sure * off).sum(dim=1) / sure.sum(dim=1).clamp(min=1e-9)
        own = logits.T[truth.labels[chosen]].masked_fill(~inside, _NO_SCORE)
        kept = F.logsigmoid(own.amax(dim=1)).clamp(max=-math.log(2)) + math.log(2)
        return (reached + self.keep * kept).mean()

    def chosen(self, known: Tensor) -> Tensor:
        """Numbers of the objects in question, of targets (G, 7), NaN where unknown."""
        return known.isfinite().all(dim=1).nonzero()[:, 0]

    @abstractmethod
    def off(self, said: Tensor, true: Tensor) -> Tensor:
        """(G, L) how wrong x, z, yaw (L, 3) are of objects that are at (G, 1, 3)."""


@OBJECTIVES.register_module(name="displace")
@dataclass(frozen=True)
class Displace(_OnGround):
    """Have objects be detected somewhere else on the ground: metres.

    Attributes:
        which: ``nearest``: the nearest object, as far as can be; ``all``: every one,
            up to 4 m, the largest distance at which one counts as found.
    """

    which: str = "nearest"
    keep: ClassVar[float] = 2.0  # metres

    def __post_init__(self) -> None:
        if self.which not in ("nearest", "all"):
            raise ValueError(f"displace: nearest or all objects, got {self.which!r}")

    @property
    def text(self) -> str:
        """``displace``, or ``displace:all``."""
        return super().text + (":all" if self.which == "all" else "")

    def chosen(self, known: Tensor) -> Tensor:
        """See the class."""
        each = super().chosen(known)
        if self.which == "all" or not len(each):
            return each
        return each[known[each, 2].argmin(), None]

    def off(self, said: Tensor, true: Tensor) -> Tensor:
        """Distances in metres."""
        off_m = ((said - true)[..., :2].square().sum(dim=2) + 1e-6).sqrt()
        return off_m if self.which == "nearest" else off_m.clamp(max=_FOUND_M)


@OBJECTIVES.register_module(name="heading")
@dataclass(frozen=True)
class WrongHeading(_OnGround):
    """Have objects be detected facing elsewhere: from 0, right, to 1, backwards."""

    def off(self, said: Tensor, true: Tensor) -> Tensor:
        """Half of 1 less the cosine of the angle."""
        return (1 - (said - true)[..., 2].cos()) / 2


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
