"""The robust fusion layer: an odd-one-out gate over leave-one-out experts.

Shape letters: N frames, S sensors, C channels, A aligned channels, H_l, W_l size of
pyramid level l, h, w size of the gate's grid.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn

from perception.models.fusion.base import FusionNeck, FusionOutput
from perception.models.heads.outputs import HeadOutputs, Pyramid
from perception.models.losses import gate_hits, odd_one_out_loss


@MODELS.register_module()
class OddOneOutFusion(FusionNeck):
    """Find the sensor that contradicts the others and let only the others through.

    Yang et al., "Defending Multimodal Fusion Models against Single-Source
    Adversaries", CVPR 2021: F(z) = sum_i o_i(z) e_i(z without z_i) + o_S(z) e_S(z),
    where o is the odd-one-out network, e_i the expert that never sees sensor i, and
    e_S the expert that sees all. Ours fuses every pyramid level, decides once for all
    levels, and can decide per location as well as globally.

    Args:
        sensors: Names of the sensors; three or more are advised, since two that
            disagree cannot tell which of them lies.
        in_channels: Channels of each sensor's pyramid.
        num_levels: Number of pyramid levels.
        out_channels: Channels of the fused pyramid.
        gate: ``global`` (one decision per frame) or ``spatial`` (one per location).
            None: no gate; all sensors are trusted unless :meth:`leave_out` is told.
        gate_level: Pyramid level on whose grid the gate compares the sensors.
        align_channels: A, channels of each sensor's aligned features.
        loss_weight: Factor of the odd-one-out loss; 0 leaves the gate untaught.
        threshold: At test time a sensor blamed with more than this probability is left
            out altogether, and nobody is otherwise (hard routing). None mixes the
            experts by the gate's probabilities, as in training.
        init_cfg: MMEngine initialisation config.
    """

    def __init__(
        self,
        *,
        sensors: Sequence[str],
        in_channels: int,
        num_levels: int,
        out_channels: int,
        gate: Literal["global", "spatial"] | None = "global",
        gate_level: int = 1,
        align_channels: int = 16,
        loss_weight: float = 1.0,
        threshold: float | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            sensors=sensors,
            in_channels=in_channels,
            num_levels=num_levels,
            out_channels=out_channels,
            init_cfg=init_cfg,
        )
        if gate not in ("global", "spatial", None):
            raise ValueError(f"gate must be 'global', 'spatial' or None, got {gate!r}")
        if gate is not None and not 0 <= gate_level < num_levels:
            raise ValueError(
                f"gate_level must be one of the {num_levels} levels, got {gate_level}"
            )
        count = len(sensors)
        if count == 2:
            warnings.warn(
                "an odd-one-out gate over two sensors sees that they disagree but "
                "cannot tell which one lies; three or more sensors are advised",
                stacklevel=2,
            )
        self.gate, self.gate_level, self.loss_weight = gate, gate_level, loss_weight
        self.threshold = threshold
        if gate is not None:
            self.align = nn.ModuleList(
                nn.Sequential(
                    nn.Conv2d(in_channels * num_levels, align_channels, 3, padding=1),
                    nn.ReLU(inplace=True),
                )
                for _ in range(count)
            )
            self.compare = nn.Sequential(
                nn.Conv2d(count * align_channels, count * align_channels, 3, padding=1),
                nn.ReLU(inplace=True),
            )
            self.decide = nn.Conv2d(count * align_channels, count + 1, 1)
        widths = [(count - 1) * in_channels] * count + [count * in_channels]
        self.experts = nn.ModuleList(
            nn.ModuleList(nn.Conv2d(width, out_channels, 1) for width in widths)
            for _ in range(num_levels)
        )

    @property
    def has_gate(self) -> bool:
        """Unless it was built without."""
        return self.gate is not None

    @property
    def can_blame(self) -> bool:
        """There is an expert without each sensor."""
        return True

    def fuse(
        self,
        levels: Sequence[Sequence[Tensor]],
        views: Sequence[HeadOutputs] = (),
        experts: Sequence[HeadOutputs] = (),
    ) -> FusionOutput:
        """Fuse ``levels[l][i]`` (N, C, H_l, W_l) into (N, C_out, H_l, W_l)."""
        told = self._forced
        if told is None and self.gate is None:
            told = len(self.sensors)
        if told is not None:
            blamed = self._for_every_frame(levels, told)
            return FusionOutput(self.leave_out(levels, blamed), blamed=blamed)
        logits = self._gate_logits(levels)
        weights = logits.softmax(dim=1)
        if self.threshold is not None and not self.training:
            weights = hard_routes(weights, self.threshold)
        return FusionOutput(
            tuple(self._mix(n, level, weights) for n, level in enumerate(levels)),
            logits,
        )

    def expert(self, levels: Sequence[Sequence[Tensor]], index: int) -> Pyramid:
        """The fused pyramid of the expert that never sees sensor ``index``; S: of all.

        ``levels[l][i]`` are (N, C, H_l, W_l), as for :meth:`fuse`.
        """
        return tuple(self._expert(n, index, level) for n, level in enumerate(levels))

    def leave_out(self, levels: Sequence[Sequence[Tensor]], blamed: Tensor) -> Pyramid:
        """The fused pyramid without sensor ``blamed[n]`` (N,) in frame n, S for none.

        Only the experts needed are asked, each for its frames; all are while traced,
        since a trace keeps no choice that depends on numbers.
        """
        if torch.jit.is_tracing():
            return self._chosen_of_all(levels, blamed)
        needed = blamed.unique().tolist() or [len(self.sensors)]  # any for no frames
        if len(needed) == 1:
            return self.expert(levels, needed[0])
        frames = [(blamed == i).nonzero().flatten() for i in needed]
        parts = [
            self.expert([[feature[own] for feature in level] for level in levels], i)
            for i, own in zip(needed, frames, strict=True)
        ]
        back = torch.cat(frames).argsort()
        return tuple(torch.cat(level)[back] for level in zip(*parts, strict=True))

    def losses(self, output: FusionOutput, odd_sensors: Tensor) -> dict[str, Tensor]:
        """The odd-one-out loss and how often the gate is right.

        ``gate_right_*`` is the share of the frames where a sensor lies (or none does)
        that the gate says so of; it is logged, not minimised.
        """
        if output.gate_logits is None:
            return {}
        right = gate_hits(output.gate_logits, odd_sensors)
        terms = {
            f"gate_right_{name}": right[odd_sensors == i].mean()
            for i, name in enumerate([*self.sensors, "none"])
            if (odd_sensors == i).any()
        }
        if self.loss_weight > 0:
            loss = odd_one_out_loss(output.gate_logits, odd_sensors)
            terms["loss_odd_one_out"] = self.loss_weight * loss
        return terms

    def _gate_logits(self, levels: Sequence[Sequence[Tensor]]) -> Tensor:
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

    def _chosen_of_all(
        self, levels: Sequence[Sequence[Tensor]], blamed: Tensor
    ) -> Pyramid:
        """As :meth:`leave_out`, chosen from what all experts make of all frames."""
        *others, chosen = (self.expert(levels, i) for i in range(len(levels[0]) + 1))
        for i, expert in enumerate(others):
            told = (blamed == i)[:, None, None, None]
            chosen = tuple(
                torch.where(told, one, other)
                for one, other in zip(expert, chosen, strict=True)
            )
        return chosen

    def _expert(self, n: int, index: int, level: Sequence[Tensor]) -> Tensor:
        """Expert ``index`` of level n: all sensors but that one; S sees all."""
        kept = [feature for i, feature in enumerate(level) if i != index]
        experts = cast(nn.ModuleList, self.experts[n])
        return experts[index](torch.cat(kept, dim=1))

    def _mix(self, n: int, level: Sequence[Tensor], weights: Tensor) -> Tensor:
        """Sum of level n's experts, weighted by the gate."""
        if weights.ndim == 2:
            weights = weights[:, :, None, None]
        else:
            weights = _resize(weights, level[0].shape[-2:])
        experts = [self._expert(n, i, level) for i in range(len(level) + 1)]
        return torch.stack(
            [weights[:, i : i + 1] * expert for i, expert in enumerate(experts)]
        ).sum(dim=0)


def hard_routes(weights: Tensor, threshold: float) -> Tensor:
    """One expert for all: (N, S + 1, …) probabilities to ones and zeros.

    The likeliest sensor is left out if its probability exceeds ``threshold``.
    """
    count = weights.shape[1] - 1
    blamed, sensor = weights[:, :count].max(dim=1)
    chosen = torch.where(blamed > threshold, sensor, count)
    routes = F.one_hot(chosen, count + 1).movedim(-1, 1)
    return routes.to(weights)


def _resize(feature: Tensor, size: tuple[int, ...]) -> Tensor:
    """Bilinear up, average down, so that no cell is skipped."""
    height, width = size
    if feature.shape[-2:] == (height, width):
        return feature
    if feature.shape[-1] > width:
        return F.adaptive_avg_pool2d(feature, (height, width))
    return F.interpolate(
        feature, size=(height, width), mode="bilinear", align_corners=False
    )
