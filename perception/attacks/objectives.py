"""What an attacker ascends, and the detector as an attack may use it.

Attacks know a detector through :class:`Victim` alone: it evaluates objectives per
frame from the attacked sensors' inputs, with the features of all other sensors
computed once.

Goals are those of :mod:`perception.attacks.goals`.

Shape letters: N frames, S sensors, K classes, L locations of all pyramid levels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from perception.attacks.batch import AttackBatch
from perception.attacks.goals import Goal

_CREATED = 50  # how many of a frame's scores ``create`` raises


class Victim:
    """A detector under attack, reduced to objectives of the touched sensors.

    Args:
        detector: A ``MultiModalDetector`` in eval mode with frozen parameters, see
            :func:`frozen`.
        batch: The clean frames.
        touched: Sensors whose inputs the attack supplies.
    """

    def __init__(
        self, detector: Any, batch: AttackBatch, touched: tuple[str, ...]
    ) -> None:
        self.detector, self.batch = detector, batch
        self.touched = touched
        self._side_by_side: dict[tuple[str, int], tuple[Tensor, ...]] = {}
        with torch.no_grad():
            self._kept = {
                name: branch(batch.inputs[name])
                for name, branch in detector.branches.items()
                if name not in touched
            }

    def objective(self, changed: Mapping[str, Tensor], goal: Goal) -> Tensor:
        """What the attacker ascends, (N,), differentiable in ``changed``.

        Args:
            changed: Model inputs (M N, C, H, W) of the touched sensors, for the M
                restarts one after the other.
            goal: What to ascend.
        """
        pyramids, samples = self._pyramids(changed)
        detector = self.detector
        with self._through(goal.expert):
            fused = detector.fuse(pyramids)
        value = self._base(fused, samples, goal)
        if goal.gate is not None:
            # An expert attacked by itself does not ask the gate.
            gated = fused if goal.expert is None else detector.fuse(pyramids)
            logits = gated.gate_logits
            if logits is None:
                raise ValueError(f"goal {goal} speaks of a gate; the detector has none")
            loss = self._gate_loss(logits, goal.gate)
            if goal.gate == "none" and gated.doubt is not None:
                loss = loss + F.softplus(gated.doubt)
            value = value - goal.weight * loss
        return value

    def _pyramids(self, changed: Mapping[str, Tensor]) -> tuple[dict, list]:
        """Features of all sensors for the M N frames, and their samples."""
        (total,) = {len(value) for value in changed.values()}
        times = total // len(self.batch)
        pyramids = {}
        for name, branch in self.detector.branches.items():
            if name in changed:
                pyramids[name] = branch(changed[name])
            else:
                pyramids[name] = self._repeated(name, times)
        return pyramids, list(self.batch.samples) * times

    def _repeated(self, name: str, times: int) -> tuple[Tensor, ...]:
        """An untouched sensor's features for every restart, copied once."""
        if times == 1:
            return self._kept[name]
        key = (name, times)
        if key not in self._side_by_side:
            copies = tuple(f.repeat(times, 1, 1, 1) for f in self._kept[name])
            self._side_by_side[key] = copies
        return self._side_by_side[key]

    @contextmanager
    def _through(self, expert: str | None) -> Iterator[None]:
        if expert is None:
            yield
        elif not self.detector.can_blame:
            raise ValueError("this goal attacks an expert; the detector has none")
        else:
            with self.detector.fusion.blaming(None if expert == "none" else expert):
                yield

    def _base(self, fused: Any, samples: list, goal: Goal) -> Tensor:
        if goal.through == "parts":
            through = [replace(goal, through=part) for part in self._parts(fused)]
            return torch.stack([self._base(fused, samples, g) for g in through]).mean(0)
        part = self.touched[0] if goal.through == "view" else goal.through
        if goal.base == "detection":
            return self.detector.frame_losses(fused, samples, part)
        scores, centers = self._class_logits(fused, part)
        inside = torch.stack([_inside(centers, s.gt_instances.bboxes) for s in samples])
        if goal.base == "create":
            best = scores.amax(dim=2).masked_fill(inside, -torch.inf)
            top = best.topk(min(_CREATED, best.shape[1]), dim=1).values
            return F.softplus(top).mean(dim=1)
        if goal.base == "rank":
            return torch.stack(
                [
                    _rank_margin(frame.amax(dim=1), centers, s.gt_instances.bboxes)
                    for frame, s in zip(scores, samples, strict=True)
                ]
            )
        weight = inside.float() / inside.sum(dim=1, keepdim=True).clamp(min=1)
        if goal.base == "hide":
            return -(F.softplus(scores.amax(dim=2)) * weight).sum(dim=1)
        classes = list(self.detector.dataset_meta["classes"])
        if goal.target not in classes:
            raise ValueError(f"goal class:{goal.target}: classes are {classes}")
        target = classes.index(goal.target)
        others = [k for k in range(len(classes)) if k != target]
        wrong = F.softplus(scores[..., others]).sum(dim=2)
        taken = -F.softplus(-scores[..., target]) - wrong
        return (taken * weight).sum(dim=1)

    def _parts(self, fused: Any) -> list[str]:
        """What the neck chooses from that the attacker's sensors reach."""
        return [
            *self.touched,
            "fused",
            *(
                f"without:{name}"
                for name in self.detector.branches
                if fused.experts and (name,) != self.touched
            ),
        ]

    def _class_logits(self, fused: Any, part: str | None) -> tuple[Tensor, Tensor]:
        """Class logits (N, L, K), best anchor per location, and its pixel (L, 2)."""
        logits = self.detector.head_outputs(fused, part)[0]
        classes = self.detector.bbox_head.cls_out_channels
        flat, centers = [], []
        height, width = next(iter(self.batch.inputs.values())).shape[-2:]
        for level in logits:
            n, _, h, w = level.shape
            flat.append(
                level.reshape(n, -1, classes, h * w).amax(dim=1).transpose(1, 2)
            )
            y = (torch.arange(h, device=level.device) + 0.5) * (height / h)
            x = (torch.arange(w, device=level.device) + 0.5) * (width / w)
            grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
            centers.append(grid.reshape(-1, 2))
        return torch.cat(flat, dim=1), torch.cat(centers)

    def _gate_loss(self, logits: Tensor, blamed: str) -> Tensor:
        """(N,) cross-entropy of the gate to "``blamed`` lies", mean over locations."""
        names = [*self.detector.branches, "none"]
        if blamed not in names:
            raise ValueError(f"goal blames {blamed!r}; sensors are {names[:-1]}")
        loss = -logits.log_softmax(dim=1)[:, names.index(blamed)]
        return loss.reshape(len(loss), -1).mean(dim=1)


def _inside(centers: Tensor, boxes_px: Tensor) -> Tensor:
    """(L,) whether a location lies in any of the boxes (G, 4)."""
    x, y = centers[:, :1], centers[:, 1:]
    hit = (x >= boxes_px[:, 0]) & (x <= boxes_px[:, 2])
    hit &= (y >= boxes_px[:, 1]) & (y <= boxes_px[:, 3])
    return hit.any(dim=1)


def _rank_margin(scores: Tensor, centers: Tensor, boxes_px: Tensor) -> Tensor:
    """How far the best background scores (L,) lie above the objects' (G, 4) best."""
    x, y = centers[:, 0], centers[:, 1]
    left, top, right, bottom = boxes_px.T[..., None]
    own = (x >= left) & (x <= right) & (y >= top) & (y <= bottom)
    background = scores.masked_fill(own.any(dim=0), -20.0)
    risen = background.topk(min(_CREATED, len(scores))).values.mean()
    if not own.any():
        return risen
    best = scores.expand_as(own).masked_fill(~own, -20.0).logsumexp(dim=1)
    return risen - best.mean()


@contextmanager
def in_eval_mode(detector: Any) -> Iterator[None]:
    """Eval mode; every module's own mode is restored afterwards."""
    was_training = {m: m.training for m in detector.modules()}
    detector.eval()
    try:
        yield
    finally:
        for module, training in was_training.items():
            module.training = training


@contextmanager
def laid_out_for_speed(detector: Any) -> Iterator[None]:
    """Convolutions' weights channels last, on a CPU; the same tensors again after.

    Layers then answer in that layout, whatever their input has: a step takes a sixth
    less time on a CPU. Other processors are left alone, where it was not measured.
    """
    kept = {
        p: p.data
        for p in detector.parameters()
        if p.ndim == 4 and p.device.type == "cpu"
    }
    for parameter, data in kept.items():
        parameter.data = data.contiguous(memory_format=torch.channels_last)
    try:
        yield
    finally:
        for parameter, data in kept.items():
            parameter.data = data


@contextmanager
def frozen(detector: Any) -> Iterator[None]:
    """Eval mode, heads for losses, parameters without gradients; restored after."""
    wanted = {p: p.requires_grad for p in detector.parameters()}
    detector.requires_grad_(False)
    try:
        with (
            in_eval_mode(detector),
            detector.for_losses(),
            laid_out_for_speed(detector),
        ):
            yield
    finally:
        for parameter, requires_grad in wanted.items():
            parameter.requires_grad_(requires_grad)
