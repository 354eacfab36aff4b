"""What a run works on: a detector, frames and attacks, loaded and checked."""

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
from perception.evaluation.robustness.attack_file import AttackFile, Named
from perception.evaluation.robustness.spec import (
    AttacksSpec,
    DetectorRun,
    DetectorSpec,
    Running,
)
from perception.targets import DetectorTarget
from perception.targets.history import HistoryTarget
from perception.targets.loading import LoadedTarget, load_target


@dataclass(frozen=True)
class Subject:
    """A detector, frames, and attacks that fit them.

    Attributes:
        name: The detector's name in results.
        spec: Which detector.
        config: Its config.
        target: The detector, or a system of somebody else, on its device.
        dataset: All test frames.
        indices: Numbers of those to use.
        scoring: How detections are judged.
        attacks: What to do to it, if anything.
    """

    name: str
    spec: DetectorSpec
    config: Config
    target: LoadedTarget
    dataset: FrameDataset
    indices: list[int]
    scoring: Scoring
    attacks: Sequence[Named] = ()

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

    def require_boxes(self, what: str) -> None:
        """Raise DataError for a classifier, which has none."""
        if self.scoring.metric == "accuracy":
            raise DataError(
                f"{self.spec.config}: {what} of boxes, and this classifies samples"
            )

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
    run: DetectorRun, asked: AttacksSpec | None = None, *, name: str | None = None
) -> Subject:
    """Load and check a run's detector, its frames and the attacks asked for.

    Args:
        run: Which detector, on which frames, where.
        asked: Attacks; those of suites on sensors that it lacks are left out.
        name: The detector's; None takes it from the config's path.

    Raises:
        DataError: If the config, the weights, the frames or an attack cannot be used,
            or no attack fits.
    """
    file = None if asked is None else AttackFile(asked.attacks_file)
    pictures: list[str] = []
    if file is not None and asked is not None:
        pictures = file.right_pictures(file.names(asked.threats))
    spec, frames = run.detector, run.frames
    config = config_of(spec, frames.split, pictures)
    target = load_target(config, spec.checkpoint, device=run.running.device)
    if "target" in config:  # labels are numbered by its classes
        apply_options(config, {"classes": tuple(target.classes)})
    dataset = build_dataset(config, "test")
    if isinstance(target, HistoryTarget):
        target.follow(dataset)
    indices = choose_frames(dataset, frames.frames, frames.num)
    scoring = scoring_of(config, run.score_threshold)
    attacks: list[Named] = []
    if file is not None and asked is not None:
        attacks = [
            file.build(
                one,
                asked.changes,
                source=asked.source,
                patch=asked.patch,
                smaller=asked.smaller,
                target=target,
                replay=dataset,
            )
            for one in file.names(asked.threats, target.sensors)
        ]
        if not attacks:
            threats = ", ".join(asked.threats)
            raise DataError(f"no attack of {threats} fits the detector")
    name = name_of(spec) if name is None else name
    return Subject(name, spec, config, target, dataset, indices, scoring, attacks)


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
