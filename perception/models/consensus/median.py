"""Fusion by the median of what each sensor alone predicts: it cannot be led astray.

Shape letters: N frames, S sensors, C channels, H_l, W_l size of pyramid level l.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import cast

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from perception.models.consensus.intervals import side_by_side, trusted_range
from perception.models.fusion.base import FusionNeck, FusionOutput
from perception.models.heads.outputs import HeadOutputs, Pyramid

CLASSES, BOXES = 0, 1  # which of a dense head's kinds of outputs are these


@MODELS.register_module()
class MedianFusion(FusionNeck):
    """Let each sensor predict alone and keep the predictions near their median.

    Every sensor's features go through a 1x1 convolution and the head by themselves.
    Sort the S predictions of a number (a class logit, a side of a box) and leave out
    the smallest and the largest; what remains spans the *trusted range*. With three
    sensors it is the median (Yin et al., "Byzantine-robust distributed learning:
    towards optimal statistical rates", ICML 2018, fuse gradients so). Without ``fused``
    the middle of the trusted range is the prediction. With ``fused``, another fusion
    neck, its richer prediction is, moved into the trusted range widened by ``margin``.

    **Certificate.** Let one sensor i say anything at all. The trusted range lies within
    the smallest and the largest of the S - 1 honest predictions: at most one of the S
    numbers is dishonest, so the second smallest of all is at least the smallest honest
    one, and the second largest at most the largest honest one. Hence every output lies
    within [smallest honest - margin, largest honest + margin], whatever sensor i says,
    and ``perception.evaluation.certified`` computes from clean frames what no attack
    on one sensor can take away. For boxes that takes a ``box_margin`` of at most 1:
    beyond it, the larger of two numbers less its margin may be the smaller.

    Args:
        sensors: Names of S >= 3 sensors; between two there is no majority.
        in_channels: Channels of each sensor's pyramid.
        num_levels: Number of pyramid levels.
        out_channels: Channels of the views and of the fused pyramid.
        fused: Config of the neck whose prediction is moved into the trusted range.
        margin: How far beyond the trusted range a prediction of ``fused`` may lie:
            class logits and other scores by this much.
        box_margin: The same for the numbers of a box, as a fraction of their size.
        view_loss_weight: Factor of the loss of each sensor's own detections.
        init_cfg: MMEngine initialisation config.
    """

    def __init__(
        self,
        *,
        sensors: Sequence[str],
        in_channels: int,
        num_levels: int,
        out_channels: int,
        fused: dict | None = None,
        margin: float = 0.0,
        box_margin: float = 0.0,
        view_loss_weight: float = 1.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            sensors=sensors,
            in_channels=in_channels,
            num_levels=num_levels,
            out_channels=out_channels,
            init_cfg=init_cfg,
        )
        if len(sensors) < 3:
            raise ValueError(
                f"a median needs at least three sensors, got {list(sensors)}"
            )
        if min(margin, box_margin) < 0:
            raise ValueError(
                f"margins must not be negative, got {margin} and {box_margin}"
            )
        self.margin, self.box_margin = margin, box_margin
        self.view_loss_weight = view_loss_weight
        self.align = nn.ModuleList(
            nn.ModuleList(
                nn.Conv2d(in_channels, out_channels, 1) for _ in range(num_levels)
            )
            for _ in sensors
        )
        shape = dict(
            sensors=sensors,
            in_channels=in_channels,
            num_levels=num_levels,
            out_channels=out_channels,
        )
        self.fused = None if fused is None else MODELS.build(shape | dict(fused))

    @property
    def has_gate(self) -> bool:
        """Whether ``fused`` has one."""
        return self.fused is not None and self.fused.has_gate

    @property
    def can_blame(self) -> bool:
        """The trusted range can do without any sensor."""
        return True

    def views(self, pyramids: Mapping[str, Sequence[Tensor]]) -> tuple[Pyramid, ...]:
        """Each sensor's features by themselves, as the head knows them."""
        levels = self._by_level(pyramids)
        return tuple(
            tuple(
                cast(nn.ModuleList, aligns)[n](level[i])
                for n, level in enumerate(levels)
            )
            for i, aligns in enumerate(self.align)
        )

    def fuse(
        self,
        levels: Sequence[Sequence[Tensor]],
        views: Sequence[HeadOutputs] = (),
        experts: Sequence[HeadOutputs] = (),
    ) -> FusionOutput:
        """What ``fused`` makes of ``levels[l][i]``."""
        inner = FusionOutput(()) if self.fused is None else self.fused.fuse(levels)
        blamed = None
        if self._forced is not None:
            blamed = self._for_every_frame(levels, self._forced)
        return FusionOutput(inner.features, inner.gate_logits, tuple(views), blamed)

    def combine(self, fused: HeadOutputs | None, output: FusionOutput) -> HeadOutputs:
        """Every number of ``fused`` moved near the trusted range of the views'.

        A sensor blamed is not asked; all others are honest then. Where nobody is, a
        frame in doubt is moved into the range itself, but for training, so that
        ``fused`` learns from it.
        """
        freedom, blamed = self._freedom(output), output.blamed
        if blamed is not None and not torch.jit.is_tracing():
            # A trace would keep this choice, which only saves time.
            blamed = None if (blamed == len(output.views)).all() else blamed
        return tuple(
            [
                self._move(
                    kind,
                    None if fused is None else fused[kind][n],
                    *trusted_range(level, blamed),
                    freedom,
                )
                for n, level in enumerate(levels)
            ]
            for kind, levels in enumerate(side_by_side(output.views))
        )

    def bounds(
        self, output: FusionOutput, liar: int
    ) -> tuple[HeadOutputs, HeadOutputs]:
        """Between what the outputs lie, whatever sensor ``liar`` says: low and high.

        For boxes they hold for a ``box_margin`` of at most 1.

        Args:
            output: What :meth:`forward` returned for the clean inputs.
            liar: Index of the sensor that may say anything at all.
        """
        return self._range_of([v for i, v in enumerate(output.views) if i != liar])

    def _range_of(
        self, honest: Sequence[HeadOutputs]
    ) -> tuple[HeadOutputs, HeadOutputs]:
        """Smallest and largest of what is honest, widened by the margins."""
        low: list[list[Tensor]] = []
        high: list[list[Tensor]] = []
        for kind, levels in enumerate(side_by_side(honest)):
            lowest = [level.amin(dim=0) for level in levels]
            highest = [level.amax(dim=0) for level in levels]
            if self.fused is not None:
                lowest = [limit - self._slack(kind, limit) for limit in lowest]
                highest = [limit + self._slack(kind, limit) for limit in highest]
            low.append(lowest)
            high.append(highest)
        return tuple(low), tuple(high)

    def _freedom(self, output: FusionOutput) -> Tensor | float:
        """1 where a prediction may go beyond the trusted range, 0 in doubt."""
        if output.doubt is None or self.training:
            return 1.0
        free = output.doubt <= 0
        if output.blamed is not None:
            free |= output.blamed < len(output.views)
        return free[:, None, None, None].to(output.views[0][0][0])

    def losses(self, output: FusionOutput, odd_sensors: Tensor) -> dict[str, Tensor]:
        """Those of ``fused``."""
        return {} if self.fused is None else self.fused.losses(output, odd_sensors)

    @contextmanager
    def blaming(self, sensor: str | None) -> Iterator[None]:
        """As :meth:`FusionNeck.blaming`, for ``fused`` as well if it can be told.

        The trusted range is then that of the other sensors, all of them honest.
        """
        inner: AbstractContextManager[None] = nullcontext()
        if self.fused is not None and self.fused.can_blame:
            inner = self.fused.blaming(sensor)
        with super().blaming(sensor), inner:
            yield

    def _move(
        self,
        kind: int,
        fused: Tensor | None,
        low: Tensor,
        high: Tensor,
        freedom: Tensor | float,
    ) -> Tensor:
        """One kind and level of ``fused`` into the trusted range, (N, K, H_l, W_l).

        That is widened where ``freedom`` is 1, not where it is 0.
        """
        middle = (low + high) / 2
        if fused is None:
            return middle
        # A lying sensor may bring NaN about: sorting puts it last, clamping keeps it.
        fused = torch.where(fused.isnan(), middle, fused)
        return fused.clamp(
            low - freedom * self._slack(kind, low),
            high + freedom * self._slack(kind, high),
        )

    def _slack(self, kind: int, limit: Tensor) -> Tensor | float:
        """How far beyond a limit of the trusted range a prediction may lie."""
        return self.box_margin * limit.abs() if kind == BOXES else self.margin
