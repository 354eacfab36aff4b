"""nuScenes' own detection evaluation as an MMEngine metric: mAP and NDS."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from perception.core.files import write_json
from perception.core.structures import DataError, Objects
from perception.datasets.nuscenes.index import open_index
from perception.datasets.nuscenes.points import sensor_to_global
from perception.datasets.nuscenes.tables import open_tables
from perception.evaluation.detection.nuscenes_submission import (
    STANDING,
    in_global,
    merged,
    submission,
)
from perception.models.heads.detections import as_objects

CONFIGURATION = "detection_cvpr_2019"
_ERRORS = {
    "mATE": "trans_err",
    "mASE": "scale_err",
    "mAOE": "orient_err",
    "mAVE": "vel_err",
    "mAAE": "attr_err",
}


class Seen(NamedTuple):
    """One camera's picture: its name and what was detected in it."""

    frame_id: str
    detections: Objects


@METRICS.register_module()
class NuScenesMetric(BaseMetric):
    """What the devkit says of a result file written for it (Caesar et al., CVPR 2020).

    Figures: ``mAP`` and ``NDS`` and ``<class>_AP`` in percent; mean errors of true
    positives ``mATE`` (metres), ``mASE`` (1 - IoU), ``mAOE`` (radians), ``mAVE`` (m/s),
    ``mAAE`` (1 - accuracy). Means are over the data set's classes: with all ten of
    nuScenes they are its official figures. Of NDS, a tenth is velocity and a tenth
    attributes, of which detections say that all stand, see
    :mod:`perception.evaluation.detection.nuscenes_submission`.

    Data samples need ``pred_instances`` with ``boxes_3d``, and the ``frame_id`` of
    :class:`~perception.datasets.nuscenes.reader.NuScenesFrames`. Pictures that are
    missing count as pictures without detections.

    Args:
        root: nuScenes' folder; a config fills in this and the next three.
        version: E.g. ``v1.0-trainval``.
        split: One that the devkit knows, or of the version's ``splits.json``.
        sensors: What the detector was given.
        attributes: For each class the attribute that its detections say.
        external: Whether the detector has learnt from other data than nuScenes.
        dump_file: Where to write the result file; of a split without labels all that
            is done.
        collect_device: As in MMEngine's ``BaseMetric``.
        prefix: As in MMEngine's ``BaseMetric``.
    """

    default_prefix = "nuscenes"

    def __init__(
        self,
        *,
        root: str,
        version: str,
        split: str,
        sensors: Sequence[str] = ("camera", "lidar", "radar"),
        attributes: Mapping[str, str] = STANDING,
        external: bool = False,
        dump_file: str | None = None,
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if not isinstance(split, str):
            raise ValueError(f"nuScenes' program scores a named split, got {split!r}")
        self.root, self.version, self.split = root, version, split
        self.sensors, self.attributes = tuple(sensors), dict(attributes)
        self.external, self.dump_file = external, dump_file

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep what was detected in each picture."""
        for sample in data_samples:
            detections = as_objects(sample["pred_instances"], self._classes())
            self.results.append(Seen(sample["frame_id"], detections))

    def compute_metrics(self, results: list[Seen]) -> dict[str, float]:
        """Write the result file and have the devkit score it.

        Raises:
            DataError: If the detector has no boxes in metres, or the devkit refuses.
        """
        seen = [Seen(*one) for one in results]  # MMEngine makes them plain tuples
        if any(len(x.detections) and x.detections.boxes_3d is None for x in seen):
            raise DataError(
                "NuScenesMetric needs boxes in metres, of a head such as FCOS3DHead"
            )
        content = self._submission(seen)
        if self.dump_file is not None:
            write_json(self.dump_file, content)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "results.json"
            write_json(path, content)
            return self._score(path)

    def _submission(self, seen: Sequence[Seen]) -> dict[str, Any]:
        index = open_index(self.root, self.version)
        if self.split not in index.splits:
            known = ", ".join(index.splits)
            raise DataError(
                f"{index.where}: no split {self.split!r}; there are {known}"
            )
        records = {name: index[name] for name in index.splits[self.split]}
        parts: dict[str, list] = {
            sample["token"]: []
            for record in records.values()
            for sample in record["samples"]
        }
        for frame_id, detections in seen:
            name, number, camera = frame_id.rsplit("-", 2)
            if name not in records:
                raise DataError(f"frame {frame_id}: not of split {self.split!r}")
            sample = records[name]["samples"][int(number)]
            reading = sample["data"][camera][0]
            boxes = in_global(
                detections,
                sensor_to_global(records[name], reading),
                len(parts[sample["token"]]),
            )
            parts[sample["token"]].append(boxes)
        none = np.zeros(0)
        nothing = in_global(Objects.from_boxes(none, none, none, none), np.eye(4), -1)
        return submission(
            {token: merged([nothing, *some]) for token, some in parts.items()},
            sensors=self.sensors,
            attributes=self.attributes,
            external=self.external,
        )

    def _score(self, path: Path) -> dict[str, float]:
        # Both take seconds to import.
        from nuscenes.eval.detection.config import config_factory
        from nuscenes.eval.detection.evaluate import DetectionEval

        tables = open_tables(self.root, self.version)
        if not tables.sample_annotation:
            told = f"split {self.split} has no labels: nothing to score"
            print_log(f"nuScenes: {told}", logger="current")
            return {}
        rules = config_factory(CONFIGURATION)
        classes = self._classes()
        if unknown := set(classes) - set(rules.class_range):
            raise DataError(f"nuScenes' detection task has no class {sorted(unknown)}")
        rules.class_names = [name for name in rules.class_range if name in classes]
        try:
            judge = DetectionEval(
                tables, rules, str(path), self.split, str(path.parent), verbose=False
            )
            found, _ = judge.evaluate()
        except Exception as error:  # the devkit uses asserts and bare exceptions
            raise DataError(f"nuScenes' devkit refuses the results: {error}") from error
        figures = {"mAP": 100 * found.mean_ap, "NDS": 100 * found.nd_score}
        figures |= {name: found.tp_errors[key] for name, key in _ERRORS.items()}
        by_class = {f"{k}_AP": 100 * float(v) for k, v in found.mean_dist_aps.items()}
        told = ", ".join(f"{name} {value:.2f}" for name, value in figures.items())
        many = f"{len(rules.class_names)} of {len(rules.class_range)} classes"
        print_log(f"nuScenes' own evaluation, {many}: {told}", logger="current")
        return figures | by_class

    def _classes(self) -> tuple[str, ...]:
        if not self.dataset_meta or "classes" not in self.dataset_meta:
            raise ValueError("NuScenesMetric needs dataset_meta['classes']")
        return tuple(self.dataset_meta["classes"])
