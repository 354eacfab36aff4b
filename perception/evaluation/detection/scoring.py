"""How a config's test frames are judged, and a checkpoint's scores on them."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from mmengine.config import Config
from mmengine.runner import Runner

from perception.core.checkpoints import local_file
from perception.core.config import first_evaluator
from perception.core.files import write_json
from perception.core.provenance import settings_of, versions
from perception.core.shards import WHOLE, Shard, torchrun_shard
from perception.core.structures import DataError, Objects
from perception.datasets.kitti.files import require_words
from perception.datasets.reader import labels_of
from perception.evaluation.classification.accuracy import hits
from perception.evaluation.detection.kitti_ap import evaluate, mean_ap
from perception.evaluation.detection.recorded import score_recorded
from perception.evaluation.detection.report import check_result_folder
from perception.evaluation.detection.rules import (
    KITTI_DIFFICULTIES,
    Difficulty,
    Scoring,
    kitti_rules,
)
from perception.models.export import GraphSpec, export_onnx
from perception.models.onnx_runtime import OnnxDetector
from perception.training.runner import build_runner

Backend = Literal["torch", "onnxruntime"]


def scoring_of(config: Config, score_threshold: float = 0.3) -> Scoring:
    """The test evaluator's overlaps and difficulties, as ``KittiMetric`` takes them.

    An evaluator without overlaps, such as COCO's, gets 0.5 for every class.

    Raises:
        DataError: If the evaluator's headline is none of its difficulties.
    """
    evaluator = first_evaluator(config)
    classes = config.test_dataloader.dataset.classes
    if evaluator.get("type") == "AccuracyMetric":
        return Scoring.of_classifier(classes)
    kitti = evaluator.get("type") == "KittiMetric"
    overlaps = evaluator.get("overlaps", "kitti" if kitti else None)
    if overlaps is None:
        overlaps = dict.fromkeys(classes, 0.5)
    elif overlaps == "kitti":
        overlaps = {rule.name: rule.overlap_for("2d") for rule in kitti_rules(classes)}
    difficulties = tuple(
        value if isinstance(value, Difficulty) else Difficulty(*value)
        for value in evaluator.get("difficulties", KITTI_DIFFICULTIES)
    )
    headline = evaluator.get("headline", Scoring.headline)
    if headline not in (names := [one.name for one in difficulties]):
        raise DataError(
            f"{config.filename}: the test evaluator's headline must be one of "
            f"{', '.join(names)}, got {headline!r}"
        )
    return Scoring(dict(overlaps), difficulties, headline, score_threshold)


def headline_of(
    truth: Sequence[Objects], found: Sequence[Objects], scoring: Scoring
) -> float:
    """The figure that all is about, in percent: mean AP, or a classifier's accuracy."""
    if scoring.metric == "accuracy":
        return 100 * float(hits(truth, found).mean())
    result = evaluate(
        truth,
        found,
        classes=scoring.rules["headline"],
        metrics=("2d",),
        difficulties=scoring.difficulties,
    )
    return mean_ap(result, "2d", scoring.headline)


def score_checkpoint(
    config: Config,
    checkpoint: str | os.PathLike,
    *,
    work_dir: str | os.PathLike,
    dump_kitti: str | os.PathLike | None = None,
    dump_nuscenes: str | os.PathLike | None = None,
    json_file: str | os.PathLike | None = None,
    invocation: Mapping[str, Any] | None = None,
    launcher: str = "none",
    backend: Backend = "torch",
    shard: Shard | None = None,
    merge: Sequence[str] | None = None,
) -> dict[str, float] | None:
    """Score a checkpoint on the config's test frames, with its test evaluators.

    Args:
        config: The run that the checkpoint came from.
        checkpoint: ``.pth`` or ``.safetensors``, a file or an http(s) address; an
            ``.onnx`` file for that backend.
        work_dir: Folder of logs.
        dump_kitti: Folder for one KITTI result file per frame; files of these frames
            are replaced.
        dump_nuscenes: File for a result of nuScenes' detection task.
        json_file: File for the figures and what is needed to reproduce them.
        invocation: What that file says of how the run was started, e.g. ``command``.
        launcher: One of ``perception.training.runner.LAUNCHERS``.
        backend: What runs the detector; weights that are no ``.onnx`` file are exported
            into ``work_dir`` first.
        shard: Only this share of the frames, recorded below ``work_dir``.
        merge: Join such shares with those of other work folders, and do what is
            missing; None: there are none, and nothing is recorded.

    Returns:
        The metric's figures by name; None of a shard, and on all ranks but the first
        of torchrun's without a ``launcher``.

    Raises:
        DataError: If the data or the checkpoint cannot be used, the checkpoint's
            weights are not those of the config's detector, or ``dump_kitti`` holds
            result files of other frames.
    """
    weights = local_file(checkpoint)
    config.work_dir = str(work_dir)
    config.load_from = None
    config.resume = False
    if dump_kitti is not None:
        if (kind := first_evaluator(config).get("type")) != "KittiMetric":
            raise DataError(f"{config.filename}: {kind} writes no KITTI result files")
        first_evaluator(config)["dump_dir"] = str(dump_kitti)
    if dump_nuscenes is not None:
        _nuscenes_evaluator(config)["dump_file"] = str(dump_nuscenes)
    runner = build_runner(config, launcher)
    dataset: Any = runner.test_dataloader.dataset
    frame_ids = list(dataset.frames.frame_ids)[: len(dataset)]
    if dump_kitti is not None:  # before hours of work
        check_result_folder(dump_kitti, frame_ids)
        require_words(dataset.metainfo["classes"], dump_kitti)
    elif labels_of(dataset.frames, 0) is None:
        raise DataError(
            f"frame {frame_ids[0]}: no labels, which AP needs; --dump-kitti DIR writes "
            "the detections without them"
        )
    _load(runner, weights, backend)
    settings = settings_of(config, str(config.filename), weights, frame_ids)
    ranks = launcher == "none" and torchrun_shard() != WHOLE
    if shard is not None or merge is not None or ranks:
        found = score_recorded(
            runner,
            settings | {"backend": backend},
            records_folder(work_dir),
            shard=shard,
            merge=[str(records_folder(folder)) for folder in merge or ()],
        )
        if found is None:
            return None
    else:
        found = runner.test()
    figures = {name: float(value) for name, value in found.items()}
    if json_file is not None:
        content = {
            **(invocation or {}),
            "checkpoint": str(checkpoint),
            **settings,
            "frames": len(frame_ids),
            "versions": versions(),
            # JSON knows no NaN, the figure of a class without objects
            "figures": {k: None if math.isnan(v) else v for k, v in figures.items()},
        }
        write_json(json_file, content)
    return figures


def _nuscenes_evaluator(config: Config) -> dict[str, Any]:
    evaluators = config.get("test_evaluator", ())
    for one in evaluators if isinstance(evaluators, list | tuple) else [evaluators]:
        if one.get("type") == "NuScenesMetric":
            found: dict[str, Any] = one
            return found
    raise DataError(
        f"{config.filename}: no NuScenesMetric writes nuScenes' result file"
    )


def records_folder(work_dir: str | os.PathLike) -> Path:
    """Where shards record their frames."""
    return Path(work_dir) / "scored"


def _load(runner: Runner, weights: Path, backend: Backend) -> None:
    """Give a runner's model its weights, or put an exported one in its place."""
    exported = weights.suffix == ".onnx"
    if exported and backend != "onnxruntime":
        raise DataError(f"{weights}: an ONNX file needs --backend onnxruntime")
    if not exported:
        try:  # MMEngine would only warn, and score weights that are half random
            runner.load_checkpoint(str(weights), strict=True)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise DataError(
                f"{weights}: does not fit {runner.cfg.filename}: {reason}"
            ) from error
    if backend == "torch":
        return
    detector: Any = runner.model
    if not exported:
        first: Any = next(iter(runner.test_dataloader))
        packed = detector.data_preprocessor(first)
        weights = Path(runner.work_dir) / "exported.onnx"
        shape = packed["data_samples"][0].batch_input_shape
        export_onnx(detector, weights, GraphSpec(size=shape))
    runner.model = OnnxDetector(detector, weights)
