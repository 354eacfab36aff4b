"""Scoring folders of KITTI label and result files, and showing the result."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field
from tqdm import tqdm
from typing_extensions import NotRequired, TypedDict

from perception.core.schema import Number, read_as
from perception.core.structures import DataError, Objects, class_key
from perception.core.words import did_you_mean
from perception.datasets.kitti.files import find_files, read_objects
from perception.datasets.splits import check_split, listing, read_split
from perception.evaluation.detection.bootstrap import mean_ap_interval
from perception.evaluation.detection.kitti_ap import (
    RECALLS,
    AveragePrecision,
    Result,
    evaluate,
    left_out,
)
from perception.evaluation.detection.rules import (
    KITTI_CLASSES,
    KITTI_DIFFICULTIES,
    METRICS,
    ClassRule,
    Difficulty,
)

FEW = "†"
"""Marks figures of so few objects that they are low, and jump, whatever is scored."""
FEW_OBJECTS = (
    f"fewer than {RECALLS} objects: by the way KITTI samples recall AP stays below 100 "
    "even for perfect detections, and each object moves it by points"
)


def read_folders(
    label_dir: str | os.PathLike,
    result_dir: str | os.PathLike,
    split: str | os.PathLike | None = None,
) -> tuple[list[Objects], list[Objects]]:
    """Labels and detections of the frames of two folders.

    Args:
        label_dir: ``000000.txt`` … with 15 columns.
        result_dir: Files of the same names with 16 columns; empty = no detections.
        split: File with a frame name per line; without it, every result file's
            frame is read, as KITTI's own program does.

    Raises:
        DataError: If there is nothing to read, or a file is missing or malformed.
    """
    label_dir, result_dir = Path(label_dir), Path(result_dir)
    for folder in (label_dir, result_dir):
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder")
    frame_ids = sorted(_results_in(result_dir))
    if split is not None:  # a frame without results is named below
        frame_ids = read_split(split)
        check_split(frame_ids, frame_ids, str(split))
    elif not frame_ids:
        raise DataError(f"{result_dir}: expected result files (*.txt), found none")
    labels, results = [], []
    for frame_id in tqdm(frame_ids, desc="reading", unit="frame", disable=None):
        label_path = label_dir / f"{frame_id}.txt"
        result_path = result_dir / f"{frame_id}.txt"
        for path, content in ((label_path, "label"), (result_path, "result")):
            if not path.is_file():
                raise DataError(f"{path}: no {content} file for frame {frame_id}")
        labels.append(read_objects(label_path))
        results.append(read_objects(result_path, scores=True))
    return labels, results


def evaluate_frames(
    labels: Sequence[Objects],
    results: Sequence[Objects],
    *,
    metrics: Sequence[str] = METRICS,
    classes: Sequence[ClassRule] = KITTI_CLASSES,
    difficulties: Sequence[Difficulty] = KITTI_DIFFICULTIES,
) -> tuple[Result, list[str]]:
    """Score frames as :func:`read_folders` reads them.

    Returns:
        The figures; for each metric and class that cannot be scored one line why.
    """
    missing = left_out(labels, results, classes=classes)
    notes = [f"no {m}: {why}" for m, why in missing.items() if m in metrics]
    result = evaluate(
        labels, results, classes=classes, metrics=metrics, difficulties=difficulties
    )
    return result, notes + unknown_classes(labels, classes)


def interval_lines(
    labels: Sequence[Objects],
    results: Sequence[Objects],
    figures: Result,
    classes: Sequence[ClassRule],
    difficulties: Sequence[Difficulty],
) -> list[str]:
    """For each figure but those of aos the 95 % interval of AP (R40) over frames."""
    rules, lines = {rule.name: rule for rule in classes}, []
    for name, by_metric in figures.items():
        for metric, cells in by_metric.items():
            if metric == "aos":
                continue
            told = []
            for level in difficulties:
                span = mean_ap_interval(
                    labels,
                    results,
                    classes=[rules[name]],
                    difficulty=level,
                    metric=metric,  # type: ignore[arg-type]
                )
                if span is not None and cells[level.name].objects:
                    told.append(f"{level.name} {span[0]:.2f} … {span[1]:.2f}")
            if told:
                overlap = rules[name].overlap_for(metric)
                where = f"{name} {metric} > {overlap:.2f}, R40, 95 %"
                lines.append(f"{where}: {', '.join(told)}")
    return lines


def unknown_classes(
    labels: Sequence[Objects], classes: Sequence[ClassRule]
) -> list[str]:
    """For each class that no label has one line, which says what may be meant."""
    seen = sorted({str(name) for objects in labels for name in objects.names})
    keys = {class_key(name) for name in seen}
    return [
        f"no label is called {rule.name}{did_you_mean(rule.name, seen)}; labels are "
        f"called {', '.join(seen) or 'nothing'}"
        for rule in classes
        if class_key(rule.name) not in keys
    ]


class _Level(TypedDict):
    name: str
    min_height_px: Number
    max_occlusion: int
    max_truncation: Number
    depth_m: NotRequired[tuple[Number, Number] | None]


class _About(TypedDict):
    """What is read again of the ``about.json`` of saved frames."""

    overlaps: dict[str, Annotated[float, Field(gt=0, le=1)]]
    difficulties: Annotated[list[_Level], Field(min_length=1)]


def read_about(
    path: str | os.PathLike,
) -> tuple[dict[str, float], tuple[Difficulty, ...]]:
    """Overlaps by class and difficulties of the ``about.json`` of saved frames.

    Raises:
        DataError: If it is none.
    """
    about = read_as(_About, path, what="about.json of tools/attack.py --save-data")
    try:
        levels = tuple(Difficulty(**level) for level in about["difficulties"])
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    return about["overlaps"], levels


def check_result_folder(folder: str | os.PathLike, frame_ids: Iterable[str]) -> None:
    """Raise DataError if a folder to write to holds results of other frames.

    Whoever scores the folder would take them for results of the same run.
    """
    if others := sorted(_results_in(Path(folder)).difference(frame_ids)):
        raise DataError(
            f"{folder}: holds results of other frames ({listing(others)}); remove "
            "them or choose another folder"
        )


def _results_in(folder: Path) -> set[str]:
    """Names of the frames that have a result file."""
    return set(find_files(folder, (".txt",), required=False))


def result_table(result: Result, classes: Sequence[ClassRule] = KITTI_CLASSES) -> str:
    """The result as text: a line per class and metric, R11 and R40 per difficulty."""
    rules = {rule.name: rule for rule in classes}
    rows = [
        (name, metric, rules[name].overlap_for(metric), cells)
        for name, by_metric in result.items()
        for metric, cells in by_metric.items()
    ]
    if not rows:
        return "nothing to show: none of the metrics could be computed"
    width = max(len("AP in %"), *(len(row[0]) for row in rows)) + 2
    difficulties = rows[0][3]
    head = f"{'AP in %':<{width}}{'':6}{'':7}" + "".join(
        f"{name:^18}" for name in difficulties
    )
    head_2 = f"{'class':<{width}}{'metric':<6}{'IoU >':>7}" + "".join(
        f"{'R11':>9}{'R40':>9}" for _ in difficulties
    )
    lines = [
        f"{name:<{width}}{metric:<6}{overlap:>7.2f}"
        + "".join(_cell_text(cell) for cell in cells.values())
        + "  "
        + "/".join(str(cell.objects) for cell in cells.values())
        for name, metric, overlap, cells in rows
    ]
    notes = _notes([cell for row in rows for cell in row[3].values()])
    return "\n".join([head, head_2 + "  objects to find", *lines, *notes])


def _cell_text(cell: AveragePrecision) -> str:
    if not cell.objects:
        return f"{'n/a':>9}{'n/a':>9}"
    mark = FEW if cell.objects < RECALLS else " "
    return f"{cell.r11:>8.2f}{mark}{cell.r40:>8.2f}{mark}"


def _notes(cells: Sequence[AveragePrecision]) -> list[str]:
    notes = []
    if any(0 < cell.objects < RECALLS for cell in cells):
        notes.append(f"{FEW} {FEW_OBJECTS}")
    if any(cell.objects == 0 for cell in cells):
        notes.append("n/a: no object to find")
    return notes
