"""An FCOS head whose locations also say where in space their object is.

Shape letters: N frames, L locations of all pyramid levels, P positives, K classes, H_l,
W_l size of level l.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from mmcv.cnn import Scale
from mmdet.models.dense_heads import FCOSHead
from mmdet.models.dense_heads.anchor_free_head import AnchorFreeHead
from mmdet.models.utils import filter_scores_and_topk
from mmdet.registry import MODELS
from mmengine.structures import InstanceData
from torch import Tensor, nn

from perception.core.structures import SensorSpec
from perception.models.heads.metric_boxes import MetricCode, in_metres
from perception.models.heads.outputs import HeadOutputs
from perception.models.measured import (
    CHANNELS,
    QUARTERS,
    UNIT_M,
    nearest_to_expected,
)

_NUMBERS, _DIRECTION = 6, 2  # of each location
_STRICT_AT_FIRST = 2.0  # how much measured depths lose by not being as expected


@dataclass(frozen=True, kw_only=True)
class MetricWeights:
    """Factors of the losses of what a location says in metres.

    Attributes:
        centre: Of the way to the projected centre, in strides.
        depth: Of the logarithm of the depth.
        size: Of the logarithms of the sizes.
        angle: Of 1 less the cosine of the angle's error.
    """

    centre: float = 0.5
    depth: float = 5.0
    size: float = 2.0
    angle: float = 1.0


@MODELS.register_module()
class FCOS3DHead(FCOSHead):
    """FCOS (Tian et al., ICCV 2019) with boxes in metres.

    After FCOS3D (Wang et al., ICCV workshops 2021) and SMOKE (Liu et al., CVPR
    workshops 2020). Class, image box and centre-ness are :class:`FCOSHead`'s, weights
    included. Two kinds of outputs come after them: numbers (N, 6, H_l, W_l) and unit
    vectors (N, 2, H_l, W_l), see :mod:`perception.models.heads.metric_boxes`. Unlike
    FCOS3D's, boxes compete by their image boxes, and the angle is one vector: the
    cosine's loss picks one of two opposite ones where their mean would be neither.

    Where sensors measure depth, its logarithm is the rest to a mean of what they
    measure around the location (:mod:`perception.models.measured`). Each location says
    how far it expects its object; the quarters of all these sensors count by how near
    they are to that, in a softmax with the expectation itself.

    Detections have ``boxes_3d`` (D, 7) beside their image boxes: x, y, z of the bottom
    face's centre in the cam frame, height, width, length in metres, yaw.

    Args:
        num_classes: K.
        in_channels: Channels of the features.
        mean_sizes_m: For each class mean height, width and length.
        mean_depth_m: The depth that it says at first.
        focal_px: The inputs' usual focal length f0, for what is read from an image
            alone, see :func:`said_alone`; None: depth is taken for metres at any zoom.
        depth_maps: M, how many sensors measure depth: behind C features come 2 Q
            channels of each of them. The detector says it.
        metric_channels: Width of the layers of the metric boxes, which look at the
            features around a location, what the box tower makes of them and measured
            depths. They are 1x1: experts and branches run all of them.
        metric_convs: How many such layers, before the last one.
        metric_weights: Factors of the losses, as :class:`MetricWeights`.
        settings: What else :class:`FCOSHead` takes.

    Attributes:
        learns_2d: Whether its losses include FCOS's.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        *,
        mean_sizes_m: Sequence[Sequence[float]],
        mean_depth_m: float = 16.0,
        focal_px: float | None = None,
        depth_maps: int = 0,
        metric_channels: int = 32,
        metric_convs: int = 2,
        metric_weights: dict | None = None,
        **settings: Any,
    ) -> None:
        sizes = tuple(tuple(float(x) for x in row) for row in mean_sizes_m)
        if len(sizes) != num_classes or any(len(row) != 3 for row in sizes):
            raise ValueError(
                "mean_sizes_m must be height, width and length of each of "
                f"{num_classes} classes, got {mean_sizes_m}"
            )
        if min(min(row) for row in sizes) <= 0 or mean_depth_m <= 0:
            raise ValueError("mean sizes and depth must be positive")
        self.code = MetricCode(
            mean_sizes_m=sizes,  # type: ignore[arg-type]
            mean_depth_m=mean_depth_m,
        )
        self.focal_px = focal_px
        self.metric_weights = MetricWeights(**(metric_weights or {}))
        self.depth_maps, self.learns_2d = depth_maps, True
        self.metric_widths = (metric_channels,) * metric_convs
        super().__init__(num_classes, in_channels, **settings)

    def _init_layers(self) -> None:
        """FCOS's layers, and those of the metric boxes."""
        super()._init_layers()
        inputs = self.in_channels
        self.metric_context = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs)
        width = 2 * inputs + self.feat_channels + CHANNELS * self.depth_maps
        layers: list[nn.Module] = []
        for wider in self.metric_widths:
            layers += [nn.Conv2d(width, wider, 1), nn.ReLU(inplace=True)]
            width = wider
        self.metric_convs = nn.Sequential(*layers)
        self.conv_metric = nn.Conv2d(width, _NUMBERS + _DIRECTION, 1)
        self.conv_choice: nn.Conv2d | None = None
        if self.depth_maps:
            choices = 1 + self.depth_maps * QUARTERS
            self.conv_choice = nn.Conv2d(width, choices + 2, 1)

    def init_weights(self) -> None:
        """FCOS's are tiny; layers without a norm learn from PyTorch's own."""
        super().init_weights()
        for layer in self.metric_layers():
            for part in layer.modules():
                if isinstance(part, nn.Conv2d):
                    part.reset_parameters()
        if self.conv_choice is not None:
            with torch.no_grad():
                cast(Tensor, self.conv_choice.bias)[-1] = _STRICT_AT_FIRST

    def metric_layers(self) -> list[nn.Module]:
        """The layers that FCOS does not have."""
        layers = [self.metric_context, self.metric_convs, self.conv_metric]
        return layers if self.conv_choice is None else [*layers, self.conv_choice]

    def forward_single(
        self, x: Tensor, scale: Scale, stride: int
    ) -> tuple[Tensor, ...]:
        """Logits, box sides, centre-ness, numbers and directions of one level."""
        features = x[:, : self.in_channels]
        scores, sides, of_class, of_box = AnchorFreeHead.forward_single(self, features)
        centerness = self.conv_centerness(
            of_box if self.centerness_on_reg else of_class
        )
        sides = scale(sides).float()
        if not self.norm_on_bbox:
            sides = sides.exp()
        else:
            sides = sides.clamp(min=0)
            sides = sides if self.training else sides * stride
        seen = [self.metric_context(features), of_box, x]
        tower = self.metric_convs(torch.cat(seen, dim=1))
        numbers, facing = self.conv_metric(tower).split((_NUMBERS, _DIRECTION), dim=1)
        numbers = numbers.float()
        if self.conv_choice is not None:
            way, rest, sizes = numbers.split((2, 1, 3), dim=1)
            choice = self.conv_choice(tower).float()
            near = nearest_to_expected(choice, x[:, self.in_channels :].float())
            near = near + math.log(UNIT_M / self.code.mean_depth_m)
            numbers = torch.cat([way, near + rest, sizes], dim=1)
        return scores, sides, centerness, numbers, F.normalize(facing.float(), dim=1)

    def loss_by_feat(
        self,
        scores: list[Tensor],
        sides: list[Tensor],
        centerness: list[Tensor],
        numbers: list[Tensor],
        directions: list[Tensor],
        truth: Sequence[InstanceData],
        metas: Sequence[dict],
        ignored: Sequence[InstanceData | None] | None = None,
    ) -> dict[str, Tensor]:
        """FCOS's losses, and ``loss_centre``, ``_depth``, ``_size`` and ``_angle``.

        The latter are of the locations whose object is known in space, by their
        centre-ness. The truth has ``targets_3d`` (G, 7), see
        :meth:`MetricCode.encode`, rows of NaN for objects known in the image only.
        """
        losses: dict[str, Tensor] = {}
        if self.learns_2d:
            losses = super().loss_by_feat(
                scores, sides, centerness, list(truth), list(metas), ignored
            )
        terms, weight, _ = self.metric_losses(numbers, directions, truth)
        total = weight.sum().clamp(min=1e-6)
        names = ("loss_centre", "loss_depth", "loss_size", "loss_angle")
        each = (weight[:, None] * terms).sum(dim=0) / total
        return losses | dict(zip(names, each.unbind(), strict=True))

    def metric_losses(
        self,
        numbers: Sequence[Tensor],
        directions: Sequence[Tensor],
        truth: Sequence[InstanceData],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Losses (P, 4) of the P positives known in space; weight and frame (P,)."""
        said, facing = in_a_row(numbers), in_a_row(directions)
        points, strides = self._grid(numbers)
        number, sides = self.assigned(points.split(_sizes(numbers)), truth)
        frame, place = (number >= 0).nonzero(as_tuple=True)
        own = number[frame, place]
        known = [one.get("targets_3d") for one in truth]
        if any(one is None for one in known):
            raise ValueError("FCOS3DHead needs targets_3d, which PackFrame makes")
        firsts = torch.tensor([0, *(len(one) for one in truth)], device=said.device)
        row = firsts.cumsum(0)[frame] + own
        targets = torch.cat(known).to(said)[row]
        seen = targets.isfinite().all(dim=1)
        frame, place, targets = frame[seen], place[seen], targets[seen]
        labels = torch.cat([one.labels for one in truth])[row[seen]]
        wanted, direction = self.code.encode(
            targets,
            labels,
            points[place],
            strides[place],
        )
        off = (said[frame, place] - wanted).abs()
        w = self.metric_weights
        terms = torch.stack(
            [
                w.centre * off[:, :2].sum(dim=1),
                w.depth * off[:, 2],
                w.size * off[:, 3:].sum(dim=1),
                w.angle * (1 - (facing[frame, place] * direction).sum(dim=1)),
            ],
            dim=1,
        )
        return terms, self.centerness_target(sides[frame, place]), frame

    def assigned(
        self, points: Sequence[Tensor], truth: Sequence[InstanceData]
    ) -> tuple[Tensor, Tensor]:
        """(N, L) number of the object that each location is to detect, -1 for none.

        And the box sides (N, L, 4) that it is to say, by FCOS's own assignment.
        """
        beyond = self.num_classes + 1
        numbered = [
            InstanceData(
                bboxes=one.bboxes,
                labels=torch.arange(len(one.bboxes), device=one.bboxes.device) + beyond,
            )
            for one in truth
        ]
        labels, sides = FCOSHead.get_targets(self, list(points), numbered)
        count = len(truth)
        number = torch.cat([one.view(count, -1) for one in labels], dim=1) - beyond
        return number.clamp(min=-1), torch.cat(
            [one.view(count, -1, 4) for one in sides], dim=1
        )

    def predict_by_feat(
        self,
        scores: list[Tensor],
        sides: list[Tensor],
        centerness: list[Tensor],
        numbers: list[Tensor],
        directions: list[Tensor],
        batch_img_metas: Sequence[dict],
        cfg: Any = None,
        rescale: bool = False,
        with_nms: bool = True,
    ) -> list[InstanceData]:
        """FCOS's detections, each with its box in metres, see the class."""
        cfg = self.test_cfg if cfg is None else cfg
        kinds = (scores, sides, centerness, numbers, directions)
        flat = [in_a_row(kind).detach().split(_sizes(kind), dim=1) for kind in kinds]
        points, strides = self._grid(numbers)
        grids = points.split(_sizes(numbers)), strides.split(_sizes(numbers))
        cameras = projections(batch_img_metas, points)
        found = []
        for n, meta in enumerate(batch_img_metas):
            levels = []
            for logits, *rest in zip(*flat, *grids, strict=True):
                own = [one[n] for one in rest[:4]] + rest[4:]
                names = ["sides", "centerness", "numbers", "directions"]
                names += ["points", "strides"]
                values, labels, _, kept = filter_scores_and_topk(
                    logits[n].sigmoid(),
                    cfg.get("score_thr", 0),
                    cfg.get("nms_pre", -1),
                    dict(zip(names, own, strict=True)),
                )
                levels.append((values, labels, *(kept[name] for name in names)))
            values, labels, box, center, said, facing, where, stride = (
                torch.cat(column) for column in zip(*levels, strict=True)
            )
            result = InstanceData(
                bboxes=self.bbox_coder.decode(where, box, max_shape=meta["img_shape"]),
                scores=values,
                labels=labels,
                score_factors=center[:, 0].sigmoid(),
                boxes_3d=self.code.decode(
                    said, facing, labels, where, stride, cameras[n, None]
                ),
            )
            found.append(
                self._bbox_post_process(
                    results=result,
                    cfg=cfg,
                    rescale=rescale,
                    with_nms=with_nms,
                    img_meta=meta,
                )
            )
        return found

    def ground(
        self,
        numbers: Sequence[Tensor],
        directions: Sequence[Tensor],
        metas: Sequence[dict],
    ) -> Tensor:
        """(N, L, 3) x, z in metres and yaw that each location says, differentiable."""
        said, facing = in_a_row(numbers), in_a_row(directions)
        points, strides = self._grid(numbers)
        # Of any class: sizes are no matter on the ground.
        labels = torch.zeros(len(points), dtype=torch.long, device=said.device)
        cameras = projections(metas, said)[:, None]
        boxes = [
            self.code.decode(own, angle, labels, points, strides, camera)
            for own, angle, camera in zip(said, facing, cameras, strict=True)
        ]
        return torch.stack(boxes)[:, :, [0, 2, 6]]

    def _grid(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Places (L, 2) and strides (L,) of all locations, in pixels of the input."""
        points = self.prior_generator.grid_priors(
            [level.shape[-2:] for level in levels],
            dtype=levels[0].dtype,
            device=levels[0].device,
        )
        strides = [
            points[0].new_full((len(one),), float(stride))
            for one, stride in zip(points, self.strides, strict=True)
        ]
        return torch.cat(points), torch.cat(strides)


def said_alone(
    head: nn.Module, spec: SensorSpec, outputs: HeadOutputs, samples: Sequence
) -> HeadOutputs:
    """What a head says of one sensor alone, depths in metres also of an image.

    Args:
        head: Any; those without boxes in metres say what they say.
        spec: Of the sensor.
        outputs: Of N frames.
        samples: Their metainfo has ``image_P_cam``; without any the focal length is the
            head's.
    """
    if spec.kind != "image" or not isinstance(head, FCOS3DHead) or not len(samples):
        return outputs
    if head.focal_px is None:
        return outputs
    camera = projections([one.metainfo for one in samples], outputs[3][0])
    focal_px = camera[:, 0, 0].abs()
    numbers = [in_metres(level, focal_px, head.focal_px) for level in outputs[3]]
    return (*outputs[:3], numbers, *outputs[4:])


def in_a_row(levels: Sequence[Tensor]) -> Tensor:
    """One (N, C, H_l, W_l) per level to (N, L, C)."""
    return torch.cat([level.flatten(2) for level in levels], dim=2).transpose(1, 2)


def projections(metas: Sequence[dict], like: Tensor) -> Tensor:
    """(N, 3, 4) of cam coordinates to the input's pixels.

    Raises:
        ValueError: If a frame's is not known.
    """
    known = [meta.get("image_P_cam") for meta in metas]
    if any(one is None for one in known):
        raise ValueError("boxes in metres need the frames' image_P_cam")
    return torch.stack([torch.as_tensor(one) for one in known]).to(like)


def _sizes(levels: Sequence[Tensor]) -> list[int]:
    """How many locations each level has."""
    return [level.shape[-2] * level.shape[-1] for level in levels]
