"""The robust fusion layer: an odd-one-out gate over leave-one-out experts.

Shape letters: N frames, S sensors, C channels, A aligned channels, H_l, W_l size of
pyramid level l, h, w size of the gate's grid.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn

from perception.models.fusion.base import FusedFeatures, FusionNeck, Levels
from perception.models.losses import gate_losses
from perception.models.pyramid import Pyramid, PyramidShape


@MODELS.register_module()
class OddOneOutFusion(FusionNeck):
    """Find the sensor that contradicts the others and let only the others through.

    Yang et al., "Defending Multimodal Fusion Models against Single-Source
    Adversaries", CVPR 2021: F(z) = sum_i o_i(z) e_i(z without z_i) + o_S(z) e_S(z),
    where o is the odd-one-out network, e_i the expert that never sees sensor i, and
    e_S the expert that sees all. Ours fuses every pyramid level, decides once for all
    levels, and can decide per location as well as globally.

    Args:
        shape: See :class:`FusionNeck`; three or more sensors are advised, since two
            that disagree cannot tell which of them is compromised.
        gate: ``global`` (one decision per frame) or ``spatial`` (one per location).
            None: no gate; no sensor is left out unless the neck is told.
        gate_level: Pyramid level on whose grid the gate compares the sensors.
        align_channels: A, channels of each sensor's aligned features.
        loss_weight: Factor of the odd-one-out loss; 0 leaves the gate untaught.
        threshold: At test time a sensor of more than this probability is left out
            altogether, and none is otherwise (hard routing). None mixes the experts by
            the gate's probabilities, as in training.
        init_cfg: MMEngine initialisation config.
    """

    can_leave_out = True

    def __init__(
        self,
        shape: PyramidShape,
        *,
        gate: Literal["global", "spatial"] | None = "global",
        gate_level: int = 1,
        align_channels: int = 16,
        loss_weight: float = 1.0,
        threshold: float | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(shape, init_cfg=init_cfg)
        if gate not in ("global", "spatial", None):
            raise ValueError(f"gate must be 'global', 'spatial' or None, got {gate!r}")
        if gate is not None and not 0 <= gate_level < shape.num_levels:
            raise ValueError(
                f"gate_level must be one of the {shape.num_levels} levels, got "
                f"{gate_level}"
            )
        count, width = len(shape.sensors), shape.in_channels
        if count == 2:
            warnings.warn(
                "an odd-one-out gate over two sensors sees that they disagree but "
                "cannot tell which one is compromised; three or more are advised",
                stacklevel=2,
            )
        self.gate, self.gate_level, self.loss_weight = gate, gate_level, loss_weight
        self.threshold = threshold
        if gate is not None:
            aligned = count * align_channels
            self.align = nn.ModuleList(
                nn.Sequential(
                    nn.Conv2d(width * shape.num_levels, align_channels, 3, padding=1),
                    nn.ReLU(inplace=True),
                )
                for _ in range(count)
            )
            self.compare = nn.Sequential(
                nn.Conv2d(aligned, aligned, 3, padding=1), nn.ReLU(inplace=True)
            )
            self.decide = nn.Conv2d(aligned, count + 1, 1)
        widths = [(count - 1) * width] * count + [count * width]
        self.experts = nn.ModuleList(
            nn.ModuleList(nn.Conv2d(width, shape.out_channels, 1) for width in widths)
            for _ in range(shape.num_levels)
        )

    @property
    def has_gate(self) -> bool:
        """Unless it was built without."""
        return self.gate is not None

    def fuse(self, levels: Levels, leave_out: Tensor | None) -> FusedFeatures:
        """Fuse ``levels[l][i]`` (N, C, H_l, W_l) into (N, C_out, H_l, W_l)."""
        if leave_out is None and self.gate is None:
            frames = levels[0][0]
            leave_out = torch.full(
                (frames.shape[0],), len(self.shape.sensors), device=frames.device
            )
        if leave_out is not None:
            return FusedFeatures(self._leaving_out(levels, leave_out))
        logits = self._gate_logits(levels)
        weights = logits.softmax(dim=1)
        if self.threshold is not None and not self.training:
            weights = hard_routes(weights, self.threshold)
        return FusedFeatures(
            tuple(self._mix(n, level, weights) for n, level in enumerate(levels)),
            logits,
            weights,
        )

    def all_experts(self, pyramids: Mapping[str, Pyramid]) -> tuple[Pyramid, ...]:
        """The S + 1 fused pyramids: without each sensor, and of all of them."""
        levels = self.by_level(pyramids)
        return tuple(self._expert(levels, i) for i in range(len(levels[0]) + 1))

    def without(self, sensor: str, pyramids: Mapping[str, Pyramid]) -> Pyramid:
        """The fused pyramid of the expert that never sees a sensor.

        Args:
            sensor: Its name.
            pyramids: As of :meth:`forward`, of all others at least.
        """
        index = self.shape.sensors.index(sensor)
        others = [pyramids[name] for name in self.shape.sensors if name != sensor]
        return tuple(
            cast(nn.ModuleList, layers)[index](torch.cat(level, dim=1))
            for layers, *level in zip(self.experts, *others, strict=True)
        )

    def losses(
        self, gate_logits: Tensor | None, odd_sensors: Tensor
    ) -> dict[str, Tensor]:
        """Those of the gate, see :func:`gate_losses`."""
        if gate_logits is None:
            return {}
        return gate_losses(
            gate_logits,
            odd_sensors,
            sensors=self.shape.sensors,
            weight=self.loss_weight,
        )

    def _expert(self, levels: Levels, index: int) -> Pyramid:
        """The fused pyramid of expert ``index``, which never sees it; S sees all."""
        return tuple(self._expert_at(n, index, level) for n, level in enumerate(levels))

    def _leaving_out(self, levels: Levels, numbers: Tensor) -> Pyramid:
        """The fused pyramid without sensor ``numbers[n]`` (N,) in frame n, S for none.

        Only the experts needed are asked, each for its frames; all are while traced,
        since a trace keeps no choice that depends on numbers.
        """
        if torch.jit.is_tracing():
            return self._chosen_of_all(levels, numbers)
        needed = numbers.unique().tolist() or [len(levels[0])]  # any for no frames
        if len(needed) == 1:
            return self._expert(levels, needed[0])
        frames = [(numbers == i).nonzero().flatten() for i in needed]
        parts = [
            self._expert([[feature[own] for feature in level] for level in levels], i)
            for i, own in zip(needed, frames, strict=True)
        ]
        back = torch.cat(frames).argsort()
        return tuple(torch.cat(level)[back] for level in zip(*parts, strict=True))

    def _gate_logits(self, levels: Levels) -> Tensor:
        """Logits (N, S + 1), or (N, S + 1, h, w) for a gate per location."""
        size = levels[self.gate_level][0].shape[-2:]
        aligned = [
            align(torch.cat([_resize(level[i], size) for level in levels], dim=1))
            for i, align in enumerate(self.align)
        ]
        compared = self.compare(torch.cat(aligned, dim=1))
        if self.gate == "global":
            compared = compared.mean(dim=(2, 3), keepdim=True)
            return self.decide(compared).flatten(1)
        return self.decide(compared)

    def _chosen_of_all(self, levels: Levels, numbers: Tensor) -> Pyramid:
        """As :meth:`_leaving_out`, chosen from what all experts make of all frames."""
        *others, chosen = (self._expert(levels, i) for i in range(len(levels[0]) + 1))
        for i, expert in enumerate(others):
            told = (numbers == i)[:, None, None, None]
            chosen = tuple(
                torch.where(told, one, other)
                for one, other in zip(expert, chosen, strict=True)
            )
        return chosen

    def _expert_at(self, n: int, index: int, level: Sequence[Tensor]) -> Tensor:
        """Expert ``index`` of level n: all sensors but that one; S sees all."""
        kept = [feature for i, feature in enumerate(level) if i != index]
        layers = cast(nn.ModuleList, self.experts[n])
        return layers[index](torch.cat(kept, dim=1))

    def _mix(self, n: int, level: Sequence[Tensor], weights: Tensor) -> Tensor:
        """Sum of level n's experts, weighted by the gate."""
        if weights.ndim == 2:
            weights = weights[:, :, None, None]
        else:
            weights = _resize(weights, level[0].shape[-2:])
        experts = [self._expert_at(n, i, level) for i in range(len(level) + 1)]
        return torch.stack(
            [weights[:, i : i + 1] * expert for i, expert in enumerate(experts)]
        ).sum(dim=0)


def hard_routes(weights: Tensor, threshold: float) -> Tensor:
    """One expert for all: (N, S + 1, …) probabilities to ones and zeros.

    The likeliest sensor is left out if its probability exceeds ``threshold``.
    """
    count = weights.shape[1] - 1
    probability, sensor = weights[:, :count].max(dim=1)
    chosen = torch.where(probability > threshold, sensor, count)
    numbers = torch.arange(count + 1, device=weights.device)
    numbers = numbers.view(1, -1, *[1] * (weights.ndim - 2))
    return (chosen.unsqueeze(1) == numbers).to(weights)


def _resize(feature: Tensor, size: tuple[int, ...]) -> Tensor:
    """Bilinear up, average down, so that no cell is skipped.

    A trace keeps the sizes that it saw, and pools by whole blocks, as ONNX can.
    """
    height, width = int(size[0]), int(size[1])
    own_height, own_width = int(feature.shape[-2]), int(feature.shape[-1])
    if (own_height, own_width) == (height, width):
        return feature
    if own_width > width:
        if torch.jit.is_tracing() and not (own_height % height or own_width % width):
            return F.avg_pool2d(feature, (own_height // height, own_width // width))
        return F.adaptive_avg_pool2d(feature, (height, width))
    return F.interpolate(
        feature, size=(height, width), mode="bilinear", align_corners=False
    )
