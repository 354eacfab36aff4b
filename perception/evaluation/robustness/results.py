"""THE schema of results: what ``results.json`` and ``robustness.json`` hold.

``tools/attack.py`` writes one detector with its frames, ``tools/robustness.py`` several
without. Tables, report page, cards and pictures read these values and no other. Apart
from environments, seconds and dates they are the same at every run.

AP is in percent, KITTI's protocol; None where there was nothing to find.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, JsonValue

from perception.core.files import read_json
from perception.core.provenance import Environment
from perception.core.schema import Number, adapter, checked
from perception.core.structures import DataError, SensorSpec
from perception.evaluation.detection.rules import Scoring

FORMAT = "perception robustness results"
FORMAT_VERSION = 2
_MAKERS = {
    FORMAT: "tools/robustness.py",
    "perception attack results": "tools/attack.py",
}

Figure = Number | None
Plain = Mapping[str, JsonValue]
"""A description in plain values."""

DEFINITIONS = {
    "ap": "average precision of image boxes in percent, KITTI's protocol; headline: at "
    "this task's overlaps; kitti: at KITTI's own; null: nothing to find; oracle: on "
    "the attacked inputs, the fusion being told which sensor is compromised",
    "success": "at the score threshold and the last difficulty, an object found on "
    "the clean inputs is not found on the attacked ones, or a class has more false "
    "detections than on the clean ones",
    "detection_loss": "the head's training loss on the ground truth, of the whole "
    "target",
    "gate": "probability that each sensor is compromised, or none; attributed: the "
    "likeliest; alarm: frames of 'none' in which some sensor is compromised, but it "
    "is not known which",
    "change": "largest absolute change of each channel of the model input",
    "worst": "lowest mean AP of all attacks on exactly that sensor, corruptions left "
    "out",
    "difference": "mean AP minus the baseline's, in points",
    "oracle": "mean AP under the sensor's worst attack, the fusion being told which "
    "sensor is compromised; gap: what the detector lacks of it",
    "gate_confusion": "frames by attacked sensor and by whom the gate's alarm is "
    "attributed to most, over all single-sensor attacks but corruptions; clean frames "
    "once",
    "mce": "mean corruption error in percent (Hendrycks and Dietterich 2019): for each "
    "kind of corruption the sum over severities of 100 - AP, relative to the "
    "baseline's",
    "mrr": "mean resilience rate in percent: mean AP under corruption over clean mean "
    "AP, over severities and kinds",
    "spread": "sample standard deviation over the checkpoints of one config",
    "auroc": "probability that an attacked frame looks more suspicious to the gate "
    "than a clean one, by its highest log(p_sensor / p_none)",
    "delay": "frames until a SensorMonitor names an attacked sensor, 1 is at once; "
    "the attack beginning at each held-out frame in turn; mean where it does within "
    "the horizon; detected: how often it does",
    "space": "mean AP of boxes in metres; centers: by centre distance on the ground, "
    "KITTI's protocol",
    "displacement": "metres by which the nearest object found is moved on the ground; "
    "lost: it is not found any more",
    "interval": "95 % bootstrap interval over frames: how far a mean AP may be off "
    "because these frames were taken and not others",
    "ineffective": "raises the loss that it climbs by less than 5 %: against this gate "
    "it is no attack but noise of its budget",
}


@dataclass(frozen=True)
class ClassAP:
    """AP of one class at one difficulty, at 40 and 11 recalls; objects to find."""

    r40: Figure
    r11: Figure
    objects: int


@dataclass(frozen=True)
class MeanAP:
    """AP at certain overlaps (a detection must exceed its class's).

    Attributes:
        mean: Mean over the classes at the headline difficulty (R40).
        overlaps: {class: overlap}.
        classes: {class: {difficulty: AP}}.
        interval: Of the mean, see ``DEFINITIONS``; None where it was not computed.
    """

    mean: Figure
    overlaps: Mapping[str, Number]
    classes: Mapping[str, Mapping[str, ClassAP]]
    interval: tuple[Number, Number] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class SpaceAP:
    """Mean AP of boxes in metres at the headline's overlaps and difficulty (R40).

    Attributes:
        bev: Of rectangles on the ground.
        volume: Of boxes in space.
        centers: {limit: by the distance of the centres on the ground}.
        translation_m: Mean error of true positives within 2 m, see ``CenterAP``.
        scale: Likewise.
        orientation_rad: Likewise.
        interval: 95 % interval of AP within 2 m over frames like these; None if
            unknown.
    """

    bev: Figure
    volume: Figure
    centers: Mapping[str, Figure]
    translation_m: Figure
    scale: Figure
    orientation_rad: Figure
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Displacement:
    """How far an attack moves each frame's nearest object on the ground.

    Of the objects found on the clean inputs, by their image boxes; from where it was
    said to be then.

    Attributes:
        mean_m: Mean over the frames.
        most_m: The farthest.
        frames: In which it is found under attack too.
        lost: In which it is not.
    """

    mean_m: Figure
    most_m: Figure
    frames: int
    lost: int


@dataclass(frozen=True)
class Accuracy:
    """How well detections match labels, at this task's overlaps and at KITTI's.

    ``space``: of boxes in metres; None for targets without any.
    """

    headline: MeanAP
    kitti: MeanAP
    space: SpaceAP | None = None


@dataclass(frozen=True)
class Stages:
    """Accuracy before and under an attack.

    ``oracle``: under it, the fusion being told which sensor is compromised; None where
    it cannot be told, or several sensors are attacked.
    """

    clean: Accuracy
    attacked: Accuracy
    oracle: Accuracy | None = None


@dataclass(frozen=True)
class Success:
    """What an attack changed; see ``DEFINITIONS``.

    Attributes:
        rate: Share of frames in which it succeeded, 0 … 1.
        found_clean: Objects found on the clean inputs.
        lost: Those of them that are not found under attack.
        false_clean: False detections on the clean inputs.
        false_new: False detections beyond those, under attack.
    """

    rate: Number
    found_clean: int
    lost: int
    false_clean: int
    false_new: int


@dataclass(frozen=True)
class Loss:
    """Mean detection loss; None where it is not finite."""

    clean: Figure
    attacked: Figure


@dataclass(frozen=True)
class GateCounts:
    """What a gate makes of a set of frames, by sensor or ``"none"``.

    Attributes:
        attributed: Frames in which that is the likeliest.
        alarm: Frames of ``none`` in which some sensor is compromised, but it is not
            known which; None for gates that cannot tell.
        mean: Mean probability.
    """

    attributed: Mapping[str, int]
    alarm: int | None
    mean: Mapping[str, Number]


@dataclass(frozen=True)
class Delay:
    """Frames until a monitor names an attacked sensor, where it does.

    ``detected``: share of the ``starts`` for which it does, 0 … 1.
    """

    mean: Figure
    detected: Number
    starts: int


@dataclass(frozen=True)
class GateResult:
    """What a gate makes of an attack.

    ``right_rate``: share of attacked frames attributed to an attacked sensor, 0 … 1.
    ``delay`` is None with fewer than two frames.
    """

    clean: GateCounts
    attacked: GateCounts
    right_rate: Number
    auroc: Figure
    delay: Delay | None


@dataclass(frozen=True)
class CorruptionKind:
    """A sensor that fails, how, and a severity of 1 to 5."""

    sensor: str
    kind: str
    severity: int


@dataclass(frozen=True)
class FrameResult:
    """One attacked frame, without its boxes; counts as in :class:`Success`.

    Attributes:
        index: Its number in the data set.
        loss_clean: Detection loss on the clean inputs.
        loss_attacked: Detection loss on the attacked inputs.
        value: The objective that the attack reached.
        change: {sensor: {channel: largest change of the model input}}.
        gate_clean: The gate's probabilities; None without a gate.
        gate_attacked: Likewise, under attack.
        state_clean: The sensor that an alarm is attributed to, ``alarm`` or ``none``.
        state_attacked: Likewise, under attack.
    """

    frame_id: str
    index: int
    success: bool
    found_clean: int
    lost: int
    false_clean: int
    false_new: int
    loss_clean: Figure
    loss_attacked: Figure
    value: Figure
    change: Mapping[str, Mapping[str, Figure]]
    gate_clean: tuple[Figure, ...] | None
    gate_attacked: tuple[Figure, ...] | None
    state_clean: str | None
    state_attacked: str | None


@dataclass(frozen=True)
class AttackResult:
    """One attack, or corruption, of one detector.

    Attributes:
        name: Its name.
        attacked_sensors: The sensors whose inputs it may change.
        description: It in full, an attack with its ``threat``.
        corruption: Which, if it is one; None for attacks.
        ap: Accuracy before and under it.
        success: What it changed.
        detection_loss: Before and under it; None for targets without losses.
        gate: What the gate makes of it; None without a gate.
        ineffective: Whether it is no measure of robustness, see ``DEFINITIONS``.
        changed: Whether it changed any value of any frame.
        seconds: Wall time of all frames.
        seconds_per_frame: Of one.
        environments: All that attacked the frames.
        displacement: Metres moved; None for targets that say nothing in metres.
        frames: Frame by frame; only in files of ``tools/attack.py`` and in a detector's
            own ``results.json``.
    """

    name: str
    attacked_sensors: tuple[str, ...]
    description: Plain
    corruption: CorruptionKind | None
    ap: Stages
    success: Success
    detection_loss: Loss | None
    gate: GateResult | None
    ineffective: bool
    changed: bool
    seconds: Number
    seconds_per_frame: Number
    environments: tuple[Environment, ...]
    frames: tuple[FrameResult, ...] = ()
    displacement: Displacement | None = None

    @property
    def mean(self) -> Figure:
        """Mean AP under it, at the headline's overlaps."""
        return self.ap.attacked.headline.mean

    @property
    def threat(self) -> Plain:
        """The threat model in plain values; of a corruption, what describes it."""
        threat = self.description.get("threat")
        return threat if isinstance(threat, dict) else self.description


def single_sensor(attacks: Mapping[str, AttackResult]) -> dict[str, str]:
    """{attack: its sensor} of all attacks on exactly one, corruptions left out."""
    return {
        name: one.attacked_sensors[0]
        for name, one in attacks.items()
        if len(one.attacked_sensors) == 1 and one.corruption is None
    }


@dataclass(frozen=True)
class Worst:
    """The attack that leaves the least, and the mean AP under it."""

    attack: str
    mean: Number
    ineffective: bool


@dataclass(frozen=True)
class Oracle:
    """A sensor's worst attack, the fusion being told which sensor is compromised.

    ``gap``: points of mean AP that the detector lacks of it.
    """

    attack: str
    mean: Number
    gap: Number


@dataclass(frozen=True)
class ConfusionRow:
    """Frames with one truly compromised ``sensor``, or with none (None).

    Counts as in :class:`GateCounts`; ``alarm`` is None if any gate cannot tell.
    """

    sensor: str | None
    attributed: Mapping[str, int]
    alarm: int | None


@dataclass(frozen=True)
class GateSummary:
    """What a gate makes of all attacks on one sensor; corruptions are left out.

    Attributes:
        confusion: Clean frames, then one row for each attacked sensor.
        right_rate: Share of attacked frames attributed rightly, 0 … 1.
        false_alarms: Share of clean frames with an attributed alarm, 0 … 1.
    """

    confusion: tuple[ConfusionRow, ...]
    right_rate: Figure
    false_alarms: Number


@dataclass(frozen=True)
class Monitor:
    """The monitor whose delay was measured.

    Attributes:
        calibration: What ``SensorMonitor.to_json`` says, with ``smoothing``.
        frames: Clean frames that it was calibrated on.
        false_alarm_rate: For which it was, 0 … 1.
        smoothing: Of the evidence over time.
        horizon: Frames within which the alarm must come.
        held_out_frames: Clean frames that its false alarms were counted on.
        held_out_rate: How many of them raised one, 0 … 1.
    """

    calibration: Plain
    frames: int
    false_alarm_rate: Number
    smoothing: Number
    horizon: int
    held_out_frames: int
    held_out_rate: Number


@dataclass(frozen=True)
class CurvePoint:
    """Mean AP at a multiple of an attack's budget, with its interval if known."""

    scale: Number
    mean: Figure
    interval: tuple[Number, Number] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class AuditResult:
    """What all audits of a detector found; ``failed`` names checks."""

    passed: bool
    failed: tuple[str, ...]


@dataclass(frozen=True)
class DetectorResult:
    """Everything that was measured on one detector.

    Attributes:
        name: Its name in the file.
        config: Its config file.
        config_sha256: Of the model and the data in it.
        checkpoint: Its weights.
        checkpoint_sha256: Of that file.
        sensors: Its sensors, in the order of its gate.
        clean: Accuracy without any attack; None if every attack failed.
        attacks: By name, corruptions included.
        not_applicable: {attack: why it does not apply}.
        failed: {attack: why it failed}.
        worst: {sensor: the worst attack on it alone}.
        oracle: {sensor: the same, the fusion being told}.
        gate: What the gate makes of the attacks; None without a gate.
        monitor: None without a gate or with fewer than two frames.
        corruptions: {sensor: {kind: {severity: mean AP}}}.
        mce: Mean corruption error per sensor, and as ``mean``, in percent.
        mrr: Mean resilience rate, likewise.
        curves: {attack: mean AP by ascending multiples of its budget}.
        audit: None without one.
        difference: {"clean" or attack: points above the baseline}; empty for it.
        seconds: Wall time of all attacks.
        frames_file: Where the frames are, if not here.
    """

    name: str
    config: str
    config_sha256: str
    checkpoint: str
    checkpoint_sha256: str
    sensors: tuple[str, ...]
    clean: Accuracy | None
    attacks: Mapping[str, AttackResult]
    not_applicable: Mapping[str, str] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    worst: Mapping[str, Worst] = field(default_factory=dict)
    oracle: Mapping[str, Oracle] = field(default_factory=dict)
    gate: GateSummary | None = None
    monitor: Monitor | None = None
    corruptions: Mapping[str, Mapping[str, Mapping[str, Figure]]] = field(
        default_factory=dict
    )
    mce: Mapping[str, Number] = field(default_factory=dict)
    mrr: Mapping[str, Number] = field(default_factory=dict)
    curves: Mapping[str, tuple[CurvePoint, ...]] = field(default_factory=dict)
    audit: AuditResult | None = None
    difference: Mapping[str, Number] = field(default_factory=dict)
    seconds: Number = 0.0
    frames_file: str | None = None

    @property
    def clean_mean(self) -> Figure:
        """Mean AP on clean frames, at the headline's overlaps."""
        return None if self.clean is None else self.clean.headline.mean

    @property
    def worst_sensor(self) -> str | None:
        """The sensor that it hurts most to attack; None if none was attacked."""
        worst = self.worst
        return min(worst, key=lambda name: worst[name].mean) if worst else None


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation over several trainings."""

    mean: Number
    spread: Number


@dataclass(frozen=True)
class Group:
    """Detectors that are one config trained several times.

    Attributes:
        name: The config's.
        detectors: Their names.
        clean: Mean AP on clean frames; None if one has none.
        attacks: {attack: mean AP under it}, of attacks that all have.
        worst: {sensor: mean AP under the worst attack on it}, likewise.
    """

    name: str
    detectors: tuple[str, ...]
    clean: Spread | None
    attacks: Mapping[str, Spread | None]
    worst: Mapping[str, Spread | None]


@dataclass(frozen=True)
class RunInfo:
    """How a run was started, and what may differ from one to the next.

    Attributes:
        command: The command line.
        attacks_file: Where the attacks are defined.
        suite: The names of attacks and suites that were asked for.
        data_root: Folder of the data.
        split: Name of the split.
        seeds: Of the attacks.
        batch_size: Frames attacked at a time.
        processes: Attacks done at a time.
        wall_s: Seconds that the run took.
        finished: Date and time in UTC.
        versions: Of Python and packages, where the figures were collected.
    """

    command: str
    attacks_file: str
    suite: tuple[str, ...]
    data_root: str
    split: str
    seeds: tuple[int, ...]
    batch_size: int
    processes: int
    wall_s: Number
    finished: str
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Results:
    """The content of a file.

    Attributes:
        run: How it was made.
        frame_ids: The frames, in order.
        classes: Names of the classes.
        sensors: Of all detectors.
        scoring: How detections were judged.
        attacks: Names of all attacks, in the order asked for.
        baseline: Name of the detector that differences are taken to.
        detectors: At least one.
        groups: Detectors that differ by their training's seed alone.
        environments: All that attacked.
        definitions: What the figures are.
        format: Always ``FORMAT``.
        version: Always ``FORMAT_VERSION``.
    """

    run: RunInfo
    frame_ids: Annotated[tuple[str, ...], Field(min_length=1)]
    classes: tuple[str, ...]
    sensors: Mapping[str, SensorSpec]
    scoring: Scoring
    attacks: tuple[str, ...]
    baseline: str
    detectors: Annotated[tuple[DetectorResult, ...], Field(min_length=1)]
    groups: tuple[Group, ...] = ()
    environments: tuple[Environment, ...] = ()
    definitions: Mapping[str, str] = field(default_factory=lambda: DEFINITIONS)
    format: str = FORMAT
    version: int = FORMAT_VERSION

    def to_json(self) -> bytes:
        """The file's content, as :func:`read_results` takes it."""
        # At once: as Python's objects a hundred thousand frames take half a gigabyte.
        return adapter(Results).dump_json(self, indent=1) + b"\n"


def read_results(path: str | os.PathLike) -> Results:
    """Read a file, everything checked.

    Raises:
        DataError: If it is missing, no results, of another version (names the command
            that makes it again) or damaged (names the entry).
    """
    content = read_json(path, what="results")
    check_format(Path(path), content)
    results = checked(Results, content, path, what="results")
    level = results.scoring.headline
    for detector in results.detectors:
        for attack in detector.attacks.values():
            for stage in (attack.ap.clean, attack.ap.attacked, attack.ap.oracle):
                classes = stage.headline.classes if stage is not None else {}
                if lacking := [name for name in classes if level not in classes[name]]:
                    raise DataError(
                        f"{path}: damaged results: {detector.name}, {attack.name}: no "
                        f"AP of {lacking[0]} at the headline difficulty {level!r}"
                    )
    return results


def check_format(path: Path, content: Any) -> None:
    """Raise DataError unless this is the content of a file of this version."""
    kind = content.get("format") if isinstance(content, dict) else None
    if not isinstance(kind, str) or kind not in _MAKERS:
        makers = " or ".join(sorted(_MAKERS.values()))
        raise DataError(f"{path}: expected results of {makers}, got format {kind!r}")
    if content.get("version") != FORMAT_VERSION or kind != FORMAT:
        again = content.get("command") or _MAKERS[kind]
        raise DataError(
            f"{path}: expected version {FORMAT_VERSION} of {FORMAT!r}, got version "
            f"{content.get('version')!r} of {kind!r}; make it again with: {again}"
        )
