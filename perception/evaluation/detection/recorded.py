"""Scoring from records of every frame's detections, made by several machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmdet.structures import DetDataSample
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from tqdm import tqdm
from typing_extensions import NotRequired, TypedDict

from perception.core.provenance import Environment
from perception.core.ranks import Ranks
from perception.core.schema import checked
from perception.core.shards import Shard, shares
from perception.datasets.loading import build_loader
from perception.datasets.reader import labels_of
from perception.evaluation.robustness.store import LineStore, take_folder

_Box3D = tuple[float, float, float, float, float, float, float]


class Detected(TypedDict):
    """What was detected in one frame, in pixels of the original picture.

    ``boxes_3d`` in metres, as of ``FCOS3DHead``; None of detectors without such boxes.
    """

    frame_id: str
    boxes_px: list[tuple[float, float, float, float]]
    scores: list[float]
    labels: list[int]
    ori_shape: tuple[int, int]
    gate: list[float] | None
    gate_names: list[str]
    boxes_3d: NotRequired[list[_Box3D] | None]


def score_recorded(
    runner: Runner,
    settings: Mapping[str, Any],
    folder: Path,
    *,
    shard: Shard | None = None,
    merge: Sequence[str] = (),
) -> dict[str, float] | None:
    """The figures of a runner's test frames, each of which is recorded in a folder.

    Args:
        runner: With the weights to score.
        settings: What determines the results; with ``frame_ids``.
        folder: For the records.
        shard: Only record this share.
        merge: Folders of other machines' shards.

    Returns:
        The figures; None of a shard, and on all ranks but torchrun's first.

    Raises:
        DataError: If a folder holds records of other settings.
    """
    dataset: Any = runner.test_dataloader.dataset
    names = settings["frame_ids"]
    with Ranks() as ranks:
        mine = shard or ranks.shard
        store = LineStore(folder, settings, resume=True, writer=mine)
        for other in merge:
            take_folder([store], folder, Path(other))
        for share in shares(folder, shard) if shard else [mine]:
            _detect(runner, dataset, names, store, share)
        ranks.wait()
        if shard is not None or ranks.shard.index > 0:
            return None
    store = LineStore(folder, settings, resume=True)
    store.unite(names)
    return _scored(runner, dataset, names, store)


@torch.no_grad()
def _detect(
    runner: Runner,
    dataset: Any,
    names: Sequence[str],
    store: LineStore,
    shard: Shard,
) -> None:
    """Record a share of the frames, in the batches that a test would have."""
    loader = runner.test_dataloader
    size, done = loader.batch_size or 1, store.frame_ids()
    count, missing = shard.missing(names, size, done)
    model: Any = runner.model
    model.eval()
    if missing:
        store.begin(Environment.here(next(model.parameters()).device))
    batches = build_loader(
        dataset, missing, batch_size=size, workers=loader.num_workers
    )
    start = count - len(missing)
    with tqdm(total=count, initial=start, unit="frame", disable=None) as bar:
        for data in batches:
            samples = model.test_step(data)
            found = [_plain(sample) for sample in samples]
            store.append_lines(x for x in found if x["frame_id"] not in done)
            bar.update(len(found))


def _plain(sample: DetDataSample) -> Detected:
    found, gate = sample.pred_instances, sample.get("gate")
    space = found.get("boxes_3d")
    return Detected(
        frame_id=sample.frame_id,
        boxes_px=found.bboxes.tolist(),
        scores=found.scores.tolist(),
        labels=found.labels.tolist(),
        ori_shape=tuple(sample.ori_shape[:2]),
        gate=None if gate is None else gate.tolist(),
        gate_names=list(sample.get("gate_names", ())),
        boxes_3d=None if space is None else space.tolist(),
    )


def _scored(
    runner: Runner, dataset: Any, names: Sequence[str], store: LineStore
) -> dict[str, float]:
    """What the test's evaluators make of the records."""
    evaluator = runner.test_loop.evaluator
    number = {name: i for i, name in enumerate(names)}
    for line in store.lines(_detected):
        labels = labels_of(dataset.frames, number[line["frame_id"]])
        evaluator.process(data_samples=[_sample(line, labels)], data_batch=None)
    figures: dict[str, float] = evaluator.evaluate(len(names))
    return figures


def _detected(line: Any) -> Detected:
    what = "record of a scored frame"
    found: Detected = checked(Detected, line, line.get("frame_id"), what=what)
    return found


def _sample(line: Detected, labels: Any) -> DetDataSample:
    sample = DetDataSample(
        metainfo={
            "frame_id": line["frame_id"],
            "img_id": line["frame_id"],
            "ori_shape": line["ori_shape"],
            "objects": labels,
            "gate_names": tuple(line["gate_names"]),
        }
    )
    sample.pred_instances = InstanceData(
        bboxes=torch.tensor(line["boxes_px"], dtype=torch.float32).reshape(-1, 4),
        scores=torch.tensor(line["scores"], dtype=torch.float32),
        labels=torch.tensor(line["labels"], dtype=torch.long),
    )
    if (space := line.get("boxes_3d")) is not None:
        boxes = torch.tensor(space, dtype=torch.float32).reshape(-1, 7)
        sample.pred_instances.boxes_3d = boxes
    if line["gate"] is not None:
        gate = torch.tensor(line["gate"], dtype=torch.float32)
        sample.set_field(gate, "gate", dtype=torch.Tensor)
    return sample
