"""The KITTI evaluation as an MMEngine metric, for validation during training."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from perception.core.files import path_part
from perception.core.gate_state import attributed, false_alarm_warning
from perception.core.structures import DataError, Objects
from perception.datasets.kitti.files import write_objects
from perception.evaluation.detection.bootstrap import mean_ap_interval
from perception.evaluation.detection.center_ap import (
    LIMITS_M,
    center_table,
    evaluate_centers,
    mean_center_ap,
)
from perception.evaluation.detection.kitti_ap import Result, evaluate, mean_ap
from perception.evaluation.detection.report import result_table, unknown_classes
from perception.evaluation.detection.rules import (
    KITTI_DIFFICULTIES,
    ClassRule,
    Difficulty,
    kitti_rules,
    rules_with_overlaps,
)
from perception.evaluation.detection.rules import METRICS as ALL_METRICS
from perception.models.heads.detections import as_objects


class Seen(NamedTuple):
    """One frame: its labels, what was detected, whom a gate accuses."""

    frame_id: str
    labels: Objects | None
    detections: Objects
    accused: str | None


@METRICS.register_module()
class KittiMetric(BaseMetric):
    """AP by KITTI's protocol, at overlaps of one's own and at KITTI's.

    The figures, in percent: ``mAP`` (mean over the classes, see ``headline``, R40)
    and ``<class>_2d_<difficulty>_R40`` and ``_R11`` at the given overlaps; the same
    with the ending ``_official`` at KITTI's overlaps, for the classes KITTI scores.
    NaN where there is no object to find; means leave such classes out.

    Of detectors with boxes in metres likewise ``aos``, ``bev`` and ``3d`` in the place
    of ``2d``, ``mAP_bev`` and ``mAP_3d``; by centre distance (:mod:`perception.
    evaluation.detection.center_ap`) ``mAP_<limit>m``, ``<class>_<limit>m_R40`` and
    the errors ``<class>_translation_m``, ``_scale`` and ``_orientation_rad``.

    Each data sample must have ``pred_instances`` with ``bboxes`` (D, 4) x1, y1, x2,
    y2 in pixels of the original image, ``scores`` (D,), ``labels`` (D,) and perhaps
    ``boxes_3d`` (D, 7) in metres, and the metainfo ``frame_id`` and ``objects``, all
    labels of the frame in the original image's pixels. ``dataset_meta['classes']``
    names the labels.

    Args:
        overlaps: For each class the intersection over union that a detection must
            exceed; its keys are the classes that are scored. ``"kitti"``: KITTI's,
            for those of the data set's classes that KITTI scores.
        difficulties: What has to be found; tuples become ``Difficulty``.
        headline: Name of the difficulty that ``mAP`` is about.
        dump_dir: Folder to write the detections to as KITTI result files, one per
            frame, empty without detections.
        collect_device: As in MMEngine's ``BaseMetric``.
        prefix: As in MMEngine's ``BaseMetric``.
    """

    default_prefix = "kitti"

    def __init__(
        self,
        *,
        overlaps: Mapping[str, float] | Literal["kitti"] = "kitti",
        difficulties: Sequence[Difficulty | Sequence] = KITTI_DIFFICULTIES,
        headline: str = "moderate",
        dump_dir: str | None = None,
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.overlaps = overlaps
        self.difficulties = tuple(
            value if isinstance(value, Difficulty) else Difficulty(*value)
            for value in difficulties
        )
        self.headline = headline
        self.dump_dir = dump_dir
        if headline not in (names := [d.name for d in self.difficulties]):
            raise ValueError(f"headline must be one of {names}, got {headline!r}")

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep each frame's labels and detections, as small NumPy arrays."""
        for sample in data_samples:
            detections = as_objects(sample["pred_instances"], self._classes())
            gate, names = sample.get("gate"), sample.get("gate_names", ())
            accused = attributed(None if gate is None else gate.tolist(), names)
            self.results.append(
                Seen(sample["frame_id"], sample["objects"], detections, accused)
            )

    def compute_metrics(self, results: list[Seen]) -> dict[str, float]:
        """Score all frames, log the tables and write the result files.

        Frames without labels, such as KITTI's test set, are written only.
        """
        results = [Seen(*one) for one in results]  # MMEngine makes them plain tuples
        if self.dump_dir is not None:
            for seen in results:
                name = path_part(seen.frame_id, "the data set")
                write_objects(Path(self.dump_dir) / f"{name}.txt", seen.detections)
            if all(seen.labels is None for seen in results):
                told = f"{self.dump_dir}: detections in {len(results)} frames; none of "
                print_log(told + "them has labels to score", logger="current")
                return {}
        for seen in results:
            if seen.labels is None:
                raise DataError(f"frame {seen.frame_id}: no labels, which AP needs")
        accused = Counter[str | None](x.accused for x in results if x.accused)
        if warning := false_alarm_warning(accused):
            print_log(warning, logger="current", level=logging.WARNING)
        classes = self._classes()
        # Always there, so that either can choose the best checkpoint.
        official = kitti_rules(classes)
        figures = self._score(results, official, "AP at KITTI's overlaps")
        official_figures = {f"{name}_official": figures[name] for name in figures}
        if self.overlaps == "kitti":
            return figures | official_figures | self._score_centers(results, official)
        if unknown := set(self.overlaps) - set(classes):
            raise ValueError(
                f"overlaps are given for {sorted(unknown)}, but the data set's classes "
                f"are {classes}"
            )
        own = rules_with_overlaps(dict(self.overlaps))
        title = "AP at the overlaps of this task"
        figures = self._score(results, own, title) | official_figures
        return figures | self._score_centers(results, own)

    def _score(
        self,
        results: Sequence[Seen],
        rules: Sequence[ClassRule],
        title: str,
    ) -> dict[str, float]:
        """The figures for one set of rules, logged as a table."""
        labels = [seen.labels for seen in results if seen.labels is not None]
        result = evaluate(
            labels,
            [seen.detections for seen in results],
            classes=rules,
            metrics=ALL_METRICS if _in_space(results) else ("2d",),
            difficulties=self.difficulties,
        )
        mean = mean_ap(result, "2d", self.headline, "R40")
        span = mean_ap_interval(
            labels,
            [seen.detections for seen in results],
            classes=rules,
            difficulty=self._level,
        )
        within = (
            "" if span is None else ", 95 % over frames: {:.1f} … {:.1f}".format(*span)
        )
        print_log(
            f"{title}, {len(results)} frames: mAP {mean:.2f} ({self.headline}, R40"
            f"{within})\n"
            + "\n".join([result_table(result, rules)] + unknown_classes(labels, rules)),
            logger="current",
        )
        measured = {metric for cells in result.values() for metric in cells}
        means = {
            f"mAP_{metric}": mean_ap(result, metric, self.headline)
            for metric in ("bev", "3d")
            if metric in measured
        }
        return {"mAP": mean} | means | _flat(result)

    def _score_centers(
        self, results: Sequence[Seen], rules: Sequence[ClassRule]
    ) -> dict[str, float]:
        """Figures by centre distance, logged as a table; {} for image boxes alone."""
        if not _in_space(results):
            return {}
        labels = [seen.labels for seen in results if seen.labels is not None]
        found = [seen.detections for seen in results]
        how: dict[str, Any] = dict(classes=rules, difficulty=self._level)
        result = evaluate_centers(labels, found, **how)
        title = f"AP by centre distance on the ground ({self.headline}, R40)"
        print_log(f"{title}\n{center_table(result)}", logger="current")
        asked: dict[str, dict[str, Any]]
        asked = {f"{x:g} m": dict(limit_m=x) for x in LIMITS_M}
        asked |= {"BEV": dict(metric="bev"), "3D": dict(metric="3d")}
        spans = {
            name: mean_ap_interval(labels, found, **how, **one)
            for name, one in asked.items()
        }
        told = [
            f"{name} {{:.1f}} … {{:.1f}}".format(*span)
            for name, span in spans.items()
            if span is not None
        ]
        if told:
            text = f"means, 95 % over frames: {', '.join(told)}"
            print_log(text, logger="current")
        figures = {f"mAP_{x:g}m": mean_center_ap(result, x) for x in LIMITS_M}
        for name, one in result.items():
            for limit, cell in one.ap.items():
                figures[f"{name}_{limit:g}m_R40"] = (
                    cell.r40 if cell.objects else float("nan")
                )
            figures[f"{name}_translation_m"] = one.translation_m
            figures[f"{name}_scale"] = one.scale
            figures[f"{name}_orientation_rad"] = one.orientation_rad
        return figures

    @property
    def _level(self) -> Difficulty:
        """The difficulty that the headline is about."""
        return next(d for d in self.difficulties if d.name == self.headline)

    def _classes(self) -> tuple[str, ...]:
        if not self.dataset_meta or "classes" not in self.dataset_meta:
            raise ValueError("KittiMetric needs dataset_meta['classes']")
        return tuple(self.dataset_meta["classes"])


def _in_space(results: Sequence[Seen]) -> bool:
    """Whether any detection says where in space it is."""
    return any(seen.detections.boxes_3d is not None for seen in results)


def _flat(result: Result) -> dict[str, float]:
    """One number per name, NaN where there is nothing to find."""
    return {
        f"{name}_{metric}_{difficulty}_{recall}": (
            getattr(cell, recall.lower()) if cell.objects else float("nan")
        )
        for name, by_metric in result.items()
        for metric, cells in by_metric.items()
        for difficulty, cell in cells.items()
        for recall in ("R11", "R40")
    }
