"""What to run: a value per tool, of which detector, which frames, which attacks, how.

Nothing slow is imported here: a command line can ask for these values at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from perception.core.shards import Shard


@dataclass(frozen=True, kw_only=True)
class DetectorSpec:
    """Which detector.

    Attributes:
        config: Config file of the detector and its data.
        checkpoint: Its weights, a ``.pth`` or ``.safetensors`` file; empty for a system
            of one's own, which the config's ``target`` or the next field makes.
        target: ``module:function`` that makes the system; then of the config only the
            data are used.
        cfg_options: Entries of the config to replace.
    """

    config: str
    checkpoint: str
    target: str | None = None
    cfg_options: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class FramesSpec:
    """Which of the config's test frames; all unless told otherwise.

    Attributes:
        split: Name of a split file instead of the config's.
        frames: Only these frame ids.
        num: Only so many, spread evenly.
    """

    split: str | None = None
    frames: Sequence[str] | None = None
    num: int | None = None


@dataclass(frozen=True, kw_only=True)
class AttacksSpec:
    """Which attacks.

    Attributes:
        threats: Names of attacks or suites in ``attacks_file``.
        attacks_file: Where the names are defined.
        source: Config and checkpoint of the detector on which transfer attacks are
            crafted; None takes the file's.
        changes: Fields of every threat model that replace the file's.
        patch: Picture of a trained patch that patch threats show; None searches one
            for each frame.
        smaller: Factors of the budget to search first, each search from the worst of
            the one before.
    """

    threats: Sequence[str]
    attacks_file: str
    source: tuple[str, str] | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    patch: str | None = None
    smaller: Sequence[float] = ()


@dataclass(frozen=True, kw_only=True)
class Running:
    """How to run.

    Attributes:
        batch_size: Frames at a time.
        workers: Processes that read data.
        device: Where the detector runs.
        command: The command line, for the record.
        shard: Only this share of the work, for others to do the rest; no figures.
        merge: Folders of other machines' shards, to be brought together with the
            run's own; what is missing is done here. None: no shards are expected.
    """

    batch_size: int = 8
    workers: int = 0
    device: str = "cpu"
    command: str = ""
    shard: Shard | None = None
    merge: Sequence[str] | None = None


@dataclass(frozen=True, kw_only=True)
class DetectorRun:
    """What every run of one detector says.

    Attributes:
        detector: Which.
        frames: Which of its test frames.
        running: How.
        score_threshold: Detections below it do not count for per-frame success.
    """

    detector: DetectorSpec
    frames: FramesSpec = FramesSpec()
    running: Running = Running()
    score_threshold: float = 0.3


@dataclass(frozen=True, kw_only=True)
class AttackRun(DetectorRun):
    """Attacks on one detector: ``tools/attack.py``.

    Attributes:
        attacks: Which.
        out: Folder for the results.
        resume: Go on with results in ``out``.
        save_data: Also write the attacked frames in KITTI's layout.
        score_threshold: Detections below it do not count for per-frame success.
    """

    attacks: AttacksSpec
    out: str
    resume: bool = False
    save_data: bool = False
    score_threshold: float = 0.3


@dataclass(frozen=True, kw_only=True)
class AuditRun(DetectorRun):
    """The audit of a detector, and of our attacks on it: ``tools/attack.py --audit``.

    Attributes:
        attacks: Of one type, on sensors' maps.
        out: Folder for ``audit.json``.
        frames: Which; eight are a start.
    """

    attacks: AttacksSpec
    out: str


@dataclass(frozen=True, kw_only=True)
class RobustnessRun:
    """Detectors x attacks: ``tools/robustness.py``.

    Attributes:
        detectors: Which.
        attacks: Which.
        out: Folder for the results.
        frames: Which.
        running: How.
        names: Names of the detectors; () takes them from the configs.
        baseline: Name of the detector that others are compared with; None: the first.
        curve: Factors of the budget of each of ``probe`` to try as well, a larger one
            from the worst that smaller ones found.
        probe: Attacks or suites that ``curve`` and ``audit`` work with.
        audit: Audit each detector as well.
        audit_dir: Folder with ``audit.json`` files of earlier audits.
        audit_num: Frames of an audit.
        processes: How many attacks are done at a time.
        resume: Go on with results in ``out``.
    """

    detectors: Sequence[DetectorSpec]
    attacks: AttacksSpec
    out: str
    frames: FramesSpec = FramesSpec()
    running: Running = Running()
    names: Sequence[str] = ()
    baseline: str | None = None
    curve: Sequence[float] = ()
    probe: Sequence[str] = ("quick",)
    audit: bool = False
    audit_dir: str | None = None
    audit_num: int = 8
    processes: int = 1
    resume: bool = True


@dataclass(frozen=True, kw_only=True)
class PatchRun(DetectorRun):
    """The training of one patch over many frames: ``tools/train_patch.py``.

    Attributes:
        attacks: A single patch threat.
        out: The .png to write; a .json beside it tells what it was made for and how,
            and while the training lasts a .pth holds what it has come to.
        frames: Those to train on.
        epochs: Passes over the frames.
        step_levels: First step in grey levels.
        smoothness: Weight of the total variation; smooth patches survive printing.
        resume: Go on with an unfinished training.
    """

    attacks: AttacksSpec
    out: str
    frames: FramesSpec = FramesSpec(split="train")
    epochs: int = 10
    step_levels: float = 12.0
    smoothness: float = 0.0
    resume: bool = False


@dataclass(frozen=True, kw_only=True)
class CleanFrames:
    """What a monitor is calibrated on, and how.

    Attributes:
        root: Folder of clean frames, in the layout that the config reads.
        split: Their split; None takes that of the config's test frames.
        num: Only the first so many.
        false_alarm_rate: Share of clean frames that may raise an alarm.
        smoothing: Weight of the past, 0 to below 1; 0.8 remembers about five frames.
    """

    root: str
    split: str | None = None
    num: int | None = None
    false_alarm_rate: float = 0.01
    smoothing: float = 0.8


@dataclass(frozen=True, kw_only=True)
class MonitorRun:
    """A recording that a monitor follows: ``tools/monitor.py``.

    Attributes:
        detector: One with a gate.
        monitor: File of a calibrated monitor, or what to calibrate one on.
        out: Folder for the results.
        attack: One attack, shown in the second half of the frames; None attacks none.
        split: Name of a split file instead of the config's.
        num: Only the first so many frames, so that a sequence has no gaps.
        running: How.
        in_time: Instead let every sensor fail in every way in time, in the second half
            of each drive, and say how well the monitor finds it.
        diagnostics: A ROS bag to write with the alarms as DiagnosticArray: a folder of
            ROS 2, or a .bag of ROS 1.
    """

    detector: DetectorSpec
    monitor: str | CleanFrames
    out: str
    attack: AttacksSpec | None = None
    in_time: bool = False
    diagnostics: str | None = None
    split: str | None = None
    num: int | None = None
    running: Running = Running()


@dataclass(frozen=True, kw_only=True)
class DrivesRun(DetectorRun):
    """Drives frame by frame, of one detector: ``tools/drives.py``.

    Attributes:
        out: Folder for ``drives.json``.
        attacks: Attacks and failures; None: clean drives alone.
        begin: Number of each drive's frame from which they last.
        length: Frames of each drive; shorter drives are left out.
        drives: Only the first so many drives.
        patient: What was said of attacked frames is the past of the next one.
    """

    out: str
    attacks: AttacksSpec | None = None
    begin: int = 1
    length: int = 20
    drives: int | None = None
    patient: bool = False


@dataclass(frozen=True, kw_only=True)
class CertifyRun(DetectorRun):
    """Objects that no attack on one sensor can hide: ``tools/certify.py``.

    Attributes:
        score_threshold: The score that a detection must exceed.
        check_steps: Attack every object by itself through every sensor, with so many
            steps, and try to make one up; count certified objects that were lost: there
            must be none. 0 does not attack.
        check_share: How much of each channel's range these attackers may change.
        out: Folder for a record of every frame, with which a run goes on where it was.
    """

    score_threshold: float = 0.3
    check_steps: int = 0
    check_share: float = 1.0
    out: str | None = None


@dataclass(frozen=True, kw_only=True)
class CalibrateRun(DetectorRun):
    """A gate calibrated anew on clean frames: ``tools/calibrate.py``.

    Attributes:
        out: The ``.safetensors`` file to write.
    """

    out: str


@dataclass(frozen=True, kw_only=True)
class DetectRun:
    """What to draw: ``tools/visualize.py detect``.

    Attributes:
        contestants: Detectors with their frames; sheets compare several.
        out: Folder of the pictures.
        attacks: Attacks to draw; None draws the clean input only.
        transfer: Attack the first detector only and show that to all; otherwise each
            one is attacked by itself (white-box).
        video: Also write a video.
        video_of: Of the sheets, or of an attack's steps on each frame.
        fps: Sheets per second of a video.
        rerun: Also write a recording for the Rerun viewer (pip install -e '.[viewer]').
        width: Width of a sheet in pixels.
    """

    contestants: Sequence[DetectorRun]
    out: str
    attacks: AttacksSpec | None = None
    transfer: bool = False
    video: Literal["mp4", "gif"] | None = None
    video_of: Literal["frames", "steps"] = "frames"
    fps: float = 2.0
    rerun: str | None = None
    width: int = 1600


@dataclass(frozen=True, kw_only=True)
class ExportRun:
    """What to export.

    Attributes:
        detector: Which detector.
        out: The ``.onnx`` file to write.
        size: Height and width of the input in pixels; default: that of the config's
            frames.
        boxes: What the graph gives: the head's ``raw`` outputs, ``decoded`` boxes and
            scores, or ``nms``, which also says which of them are left after
            non-maximum suppression.
        points: Draw points in the graph: point sensors go in as points, with their
            projections, instead of maps.
        precision: Of the weights; ``int8`` is calibrated on training frames, and
            neither it nor ``float16`` has to be within the tolerance.
        check: So many of the config's test frames are compared with PyTorch; 0: none.
    """

    detector: DetectorSpec
    out: str
    size: tuple[int, int] | None = None
    boxes: Literal["raw", "decoded", "nms"] = "decoded"
    points: bool = False
    precision: Literal["float32", "float16", "int8"] = "float32"
    check: int = 8
