"""What one frame was like before and after an attack, as a value and as JSON.

Shape letters: S sensors.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import NotRequired, TypedDict

from perception.core.provenance import Environment
from perception.core.schema import Number, checked
from perception.core.structures import DataError, Objects, SensorSpec
from perception.evaluation.detection.matching import match_frame
from perception.evaluation.detection.rules import ClassRule, Difficulty

Gate = tuple[float, ...] | None
"""(S + 1) probabilities of who is compromised, last "nobody"; None without a gate."""

_DETECTIONS = ("truth", "clean", "attacked", "oracle")


# What float32 and int64 hold.
_Single = Annotated[float, Field(ge=-3.4028235e38, le=3.4028235e38)]
_Integer = Annotated[int, Field(ge=-(2**63), lt=2**63)]
_Box3D = Annotated[list[_Single], Field(min_length=7, max_length=7)]


class _Boxes(TypedDict):
    names: list[str]
    boxes_px: list[tuple[_Single, _Single, _Single, _Single]]
    scores: list[_Single]
    boxes_3d: NotRequired[
        list[Annotated[list[_Single], Field(min_length=7, max_length=7)]]
    ]


class _Labels(TypedDict):
    names: list[str]
    boxes_px: list[tuple[Number, Number, Number, Number]]
    truncation: list[Number]
    occlusion: list[_Integer]
    alpha: list[Number]
    dimensions_m: list[tuple[Number, Number, Number]]
    location_m: list[tuple[Number, Number, Number]]
    rotation_y: list[Number]
    scores: None


_SavedGate = Annotated[list[Number], Field(min_length=2)] | None


class _Saved(TypedDict):
    """The schema of a line of ``frames.jsonl``, see :class:`FrameRecord`."""

    frame_id: str
    index: Annotated[int, Field(ge=0, lt=2**63)]
    truth: _Labels
    clean: _Boxes
    attacked: _Boxes
    gate_clean: _SavedGate
    gate_attacked: _SavedGate
    loss_clean: float | None
    loss_attacked: float | None
    value: float | None
    change: dict[str, dict[str, float | None]]
    seconds: Number
    oracle: _Boxes | None
    alarm_clean: float | None
    alarm_attacked: float | None


@dataclass(frozen=True)
class FrameRecord:
    """One attacked frame: everything that figures are computed from.

    Attributes:
        frame_id: Name of the frame.
        index: Its number in the data set; seeds the attack's random draws.
        truth: All labels, in pixels of the original image.
        clean: Detections on the clean inputs, likewise.
        attacked: Detections on the attacked inputs, likewise.
        gate_clean: What the gate said of the clean inputs.
        gate_attacked: What the gate said of the attacked inputs.
        loss_clean: Detection loss on the clean inputs; None for targets without one.
        loss_attacked: Detection loss on the attacked inputs, likewise.
        value: The objective that was reached, see ``Perturbed``.
        change: For each touched sensor the largest change of each channel of its
            model input, in the channel's unit.
        seconds: Wall time of the attack, a batch's shared among its frames.
        oracle: Detections on the attacked inputs, the fusion being told which sensor
            is compromised; None where it cannot be told, or several were attacked.
        alarm_clean: Above 0 if the fusion was sure on the clean inputs that a sensor
            is compromised, perhaps without knowing which; None for those without such
            a state.
        alarm_attacked: The same of the attacked inputs.
    """

    frame_id: str
    index: int
    truth: Objects
    clean: Objects
    attacked: Objects
    gate_clean: Gate
    gate_attacked: Gate
    loss_clean: float | None
    loss_attacked: float | None
    value: float | None
    change: Mapping[str, Mapping[str, float]]
    seconds: float
    oracle: Objects | None = None
    alarm_clean: float | None = None
    alarm_attacked: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values; :meth:`from_json` gives back an equal record."""
        return asdict(self) | {
            name: None if objects is None else _objects_to_json(objects)
            for name in _DETECTIONS
            for objects in [getattr(self, name)]
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> FrameRecord:
        """The record that :meth:`to_json` described.

        Raises:
            DataError: If an entry is missing or is not what it should be.
        """
        what = "record of an attacked frame"
        saved = checked(_Saved, values, values.get("frame_id"), what=what)
        fields: dict[str, Any] = {**saved}
        for name in _DETECTIONS:
            if fields[name] is not None:
                fields[name] = _objects_from_json(fields[name])
        for name in ("gate_clean", "gate_attacked"):
            fields[name] = None if fields[name] is None else tuple(fields[name])
        return cls(**fields)


@dataclass(frozen=True)
class Measured:
    """The records of one perturbation of one target, and what made them.

    Attributes:
        name: The perturbation's name.
        attacked_sensors: The sensors that it may change.
        description: It in plain values.
        records: The frames, in order; at least one.
        environments: All that computed them.
    """

    name: str
    attacked_sensors: tuple[str, ...]
    description: Mapping[str, Any]
    records: Sequence[FrameRecord]
    environments: tuple[Environment, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What an attack changed in one frame, at a score threshold.

    Attributes:
        found_clean: Objects found on the clean inputs.
        lost: Those of them that are not found on the attacked inputs.
        false_clean: Wrong detections on the clean inputs.
        false_new: Wrong detections on the attacked inputs beyond as many of their
            class as there were on the clean ones.
    """

    found_clean: int
    lost: int
    false_clean: int
    false_new: int

    @property
    def success(self) -> bool:
        """Whether an object was lost or a new false detection appeared."""
        return self.lost > 0 or self.false_new > 0


def outcome_of(
    record: FrameRecord,
    rules: Sequence[ClassRule],
    difficulty: Difficulty,
    score_threshold: float,
) -> Outcome:
    """Compare a frame's clean and attacked detections class by class."""
    counts = np.zeros(4, dtype=int)
    for rule in rules:
        clean, attacked = (
            match_frame(record.truth, detections, rule, difficulty, score_threshold)
            for detections in (record.clean, record.attacked)
        )
        was_found = clean.truth == "found"
        wrong_clean = int((clean.detections == "wrong").sum())
        wrong = int((attacked.detections == "wrong").sum())
        counts += (
            was_found.sum(),
            (was_found & (attacked.truth != "found")).sum(),
            wrong_clean,
            max(wrong - wrong_clean, 0),
        )
    return Outcome(*counts.tolist())


@torch.no_grad()
def largest_changes(
    clean: Mapping[str, Tensor],
    attacked: Mapping[str, Tensor],
    sensors: Mapping[str, SensorSpec],
    touched: Sequence[str],
) -> list[dict[str, dict[str, float]]]:
    """For each of the N frames {sensor: {channel: largest absolute change}}."""
    by_sensor = {
        name: (attacked[name] - clean[name]).abs().amax(dim=(2, 3)).tolist()
        for name in touched
    }
    count = len(next(iter(clean.values())))
    return [
        {
            name: {
                channel.name: change
                for channel, change in zip(
                    sensors[name].channels, changes[frame], strict=True
                )
            }
            for name, changes in by_sensor.items()
        }
        for frame in range(count)
    ]


def _objects_to_json(objects: Objects) -> dict[str, list | None]:
    """Lists of plain values; detections are boxes alone, labels have all columns."""
    if objects.scores is not None:
        # Nine digits tell any two float32 apart, which is what a detector yields.
        columns: dict[str, list | None] = {
            "names": objects.names.tolist(),
            "boxes_px": [[float(f"{x:.9g}") for x in box] for box in objects.boxes_px],
            "scores": [float(f"{score:.9g}") for score in objects.scores],
        }
        if (space := objects.boxes_3d) is not None:
            columns["boxes_3d"] = [[float(f"{x:.9g}") for x in box] for box in space]
        return columns
    return {
        name: None if value is None else np.asarray(value).tolist()
        for name, value in vars(objects).items()
    }


def _objects_from_json(values: Mapping[str, Any]) -> Objects:
    lengths = {len(column) for column in values.values() if column is not None}
    if len(lengths) > 1:
        raise DataError(f"columns of {sorted(lengths)} objects in one list of objects")
    names = np.array([sys.intern(name) for name in values["names"]], dtype=object)
    if values["scores"] is not None:
        boxes_px = np.array(values["boxes_px"], dtype=np.float32).reshape(-1, 4)
        scores = np.array(values["scores"], dtype=np.float32)
        space = values.get("boxes_3d")
        boxes_3d = None if space is None else np.array(space, dtype=np.float32)
        return Objects.from_boxes(names, boxes_px, scores, boxes_3d)
    count = len(names)
    objects = Objects.from_boxes(names, np.array(values["boxes_px"]))
    columns = {
        "truncation": np.array(values["truncation"], dtype=np.float64),
        "occlusion": np.array(values["occlusion"], dtype=np.int64),
        "alpha": np.array(values["alpha"], dtype=np.float64),
        "dimensions_m": np.array(values["dimensions_m"], dtype=np.float64),
        "location_m": np.array(values["location_m"], dtype=np.float64),
        "rotation_y": np.array(values["rotation_y"], dtype=np.float64),
    }
    for name in ("dimensions_m", "location_m"):
        columns[name] = columns[name].reshape(count, 3)
    return replace(objects, **columns)
