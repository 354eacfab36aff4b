"""Two sensors and the past: a detector of three sensors without one of them.

The weights are those of a detector of three sensors whose aggregator asks experts: the
expert without the third sensor fuses the other two, which also predict alone. No weight
is trained anew; the third sensor's are not used.

Shape letters: N frames, K classes, L locations of all pyramid levels, H_l, W_l size of
level l.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from mmdet.models.dense_heads import FCOSHead
from mmengine.structures import InstanceData
from torch import Tensor, nn

from perception.core.parts import BranchPrediction, LeaveOut, Part
from perception.core.structures import Channel, SensorSpec
from perception.models.consensus.consensus import ConsensusAggregator
from perception.models.consensus.history import (
    OLDEST_S,
    HistoryAggregator,
    Motion,
    Moving,
    Past,
    followed,
    lowered,
    together,
)
from perception.models.consensus.intervals import BOXES, as_levels, in_one_row
from perception.models.detector import MultiModalDetector
from perception.models.fusion.odd_one_out import OddOneOutFusion
from perception.models.heads.fcos_3d import FCOS3DHead
from perception.models.heads.losses import losses_by_frame
from perception.models.heads.outputs import HeadOutputs, run, run_stacked
from perception.models.output import DetectorOutput
from perception.models.pyramid import Pyramid

PAST = "past"
_LOGIT, _SIDE_PX = 30.0, 2000.0  # what numbers of a past can be


@dataclass(frozen=True, eq=False, kw_only=True)
class HistoryOutput(DetectorOutput):
    """What two sensors and the past say.

    Attributes:
        seen: The fused pyramid of the two sensors.
        share: Of the past in what it says together with a sensor.
        ages_s: (N,) seconds since the past was said.
    """

    seen: Pyramid
    share: float
    ages_s: Tensor

    @cached_property
    def experts(self) -> tuple[HeadOutputs, ...]:
        """Without the first sensor, the second, the past, and of all.

        The past is a witness and no feature: what all say is what the sensors do.
        """
        first, second, past = self.branches
        past = lowered(
            past, self.ages_s, cast(HistoryAggregator, self.aggregator).lowering
        )
        both = run(self.head, self.seen)
        alone = (together(one, past, self.share) for one in (second, first))
        return (*alone, both, both)

    @cached_property
    def remembered(self) -> HeadOutputs:
        """What is the past of the next frame."""
        aggregator = cast(HistoryAggregator, self.aggregator)
        return aggregator.remembered(self.verdict, self)


class HistoryDetector(nn.Module):
    """Detects with two sensors; the past is the third witness, and an input.

    Its gate and consensus are those of a rig of three, see
    :mod:`perception.models.consensus.history`. The past goes in and comes out as a
    value; the detector remembers nothing.

    Args:
        detector: Of three sensors, with OddOneOutFusion, a ConsensusAggregator and an
            FCOS head; it is not changed.
        without: Its sensor that the rig lacks.
        gate: Arguments of the ``DisagreementGate`` over the two sensors and the past.
        heights_m: Mean height of each class, which tells how far an object is.
        lowering: Of the past's class logits for each second of age.
        share: Of the past in what it says together with one sensor, 0 to 1.
        least_score: Detections of less are not followed.
        logit_slack: See ``ConsensusAggregator``.
        box_contraction: The same.

    Raises:
        ValueError: If the detector is of another kind, or an argument impossible.
    """

    def __init__(
        self,
        detector: MultiModalDetector,
        *,
        without: str,
        gate: Mapping,
        heights_m: Sequence[float],
        lowering: float = 1.0,
        share: float = 0.35,
        least_score: float = 0.1,
        logit_slack: float = 1.0,
        box_contraction: float = 0.15,
    ) -> None:
        super().__init__()
        fusion, head = detector.fusion, detector.bbox_head
        kept = [name for name in detector.sensors if name != without]
        if (
            len(detector.sensors) != 3
            or len(kept) != 2
            or not isinstance(fusion, OddOneOutFusion)
            or not isinstance(detector.aggregator, ConsensusAggregator)
            or not isinstance(head, FCOSHead)
            or isinstance(head, FCOS3DHead)
        ):
            raise ValueError(
                "a history needs a detector of three sensors with OddOneOutFusion, "
                f"ConsensusAggregator and an FCOS head, and one of them, {without!r}, "
                f"to do without; got {list(detector.sensors)}"
            )
        if len(heights_m) != head.num_classes or min(heights_m) <= 0:
            raise ValueError(
                f"heights_m must be {head.num_classes} heights, got {heights_m}"
            )
        if not 0 <= share <= 1:
            raise ValueError(f"share must be within 0 and 1, got {share}")
        self.detector, self.without = detector, without
        self.heights_m = tuple(heights_m)
        self.share, self.least_score = share, least_score
        numbers = dict(gate)
        clean = {name: numbers.pop(name, None) for name in ("mean", "deviation")}
        self.aggregator = HistoryAggregator(
            sensors=(*kept, PAST),
            lowering=lowering,
            gate=numbers,
            logit_slack=logit_slack,
            box_contraction=box_contraction,
        )
        for name, values in clean.items():
            if values is not None:
                getattr(self.aggregator.gate, name).copy_(torch.tensor(values))
        self.data_preprocessor = copy.copy(detector.data_preprocessor)
        self.data_preprocessor.sensors = {n: detector.sensors[n] for n in kept}
        channels = [
            Channel(f"logit_{n}", "1", -_LOGIT, _LOGIT) for n in range(head.num_classes)
        ]
        channels += [Channel(f"side_{n}", "px", 0.0, _SIDE_PX) for n in "ltrb"]
        channels += [Channel("centerness", "1", -_LOGIT, _LOGIT)]
        channels += [Channel("age", "s", 0.0, OLDEST_S)]
        past = SensorSpec(PAST, "array", tuple(channels))
        self.sensors = {**self.data_preprocessor.sensors, PAST: past}
        self.dataset_meta = detector.dataset_meta
        self.eval()

    has_gate = True
    can_leave_out = True
    lift = None

    @property
    def bbox_head(self) -> Any:
        """Of the detector, an FCOS head."""
        return self.detector.bbox_head

    @property
    def strides(self) -> list[int]:
        """Pixels per location of each level."""
        return [stride[0] for stride in self.bbox_head.prior_generator.strides]

    @property
    def branch_head(self) -> nn.Module | None:
        """Of the detector."""
        return self.detector.branch_head

    @contextmanager
    def for_losses(self) -> Iterator[None]:
        """As that of ``MultiModalDetector``."""
        with self.detector.for_losses():
            yield

    def encode(self, sensor: str, x: Tensor) -> Pyramid:
        """The pyramid of a sensor's input; the past (N, K + 6, L, 1) is its own."""
        return (x,) if sensor == PAST else self.detector.encode(sensor, x)

    def fuse(
        self,
        pyramids: Mapping[str, Pyramid],
        leave_out: LeaveOut | None = None,
        samples: Sequence = (),
    ) -> HistoryOutput:
        """As that of ``MultiModalDetector``; ``pyramids`` are those of :meth:`encode`.

        Raises:
            ValueError: If there is no sensor such as shall be left out.
        """
        names = tuple(self.sensors)
        pyramids = {name: pyramids[name] for name in names}
        told = None
        if leave_out is not None:
            if leave_out.sensor not in (*names, None):
                raise ValueError(
                    f"no sensor {leave_out.sensor!r} to leave out, only {list(names)}"
                )
            number = (*names, None).index(leave_out.sensor)
            (packed,) = pyramids[PAST]
            told = torch.full((len(packed),), number, device=packed.device)
        head = self.branch_head or self.bbox_head
        project = self.detector.branch_projections
        fusion = cast(OddOneOutFusion, self.detector.fusion)
        assert project is not None
        alone = run_stacked(head, project({n: pyramids[n] for n in names[:2]}))
        branches = (*alone, self._unpacked(pyramids[PAST][0], alone[0]))
        return HistoryOutput(
            pyramids=pyramids,
            branches=branches,
            verdict=self.aggregator.judge(branches, told),
            aggregator=self.aggregator,
            fusion=None,
            head=self.bbox_head,
            specs=self.sensors,
            samples=samples,
            seen=fusion.without(self.without, pyramids),
            share=self.share,
            ages_s=pyramids[PAST][0][:, -1, 0, 0],
        )

    def extract_feat(self, batch_inputs: Mapping[str, Tensor]) -> dict[str, Pyramid]:
        """{sensor: (N, C, H, W)} to {sensor: pyramid}, see :meth:`encode`."""
        return {name: self.encode(name, batch_inputs[name]) for name in self.sensors}

    def frame_losses(
        self, output: HistoryOutput, samples: Sequence, part: Part | None = None
    ) -> Tensor:
        """(N,) detection loss of each frame by itself, as ``MultiModalDetector``'s."""
        alone = isinstance(part, BranchPrediction) and part.sensor != PAST
        head = (self.branch_head or self.bbox_head) if alone else self.bbox_head
        outputs = output.outputs if part is None else output.part(part)
        return losses_by_frame(head, outputs, samples)

    @torch.no_grad()
    def predict(
        self,
        batch_inputs: Mapping[str, Tensor],
        batch_data_samples: Sequence,
        rescale: bool = True,
        leave_out: LeaveOut | None = None,
    ) -> list:
        """Detections and gate of each frame, as ``MultiModalDetector.predict``."""
        samples = list(batch_data_samples)
        output = self.fuse(self.extract_feat(batch_inputs), leave_out, samples)
        return self.written(output, samples, rescale=rescale)

    def written(
        self, output: HistoryOutput, samples: Sequence, *, rescale: bool = True
    ) -> list:
        """The samples with the detections and the gate of an output in eval mode."""
        found = self._boxes(output.outputs, samples, rescale=rescale)
        done = self.detector.add_pred_to_datasample(list(samples), found)
        output.write_gate(done)
        for sample in done:
            sample.set_metainfo({"gate_names": tuple(self.sensors)})
        return done

    def packed(self, past: Past | None, locations: int) -> Tensor:
        """(K + 6, L, 1) a past as an input; all NaN, which says nothing, for None."""
        device = next(self.parameters()).device
        channels = len(self.sensors[PAST].channels)
        if past is None:
            return torch.full((channels, locations, 1), torch.nan, device=device)
        rows = [in_one_row([x[None] for x in kind])[0, 0] for kind in past.said]
        rows.append(torch.full_like(rows[0][:1], past.age_s))
        return torch.cat(rows).to(device)

    def carried(self, past: Past | None, motion: Motion) -> Past | None:
        """The past as it is in the next frame; None if there is none, or too old."""
        if past is None:
            return None
        heights_m = self.heights_m
        return past.carried(motion, strides=self.strides, heights_m=heights_m)

    @torch.no_grad()
    def renewed(
        self, carried: Past | None, output: HistoryOutput, n: int, seconds: float
    ) -> Past | None:
        """The past after frame n of an output in eval mode.

        An answer that is no number leaves the past as it is: it ages.

        Args:
            carried: The past that was the frame's input.
            output: What was said of N frames.
            n: Which.
            seconds: Since the frame before.
        """
        said = tuple([x[n : n + 1].clone() for x in kind] for kind in output.remembered)
        sound = all(bool(x.isfinite().all()) for kind in said for x in kind)
        if not sound:
            return carried
        (found,) = self._boxes(said, [output.samples[n]], rescale=False)
        kept = found[found.scores >= self.least_score]
        speed = kept.bboxes.new_zeros(len(kept.bboxes), 3)
        objects = Moving(
            boxes_px=kept.bboxes, labels=kept.labels, scores=kept.scores, speed=speed
        )
        before = None if carried is None else carried.objects
        return Past(said=said, objects=followed(before, objects, seconds))

    def _boxes(
        self, outputs: HeadOutputs, samples: Sequence, *, rescale: bool
    ) -> list[InstanceData]:
        metas = [sample.metainfo for sample in samples]
        found: list[InstanceData] = self.bbox_head.predict_by_feat(
            *outputs, batch_img_metas=metas, rescale=rescale
        )
        return found

    def _unpacked(self, packed: Tensor, like: HeadOutputs) -> HeadOutputs:
        """The past's outputs, sides in the unit that the head has at present."""
        sizes = [level.shape[1] for level in (kind[0] for kind in like)]
        kinds = [as_levels(x, like[0]) for x in packed[:, :-1].split(sizes, dim=1)]
        if self.bbox_head.training and self.bbox_head.norm_on_bbox:
            sides = zip(kinds[BOXES], self.strides, strict=True)
            kinds[BOXES] = [x / stride for x, stride in sides]
        return tuple(kinds)
