"""What a run works on: a detector and some of its test frames, loaded and checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from mmengine.config import Config

from perception.attacks.batch import AttackBatch
from perception.core.config import as_config, default_work_dir, load_config
from perception.core.config_options import apply_options
from perception.core.provenance import settings_of
from perception.core.structures import DataError
from perception.datasets.frame_dataset import FrameDataset
from perception.datasets.kitti.reader import KITTI_SOURCES
from perception.datasets.loading import build_dataset, build_loader, numbered_batches
from perception.datasets.splits import listing
from perception.evaluation.detection.rules import Scoring
from perception.evaluation.detection.scoring import scoring_of
from perception.evaluation.robustness.spec import DetectorSpec, FramesSpec, Running
from perception.targets import DetectorTarget
from perception.targets.loading import LoadedTarget, load_target


@dataclass(frozen=True)
class Subject:
    """A detector and frames.

    Attributes:
        name: The detector's name in results.
        spec: Which detector.
        config: Its config.
        target: The detector, or a system of somebody else, on its device.
        dataset: All test frames.
        indices: Numbers of those to use.
        scoring: How detections are judged.
    """

    name: str
    spec: DetectorSpec
    config: Config
    target: LoadedTarget
    dataset: FrameDataset
    indices: list[int]
    scoring: Scoring

    @property
    def detector(self) -> Any:
        """The detector itself, for what is done to this project's alone.

        Raises:
            DataError: If it is a system of somebody else.
        """
        if not isinstance(self.target, DetectorTarget):
            raise DataError(f"{self.name}: not a detector of this project")
        return self.target.detector

    @property
    def frame_ids(self) -> list[str]:
        """Names of the frames to use, in order."""
        names = frame_ids_of(self.dataset)
        return [names[index] for index in self.indices]

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What determines its results, apart from attacks."""
        spec = self.spec
        return settings_of(self.config, spec.config, spec.checkpoint, self.frame_ids)

    def batches(
        self, running: Running, indices: Sequence[int] | None = None
    ) -> Iterator[AttackBatch]:
        """Labelled batches of its frames, or of those given.

        Raises:
            DataError: If a frame has no labels.
        """
        chosen = self.indices if indices is None else indices
        size, workers = running.batch_size, running.workers
        loader = build_loader(self.dataset, chosen, batch_size=size, workers=workers)
        for ids, data in numbered_batches(loader, chosen):
            yield self.target.batch(data, ids)


def load_subject(
    detector: DetectorSpec,
    frames: FramesSpec,
    *,
    device: str = "cpu",
    right_pictures: Iterable[str] = (),
    score_threshold: float = 0.3,
    name: str | None = None,
) -> Subject:
    """Load and check.

    Args:
        detector: Which.
        frames: Which.
        device: Where the detector runs.
        right_pictures: See :func:`config_of`.
        score_threshold: Detections below it do not count for per-frame success.
        name: The detector's; None takes it from the config's path.

    Raises:
        DataError: If the config, the weights or the frames cannot be used.
    """
    config = config_of(detector, frames.split, right_pictures)
    target = load_target(config, detector.checkpoint, device=device)
    if "target" in config:  # labels are numbered by its classes
        apply_options(config, {"classes": tuple(target.classes)})
    dataset = build_dataset(config, "test")
    indices = choose_frames(dataset, frames.frames, frames.num)
    scoring = scoring_of(config, score_threshold)
    name = name_of(detector) if name is None else name
    return Subject(name, detector, config, target, dataset, indices, scoring)


def name_of(detector: DetectorSpec) -> str:
    """What results call a detector: by its config's path, or by its function."""
    if detector.target is None:
        return default_work_dir(detector.config).name
    return detector.target.replace(":", ".")


def config_of(
    detector: DetectorSpec,
    split: str | None = None,
    right_pictures: Iterable[str] = (),
) -> Config:
    """A detector's config, its test frames being those to use.

    Args:
        detector: Which.
        split: Name of a split file instead of the config's.
        right_pictures: Names under which frames shall carry the right picture of
            KITTI's layout, for attacks through the stereo matcher.
    """
    config = as_config(load_config(detector.config, detector.cfg_options))
    if detector.target is not None:
        config.target = {"type": detector.target}
    frames = config.test_dataloader.dataset.frames
    if split is not None:
        frames.split = split
    for name in right_pictures:
        known = {key: asdict(source) for key, source in KITTI_SOURCES.items()}
        sources = frames.get("sources", known)
        right = {"kind": "image", "folder": "image_3"}
        frames.sources = {**sources, name: sources.get(name, right)}
    return config


def frame_ids_of(dataset: FrameDataset) -> list[str]:
    """Names of all frames, without reading them."""
    frames: Any = dataset.frames
    return list(frames.frame_ids)[: len(dataset)]


def choose_frames(
    dataset: FrameDataset, frames: Sequence[str] | None, num: int | None
) -> list[int]:
    """Numbers of the frames named, or of ``num`` spread evenly, or of all.

    Raises:
        DataError: If a frame is not among the data set's.
    """
    frame_ids = frame_ids_of(dataset)
    if frames is not None:
        number = {frame_id: index for index, frame_id in enumerate(frame_ids)}
        if missing := [frame_id for frame_id in frames if frame_id not in number]:
            raise DataError(
                f"frame(s) not in the split: {listing(missing)}; it has "
                f"{listing(frame_ids)}"
            )
        return [number[frame_id] for frame_id in dict.fromkeys(frames)]
    count = len(frame_ids) if num is None else min(num, len(frame_ids))
    return [i * len(frame_ids) // count for i in range(count)]
