"""The multi-sensor detector: branches, fusion, aggregator, MMDetection's dense heads.

Shape letters: N frames, S sensors, C channels, H, W input size, C_l, H_l, W_l of
pyramid level l.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from torch import Tensor, nn

from perception.core.parts import BranchPrediction, LeaveOut, Part
from perception.core.structures import SensorSpec
from perception.models.consensus.base import Aggregator
from perception.models.consensus.gate import Verdict
from perception.models.consensus.intervals import Margins
from perception.models.freezing import frozen_for_metres
from perception.models.fusion.base import FusionNeck
from perception.models.heads.fcos_3d import FCOS3DHead, said_alone
from perception.models.heads.losses import (
    by_attack,
    losses_by_frame,
    losses_of_frames,
    mean_losses,
    worst_within,
)
from perception.models.heads.outputs import (
    HeadOutputs,
    in_training_mode,
    run_stacked,
    shared_targets,
)
from perception.models.key_map import rename_former_weights
from perception.models.lift import BoxLift
from perception.models.measured import MeasuredDepths, measured_depths
from perception.models.output import BranchProjections, DetectorOutput
from perception.models.preprocessor import restricted_to
from perception.models.pyramid import Pyramid, PyramidShape


@MODELS.register_module()
class MultiModalDetector(BaseDetector):
    """Detects objects in the reference image from any set of named sensors.

    Args:
        branches: For each sensor the config of its branch; their order is the order
            of the sensors everywhere.
        bbox_head: Config of an MMDetection dense head.
        fusion: Config of a fusion neck, with ``in_channels``, ``num_levels`` and
            ``out_channels`` of :class:`PyramidShape`; None only for a single branch.
            Its ``type`` may be None: nothing is fused, an aggregator combines the
            branch predictions alone.
        aggregator: Config of an aggregator of branch and expert predictions; None lets
            the fused prediction be the detector's.
        branch_head: Config of the dense head that detects with one sensor alone, for
            aggregators; None lets ``bbox_head`` do it.
        lift: Arguments of a :class:`BoxLift`, for heads of image boxes: detections get
            boxes in metres without training; None for none.
        freeze_2d: Train only what heads of boxes in metres add: all else keeps its
            weights, batch norm its statistics and a gate what it knows of benign
            frames, so that image boxes stay those of the weights it starts from.
        train_cfg: MMDetection's training config of the head.
        test_cfg: MMDetection's test config of the head.
        data_preprocessor: Config of a ``MultiModalPreprocessor``. It may describe
            more sensors than there are branches; the others are left out.
        init_cfg: MMEngine initialisation config.
    """

    def __init__(
        self,
        *,
        branches: Mapping[str, dict],
        bbox_head: dict,
        data_preprocessor: dict,
        fusion: dict | None = None,
        aggregator: dict | None = None,
        branch_head: dict | None = None,
        lift: dict | None = None,
        freeze_2d: bool = False,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            MODELS.build(restricted_to(data_preprocessor, branches)), init_cfg
        )
        if (fusion is None) != (len(branches) == 1):
            raise ValueError(
                "one branch takes no fusion and several branches need one, got "
                f"{len(branches)} branches and fusion={fusion}"
            )
        if fusion is None and aggregator is not None:
            raise ValueError("one branch takes no aggregator, which compares several")
        self.branches = nn.ModuleDict(
            {name: MODELS.build(config) for name, config in branches.items()}
        )
        for name, spec in self.sensors.items():
            means, channels = len(branches[name]["mean"]), len(spec.channels)
            if means != channels:
                raise ValueError(
                    f"branch {name!r} normalises {means} channels, but the sensor has "
                    f"{channels}"
                )
        self.branch_projections: BranchProjections | None = None
        self.fusion: FusionNeck | None = None
        self.aggregator: Aggregator | None = None
        if fusion is not None:
            self._build_fusion(fusion, aggregator)
        self._measuring: tuple[str, ...] = ()
        settings = {"train_cfg": train_cfg, "test_cfg": test_cfg}
        self.bbox_head = self._built_head(bbox_head, settings)
        self.branch_head = None
        if branch_head is not None:
            self.branch_head = self._built_head(branch_head, settings)
        self._frozen = frozen_for_metres(self) if freeze_2d else []
        self.lift = None if lift is None else BoxLift(**lift)
        if lift is not None and isinstance(self.bbox_head, FCOS3DHead):
            raise ValueError("lift is for image boxes; the head says boxes in metres")
        self.register_load_state_dict_pre_hook(rename_former_weights)

    def _build_fusion(self, config: dict, aggregator: dict | None) -> None:
        """The parts between branches and heads, in the order of their weights."""
        config, sensors = dict(config), tuple(self.branches)
        shape = PyramidShape(
            sensors=sensors,
            in_channels=config.pop("in_channels"),
            num_levels=config.pop("num_levels"),
            out_channels=config.pop("out_channels"),
        )
        if aggregator is not None:
            self.branch_projections = BranchProjections(shape)
        if config["type"] is not None:
            self.fusion = MODELS.build(config | {"shape": shape})
        if aggregator is None:
            if self.fusion is None:
                raise ValueError("a detector without a fusion needs an aggregator")
            return
        combine = MODELS.build(dict(aggregator) | {"sensors": sensors})
        self.aggregator, neck = combine, self.fusion
        needs_experts = combine.gate is not None or combine.asks_all_experts
        if needs_experts and not (neck and neck.can_leave_out):
            raise ValueError(
                f"{type(combine).__name__} needs a fusion that can leave sensors out, "
                f"such as OddOneOutFusion, got {type(neck).__name__}"
            )
        if needs_experts and neck is not None and neck.has_gate:
            raise ValueError("the aggregator has a gate: set gate=None in the fusion")
        if neck is None and combine.margins != Margins():
            raise ValueError("margins are for what is fused, and nothing is")

    def _built_head(self, config: dict, settings: dict) -> Any:
        """A head; one of boxes in metres is told what sensors measure of depth."""
        config = dict(config) | settings
        if issubclass(MODELS.get(config["type"]), FCOS3DHead):
            self._measuring = tuple(
                name
                for name, spec in self.sensors.items()
                if spec.depth_channel is not None
            )
            config["depth_maps"] = len(self._measuring)
        return MODELS.build(ConfigDict(config))

    def train(self, mode: bool = True) -> MultiModalDetector:
        """Training mode, or (False) eval mode; what is frozen stays in the latter.

        In training it has no losses either.
        """
        super().train(mode)
        for part in self._frozen:
            part.eval()
        for head in self.heads if self._frozen else ():
            head.learns_2d = not mode
        return self

    @property
    def heads(self) -> list[Any]:
        """Those that it has."""
        return [one for one in (self.bbox_head, self.branch_head) if one is not None]

    @property
    def sensors(self) -> dict[str, SensorSpec]:
        """What each sensor's input tensor holds, in the order of the gate."""
        return self.data_preprocessor.sensors

    @property
    def has_gate(self) -> bool:
        """Whether it says which sensor contradicts the others."""
        if self.aggregator is not None and self.aggregator.gate is not None:
            return True
        return self.fusion is not None and self.fusion.has_gate

    @property
    def can_leave_out(self) -> bool:
        """Whether it can be told to leave a sensor out."""
        if self.aggregator is not None:
            return True
        return self.fusion is not None and self.fusion.can_leave_out

    def encode(self, sensor: str, x: Tensor) -> Pyramid:
        """One sensor's input (N, C, H, W) to its pyramid of (N, C_l, H_l, W_l).

        For heads of boxes in metres what it measures of depth comes behind the levels,
        as many again.
        """
        pyramid = self.branches[sensor](x)
        if sensor not in self._measuring:
            return pyramid
        return pyramid + measured_depths(x, self.sensors[sensor], pyramid)

    def extract_feat(self, batch_inputs: Mapping[str, Tensor]) -> dict[str, Pyramid]:
        """{sensor: (N, C, H, W)} to {sensor: pyramid}, see :meth:`encode`."""
        return {name: self.encode(name, batch_inputs[name]) for name in self.branches}

    def fuse(
        self,
        pyramids: Mapping[str, Pyramid],
        leave_out: LeaveOut | None = None,
        samples: Sequence = (),
    ) -> DetectorOutput:
        """{sensor: pyramid} to predictions; for losses, within :meth:`for_losses`.

        Args:
            pyramids: For each sensor what :meth:`encode` makes of it.
            leave_out: The sensor known to be compromised, which no expert reads then
                (the upper bound that a gate can reach, and a way to attack through each
                expert); None leaves that to the gate.
            samples: The N frames, whose focal lengths tell heads of boxes in metres
                what one image alone means; without them it is the usual one.

        Raises:
            ValueError: If there is no such sensor, or it cannot be left out.
        """
        pyramids, depths = MeasuredDepths.split_off(
            {name: pyramids[name] for name in self.branches}, self._measuring
        )
        numbers = None if leave_out is None else self._numbers(pyramids, leave_out)
        branches: tuple[HeadOutputs, ...] = ()
        verdict = Verdict(numbers)
        if self.aggregator is not None and self.branch_projections is not None:
            projected = [
                depths.beside(own, {name: True})
                for name, own in zip(
                    self.branches, self.branch_projections(pyramids), strict=True
                )
            ]
            branches = tuple(
                said_alone(self._branch_head, self.sensors[name], said, samples)
                for name, said in zip(
                    self.branches,
                    run_stacked(self._branch_head, projected),
                    strict=True,
                )
            )
            verdict = self.aggregator.judge(branches, numbers)
        return DetectorOutput(
            pyramids=pyramids,
            branches=branches,
            verdict=verdict,
            aggregator=self.aggregator,
            fusion=self.fusion,
            head=self.bbox_head,
            measured=depths,
            specs=self.sensors,
            samples=samples,
        )

    def _numbers(self, pyramids: Mapping[str, Pyramid], leave_out: LeaveOut) -> Tensor:
        """(N,) the number of the sensor left out of every frame, S for none."""
        names = [*self.branches, None]
        if not self.can_leave_out:
            raise ValueError("the detector cannot be told to leave a sensor out")
        if leave_out.sensor not in names:
            raise ValueError(
                f"no sensor {leave_out.sensor!r} to leave out, only {names[:-1]}"
            )
        frames = next(iter(pyramids.values()))[0]
        number = names.index(leave_out.sensor)
        return torch.full((frames.shape[0],), number, device=frames.device)

    @contextmanager
    def for_losses(self) -> Iterator[None]:
        """Fuse and take losses in here: heads answer as in training, in any mode."""
        heads = self.bbox_head, self.branch_head
        with in_training_mode(*heads), shared_targets(*heads):
            yield

    def loss(
        self, batch_inputs: Mapping[str, Tensor], batch_data_samples: Sequence
    ) -> dict[str, Tensor]:
        """Detection losses, and those of the fusion's and the aggregator's own.

        A sample's metainfo ``odd_sensor`` names the sensor known to be compromised;
        without it none is. Attacked frames have losses of their own, ``attacked_*``, so
        that they weigh as much as all the benign ones.

        A sensor may come with fewer frames than there are samples, N / m: its input is
        then the same in all m parts of the batch, and is looked at only once.
        """
        frames = len(batch_data_samples)
        pyramids = {
            name: tuple(f.repeat(frames // len(f), 1, 1, 1) for f in pyramid)
            for name, pyramid in self.extract_feat(batch_inputs).items()
        }
        with self.for_losses():
            output = self.fuse(pyramids, samples=batch_data_samples)
            losses = self.detection_losses(output, batch_data_samples)
        odd = self._odd_sensors(batch_data_samples)
        odd = odd.to(next(self.parameters()).device)
        if self.fusion is not None:
            judged = output.verdict.gate_logits is not None  # by the aggregator's gate
            logits = None if judged else output.gate_logits
            losses |= self.fusion.losses(logits, odd)
        if self.aggregator is not None and self.aggregator.gate is not None:
            losses |= self.aggregator.gate.losses(output.verdict, odd)
        return losses

    def detection_losses(
        self, output: DetectorOutput, samples: Sequence
    ) -> dict[str, Tensor]:
        """Losses of the outputs, and of what the aggregator combines them from.

        ``branch_*`` and ``expert_*`` are means over these; ``worst_*`` is the mean over
        the sensors of the worst that each could make of benign frames' outputs. The
        output was made :meth:`for_losses`, as these are.
        """
        self._check_for_losses()
        losses: dict[str, Tensor] = {}
        outputs = output.outputs
        for prefix, frames in by_attack(samples):
            chosen = [samples[n] for n in frames]
            terms = losses_of_frames(self.bbox_head, outputs, chosen, frames)
            terms |= self._losses_of_parts(output, chosen, frames, worst=not prefix)
            losses |= {prefix + name: term for name, term in terms.items()}
        return losses

    def _losses_of_parts(
        self,
        output: DetectorOutput,
        samples: Sequence,
        frames: list[int],
        *,
        worst: bool,
    ) -> dict[str, Tensor]:
        """Losses of what the aggregator combines, on the frames of the samples."""
        terms: dict[str, Tensor] = {}
        if self.aggregator is None:
            return terms
        weights, head = self.aggregator.loss_weights, self.bbox_head
        if weights.branch:
            terms |= mean_losses(
                self._branch_head,
                output.branches,
                samples,
                frames,
                weight=weights.branch,
                name="branch",
            )
        if weights.expert:
            said = output.experts
            terms |= mean_losses(
                head, said, samples, frames, weight=weights.expert, name="expert"
            )
        if weights.worst and worst:
            bounds = [output.bounds(name) for name in output.sensors]
            said = worst_within(head, output.outputs, bounds, samples, frames)
            terms |= mean_losses(
                head, said, samples, frames, weight=weights.worst, name="worst"
            )
        return terms

    def frame_losses(
        self, output: DetectorOutput, samples: Sequence, part: Part | None = None
    ) -> Tensor:
        """(N,) detection loss of each frame by itself, as attacks need it.

        The batch's loss is normalised over all its frames; these are not mixed.

        Args:
            output: Made :meth:`for_losses`, as these losses are.
            samples: N frames, with ground truth.
            part: Judge what this part of the output says; None: the whole.
        """
        self._check_for_losses()
        head = (
            self._branch_head if isinstance(part, BranchPrediction) else self.bbox_head
        )
        outputs = output.outputs if part is None else output.part(part)
        return losses_by_frame(head, outputs, samples)

    def predict(
        self,
        batch_inputs: Mapping[str, Tensor],
        batch_data_samples: Sequence,
        rescale: bool = True,
        leave_out: LeaveOut | None = None,
    ) -> list[DetDataSample]:
        """Detections of each frame, in pixels of the original image if ``rescale``.

        With a gate each sample also carries ``gate``, (S + 1,) probabilities, and what
        else :meth:`DetectorOutput.write_gate` adds. ``leave_out`` as in :meth:`fuse`.
        """
        if self.bbox_head.training:
            raise RuntimeError("heads give boxes in eval mode, not for_losses()")
        samples = list(batch_data_samples)
        output = self.fuse(self.extract_feat(batch_inputs), leave_out, samples)
        results = self.bbox_head.predict_by_feat(
            *output.outputs,
            batch_img_metas=[sample.metainfo for sample in samples],
            rescale=rescale,
        )
        if self.lift is not None:
            for n, (found, sample) in enumerate(zip(results, samples, strict=True)):
                own = {name: x[n] for name, x in batch_inputs.items()}
                found.boxes_3d = self.lift.boxes_3d(
                    found, own, self.sensors, sample.metainfo, rescaled=rescale
                )
        samples = self.add_pred_to_datasample(samples, results)
        output.write_gate(samples)
        for sample in samples if self.has_gate else ():
            sample.set_metainfo({"gate_names": tuple(self.sensors)})
        return samples

    def _forward(
        self,
        batch_inputs: Mapping[str, Tensor],
        batch_data_samples: Sequence | None = None,
    ) -> tuple:
        """Raw outputs of the head; tensors in, tensors out."""
        return self.fuse(self.extract_feat(batch_inputs)).outputs

    @property
    def _branch_head(self) -> nn.Module:
        """The head that detects with one sensor alone."""
        return self.bbox_head if self.branch_head is None else self.branch_head

    def _check_for_losses(self) -> None:
        if not self.bbox_head.training:
            raise RuntimeError("fuse and take losses within detector.for_losses()")

    def _odd_sensors(self, samples: Sequence) -> Tensor:
        """(N,) index of the sensor compromised in each frame, S where none is."""
        names = [*self.branches, None]
        odd = [sample.get("odd_sensor") for sample in samples]
        return torch.tensor([names.index(name) for name in odd])
