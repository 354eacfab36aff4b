"""The figures of an attacked data set: as values, as JSON and as a table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import cached_property
from typing import Any

import numpy as np

from perception.attacks.goals import Goal
from perception.core.provenance import MadeOn
from perception.evaluation.detection.kitti_ap import Result, evaluate, mean_ap
from perception.evaluation.detection.rules import (
    Scoring,
)
from perception.evaluation.robustness.records import (
    FrameRecord,
    Gate,
    Outcome,
    outcome_of,
)

DEFINITIONS = {
    "ap": "average precision of image boxes in percent, KITTI's protocol; headline: at "
    "this task's overlaps; kitti: at KITTI's own; null: nothing to find; oracle: on "
    "the attacked inputs, the fusion being told which sensor lies",
    "success": "at the score threshold and the last difficulty, an object found on "
    "the clean inputs is not found on the attacked ones, or a class has more false "
    "detections than on the clean ones",
    "damage": "the head's training loss on the ground truth, of the whole detector",
    "gate": "probability that each sensor lies, or none does; blamed: the likeliest; "
    "in_doubt: frames of 'none' in which somebody lies, but it is not known who",
    "change": "largest absolute change of each channel of the model input",
}


@dataclass(frozen=True)
class AttackReport:
    """What an attack did to a detector on a set of frames.

    Attributes:
        name: The threat model's name.
        touched: Sensors that were attacked.
        sensors: The detector's sensors, in the order of its gate.
        attack: The attack and its threat model in full, as plain values.
        records: The frames, in the order asked for.
        scoring: How they are judged.
        made_on: All that attacked them, see :mod:`perception.core.provenance`.
    """

    name: str
    touched: tuple[str, ...]
    sensors: tuple[str, ...]
    attack: Mapping[str, Any]
    records: Sequence[FrameRecord]
    scoring: Scoring
    made_on: Sequence[MadeOn] = ()

    @cached_property
    def ap(self) -> dict[str, dict[str, Result]]:
        """``ap["clean" | "attacked" | "oracle"]["headline" | "kitti"]``."""
        truth = [record.truth for record in self.records]
        return {
            when: {
                name: evaluate(
                    truth,
                    [getattr(record, when) for record in self.records],
                    classes=rules,
                    metrics=("2d",),
                    difficulties=self.scoring.difficulties,
                )
                for name, rules in self.scoring.rules.items()
            }
            for when in self.stages
        }

    @cached_property
    def outcomes(self) -> list[Outcome]:
        """What became of each frame's objects."""
        scoring = self.scoring
        how = (scoring.rules["headline"], scoring.difficulties[-1])
        threshold = scoring.score_threshold
        return [outcome_of(record, *how, threshold) for record in self.records]

    @property
    def stages(self) -> tuple[str, ...]:
        """What was scored; ``oracle`` where every frame has its detections."""
        told = all(record.oracle is not None for record in self.records)
        return ("clean", "attacked", *(["oracle"] if told else []))

    def mean_ap(self, when: str, overlaps: str = "headline") -> float:
        """Mean AP (R40) at the headline difficulty in percent, NaN without objects."""
        return mean_ap(self.ap[when][overlaps], "2d", self.scoring.headline)

    def blamed(self, gate: Gate) -> str | None:
        """Whom a gate blames: a sensor, ``"none"``, or None without a gate."""
        return None if gate is None else [*self.sensors, "none"][int(np.argmax(gate))]

    def frames(self) -> list[dict[str, Any]]:
        """One plain dict per frame, without the boxes."""
        rows = []
        for record, outcome in zip(self.records, self.outcomes, strict=True):
            rows.append(
                {
                    "frame_id": record.frame_id,
                    "index": record.index,
                    "success": outcome.success,
                    **asdict(outcome),
                    "damage_clean": record.damage_clean,
                    "damage_attacked": record.damage_attacked,
                    "value": record.value,
                    "change": record.change,
                    "gate_clean": record.gate_clean,
                    "gate_attacked": record.gate_attacked,
                    "blamed_clean": self.blamed(record.gate_clean),
                    "blamed_attacked": self.blamed(record.gate_attacked),
                }
            )
        return rows

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values.

        ``timing`` and ``made_on`` alone may differ from run to run.
        """
        frames = self.frames()
        seconds = sum(record.seconds for record in self.records)
        values = {
            "name": self.name,
            "touched": self.touched,
            "attack": self.attack,
            "ap": {when: self._ap_to_json(when) for when in self.stages},
            "success": {
                "rate": float(np.mean([row["success"] for row in frames])),
                **{
                    name: sum(row[name] for row in frames)
                    for name in ("found_clean", "lost", "false_clean", "false_new")
                },
            },
            "damage": {
                when: float(np.mean([row[f"damage_{when}"] for row in frames]))
                for when in ("clean", "attacked")
            },
            "gate": self._gate_to_json(),
            "frames": frames,
            "made_on": self.made_on,
            "timing": {
                "attack_s": round(seconds, 3),
                "attack_s_per_frame": round(seconds / len(frames), 4),
            },
        }
        return plain(values)

    def _ap_to_json(self, when: str) -> dict[str, Any]:
        return {
            name: {
                "mAP": self.mean_ap(when, name),
                "overlaps": {rule.name: rule.overlap_for("2d") for rule in rules},
                "classes": {
                    class_name: {
                        difficulty: {
                            "R40": cell.r40 if cell.objects else None,
                            "R11": cell.r11 if cell.objects else None,
                            "objects": cell.objects,
                        }
                        for difficulty, cell in cells["2d"].items()
                    }
                    for class_name, cells in self.ap[when][name].items()
                },
            }
            for name, rules in self.scoring.rules.items()
        }

    def _gate_to_json(self) -> dict[str, Any] | None:
        """Whom the gate blames how often and its mean; None without a gate."""
        if self.records[0].gate_clean is None:
            return None
        names = [*self.sensors, "none"]
        values: dict[str, Any] = {"names": names}
        for when in ("clean", "attacked"):
            gates = [getattr(record, f"gate_{when}") for record in self.records]
            blamed = [self.blamed(gate) for gate in gates]
            count = Counter(blamed)
            doubts = [getattr(record, f"doubt_{when}") for record in self.records]
            mean = np.mean(gates, axis=0).tolist()
            values[when] = {
                "blamed": {name: count[name] for name in names},
                "in_doubt": _in_doubt(blamed, doubts),
                "mean": dict(zip(names, mean, strict=True)),
            }
        right = sum(values["attacked"]["blamed"][name] for name in self.touched)
        return values | {"right_rate": right / len(self.records)}


def _in_doubt(
    blamed: Sequence[str | None], doubts: Sequence[float | None]
) -> int | None:
    """Frames that blame nobody although somebody lies; None if it cannot tell."""
    known = [doubt for doubt in doubts if doubt is not None]
    if len(known) < len(doubts):
        return None
    return sum(
        doubt > 0 and name == "none" for doubt, name in zip(known, blamed, strict=True)
    )


def plain(value: Any) -> Any:
    """What JSON can hold: NaN becomes None, a dataclass its ``type`` and fields.

    Fields that a dataclass leaves out of its own text are left out here as well.
    """
    if isinstance(value, Goal):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        shown = [f.name for f in fields(value) if f.repr]
        described = {name: plain(getattr(value, name)) for name in shown}
        return {"type": type(value).__name__} | described
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)
