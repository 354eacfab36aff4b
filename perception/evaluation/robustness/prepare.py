"""From the names of files to a detector, frames and attacks, everything checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from mmengine.config import Config

from perception.attacks import Perturbation
from perception.core.config import as_config, first_evaluator, load_config
from perception.core.structures import DataError
from perception.corruptions import Corruption
from perception.datasets.frame_dataset import FrameDataset
from perception.datasets.kitti.sources import KITTI_SOURCES
from perception.datasets.loading import build_dataset
from perception.datasets.splits import listing
from perception.evaluation.detection.rules import (
    KITTI_DIFFICULTIES,
    Difficulty,
    kitti_rules,
)
from perception.evaluation.robustness.attack_file import AttackFile
from perception.evaluation.robustness.attack_report import Scoring
from perception.evaluation.robustness.cell import check_attack, frame_ids_of
from perception.models import MultiModalDetector
from perception.models.loading import load_detector


@dataclass(frozen=True, kw_only=True)
class AttackRun:
    """One run of attacks over a data set; without threats, of the detector alone.

    Attributes:
        config: Config file of the detector and its data.
        checkpoint: Its weights.
        threats: Names of attacks or suites in ``attacks_file``.
        out: Folder for the results.
        attacks_file: Where the names are defined.
        changes: Fields of every threat model that replace the file's.
        source: ``config`` and ``checkpoint`` of the detector on which transfer
            attacks are crafted; None takes the file's.
        patch: Picture of a trained patch that patch threats show; None searches one
            for each frame.
        cfg_options: Entries of the config to replace.
        split: Name of a split file instead of the config's test frames.
        frames: Only these frame ids.
        num: Only so many frames, spread evenly.
        resume: Go on with results in ``out``.
        save_data: Also write the attacked frames in KITTI's layout.
        score_threshold: Detections below it do not count for per-frame success.
        batch_size: Frames attacked at a time.
        workers: Processes that read data.
        device: Where the detector runs.
        command: The command line, for the record.
    """

    config: str
    checkpoint: str
    threats: Sequence[str] = ()
    out: str = ""
    attacks_file: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, str] | None = None
    patch: str | None = None
    cfg_options: Mapping[str, Any] | None = None
    split: str | None = None
    frames: Sequence[str] | None = None
    num: int | None = None
    resume: bool = False
    save_data: bool = False
    score_threshold: float = 0.3
    batch_size: int = 8
    workers: int = 0
    device: str = "cpu"
    command: str = ""

    def invocation(self) -> dict[str, str]:
        """How the run was started, for its results."""
        return {
            "command": self.command,
            "checkpoint": str(self.checkpoint),
            "attacks_file": str(self.attacks_file),
        }

    def surroundings(self, wall_s: float) -> dict[str, Any]:
        """What may differ from run to run, for its results."""
        return {"batch_size": self.batch_size, "wall_s": wall_s}


@dataclass(frozen=True)
class Prepared:
    """What a run works on.

    Attributes:
        config: The detector's config.
        detector: In eval mode, on its device.
        dataset: The frames of which some are attacked.
        indices: Their numbers.
        attacks: Each attack and its description in plain values.
        scoring: How detections are judged.
    """

    config: Config
    detector: MultiModalDetector
    dataset: FrameDataset
    indices: list[int]
    attacks: list[tuple[Perturbation, dict[str, Any]]]
    scoring: Scoring


def prepare(run: AttackRun) -> Prepared:
    """Load and check everything that a run needs.

    Raises:
        DataError: If anything asked for is missing or impossible.
    """
    attack_file = AttackFile(run.attacks_file)
    wanted = attack_file.names(run.threats)
    ready = load_subject(run, attack_file.right_pictures(wanted))
    names = attack_file.names(run.threats, list(ready.detector.sensors))
    if not names:
        raise DataError(f"no attack of {', '.join(run.threats)} fits the detector")
    attacks = [fitting_attack(run, ready, attack_file, name) for name in names]
    return replace(ready, attacks=attacks)


def load_subject(run: AttackRun, right_pictures: Iterable[str] = ()) -> Prepared:
    """The detector and the frames of a run, without attacks.

    Args:
        run: The run.
        right_pictures: See :func:`attack_config`.

    Raises:
        DataError: If the config, the weights or the frames cannot be used.
    """
    config = attack_config(run, right_pictures)
    detector = load_detector(config, run.checkpoint, device=run.device)
    dataset = build_dataset(config, "test")
    return Prepared(
        config=config,
        detector=detector,
        dataset=dataset,
        indices=choose_frames(dataset, run.frames, run.num),
        attacks=[],
        scoring=scoring_of(config, run.score_threshold),
    )


def fitting_attack(
    run: AttackRun, ready: Prepared, attack_file: AttackFile, name: str
) -> tuple[Perturbation, dict[str, Any]]:
    """An attack of the file, changed as the run asks, and its description.

    Raises:
        DataError: If it does not fit the detector.
    """
    attack, description = attack_file.build(
        name, run.changes, source=run.source, patch=run.patch, device=run.device
    )
    if isinstance(attack, Corruption):
        replay: Any = ready.dataset
        attack = replace(attack, replay=replay)
    check_attack(attack, ready.detector)
    _check_units(run, ready.detector, attack_file.attacks[name].get("threat", {}))
    return attack, description


def _check_units(
    run: AttackRun, detector: MultiModalDetector, threat: Mapping[str, Any]
) -> None:
    """Raise DataError if a budget in one sensor's unit would be taken for another's."""
    sensor = run.changes.get("sensor", threat.get("sensor"))
    if sensor == threat.get("sensor") or "eps" in run.changes or "eps" not in threat:
        return
    units = {c.unit for c in detector.sensors[sensor].channels}
    known = detector.sensors.get(threat["sensor"])
    if known is None or len(units) > 1 or units != {c.unit for c in known.channels}:
        raise DataError(
            f"the file's eps is meant for {threat['sensor']!r}; to attack {sensor!r} "
            f"give --eps in its unit, {' or '.join(sorted(units))}"
        )


def attack_config(run: AttackRun, right_pictures: Iterable[str] = ()) -> Config:
    """The detector's config, its test frames being those to attack.

    Args:
        run: The run.
        right_pictures: Names under which frames shall carry the right picture of
            KITTI's layout, for attacks through the stereo matcher.
    """
    config = as_config(load_config(run.config, run.cfg_options))
    frames = config.test_dataloader.dataset.frames
    if run.split is not None:
        frames.split = run.split
    for name in right_pictures:
        known = {key: asdict(source) for key, source in KITTI_SOURCES.items()}
        sources = frames.get("sources", known)
        right = {"kind": "image", "folder": "image_3"}
        frames.sources = {**sources, name: sources.get(name, right)}
    return config


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


def scoring_of(config: Config, score_threshold: float) -> Scoring:
    """The test evaluator's overlaps and difficulties, as ``KittiMetric`` takes them.

    An evaluator without overlaps, such as COCO's, gets 0.5 for every class.

    Raises:
        DataError: If the evaluator's headline is none of its difficulties.
    """
    evaluator = first_evaluator(config)
    classes = config.test_dataloader.dataset.classes
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
    return Scoring(
        overlaps=dict(overlaps),
        difficulties=difficulties,
        headline=headline,
        score_threshold=score_threshold,
    )
