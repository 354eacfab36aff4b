"""What ``tools/visualize.py detect`` does: detectors, frames, attacks, pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import DictAction
from tqdm import tqdm

from perception.apis import as_config, build_dataset, load_detector
from perception.attacks.base import Attack
from perception.datasets.image_io import read_image, write_image
from perception.evaluation.attacked_run import choose_frames, scoring_of
from perception.evaluation.attacked_setup import AttackFile
from perception.runner import load_config
from perception.structures import DataError
from perception.visualization.attack_sheet import draw_scene
from perception.visualization.captions import detector_name
from perception.visualization.compare import draw_comparison
from perception.visualization.detections import Judge
from perception.visualization.frame import MIN_WIDTH
from perception.visualization.observe import Observation, Observer
from perception.visualization.rerun_log import load_rerun, write_recording
from perception.visualization.scene import Scene
from perception.visualization.video import LazyPictures, write_video


@dataclass(frozen=True)
class DetectRun:
    """What to draw.

    Attributes:
        detectors: (config, checkpoint) pairs; with more than one, sheets compare them.
        out: Folder of the pictures.
        threats: Names of attacks; none: the clean input only.
        attacks_file: File that defines the names.
        changes: Fields of the threat models to replace, e.g. ``eps``.
        transfer: Craft attacks on the first detector alone and show them to all;
            otherwise each detector is attacked by itself (white-box).
        frames: Names of the frames; None takes ``num`` spread evenly.
        num: How many frames.
        split: Name of a split file instead of the config's test frames.
        video: ``mp4`` or ``gif``, None for none.
        video_of: ``frames`` or ``steps`` (of each attack on each frame).
        fps: Pictures per second of a video.
        rerun: File of a Rerun recording, None for none.
        width: Width of a sheet in pixels.
        score_threshold: Detections below it are not drawn.
        cfg_options: Dotted options to set in every config.
        device: Where detectors run.
    """

    detectors: Sequence[tuple[str, str]]
    out: str
    threats: Sequence[str] = ()
    attacks_file: str = ""
    changes: Mapping[str, Any] | None = None
    transfer: bool = False
    frames: Sequence[str] | None = None
    num: int = 8
    split: str | None = None
    video: str | None = None
    video_of: str = "frames"
    fps: float = 2.0
    rerun: str | None = None
    width: int = 1600
    score_threshold: float = 0.3
    cfg_options: Mapping[str, Any] | None = None
    device: str = "cpu"

    def check(self) -> None:
        """Raise DataError if the wishes contradict each other."""
        steps = self.video is not None and self.video_of == "steps"
        for wrong, message in (
            (self.width < MIN_WIDTH, f"--width must be at least {MIN_WIDTH}"),
            (not self.fps > 0, "--fps must be positive"),
            (not self.threats and self.changes, "--eps and --steps need --threat"),
            (not self.threats and steps, "--video-of steps needs --threat"),
            (len(self.detectors) < 2 and self.transfer, "--transfer needs --compare"),
            (not self.threats and self.transfer, "--transfer needs --threat"),
        ):
            if wrong:
                raise DataError(message)
        if self.rerun is not None:
            load_rerun()


def draw_detections(run: DetectRun) -> Iterator[Path]:
    """Draw everything that was asked for; yields each file when it is written.

    Raises:
        DataError: If anything asked for is impossible.
    """
    run.check()
    attacks = _attacks(run)
    observers, judge = _observers(run)
    indices = choose_frames(observers[0].dataset, run.frames, run.num)
    scenes: list[Scene] = []
    with tqdm(
        total=len(indices) * len(attacks), desc="drawing", unit="sheet", disable=None
    ) as bar:
        for attack in attacks:
            sheets = []
            for index in indices:
                seen = _observe(run, observers, index, attack)
                scenes += [seen[0].scene] if run.rerun else []
                sheets.append(_write_sheet(run, [o.scene for o in seen], judge))
                yield sheets[-1]
                if attack is not None and run.video and run.video_of == "steps":
                    yield _write_steps(run, observers[0], index, seen[0], judge)
                bar.update()
            if run.video and run.video_of == "frames":
                name = attack.threat.name if attack else "clean"
                path = Path(run.out) / f"{name}.{run.video}"
                pictures = LazyPictures(len(sheets), lambda i: read_image(sheets[i]))  # noqa: B023
                write_video(path, pictures, fps=run.fps)
                yield path
    if run.rerun:
        write_recording(run.rerun, scenes, judge)
        yield Path(run.rerun)


def _attacks(run: DetectRun) -> list[Attack | None]:
    """The attacks that were asked for; None stands for the clean input."""
    if not run.threats:
        return [None]
    file = AttackFile(run.attacks_file)
    names = file.names(run.threats)
    return [file.build(name, run.changes)[0] for name in names]


def _observers(run: DetectRun) -> tuple[list[Observer], Judge]:
    """One observer per detector, and how to judge, by the first one's config."""
    observers = []
    judge: Judge | None = None
    for path, checkpoint in run.detectors:
        config = as_config(load_config(path, run.cfg_options))
        if run.split is not None:
            config.test_dataloader.dataset.frames.split = run.split
        detector = load_detector(config, checkpoint, device=run.device)
        if judge is None:
            scoring = scoring_of(config, run.score_threshold)
            judge = Judge(
                scoring.rules["headline"],
                scoring.difficulties[-1],
                scoring.score_threshold,
            )
        name = detector_name(path, checkpoint)
        observers.append(Observer(detector, build_dataset(config, "test"), name))
    assert judge is not None, "no detector was asked for"
    return observers, judge


def _observe(
    run: DetectRun, observers: Sequence[Observer], index: int, attack: Attack | None
) -> list[Observation]:
    """One frame through all detectors."""
    first = observers[0]
    frame_id = first.dataset.frames.frame_ids[index]
    numbers = [
        choose_frames(observer.dataset, [frame_id], None)[0] for observer in observers
    ]
    if attack is None:
        pairs = zip(observers, numbers, strict=True)
        return [observer.clean(number) for observer, number in pairs]
    trace = run.video is not None and run.video_of == "steps"
    seen = [first.attacked(index, attack, trace=trace)]
    for observer, number in zip(observers[1:], numbers[1:], strict=True):
        if run.transfer:
            assert seen[0].attacked is not None
            seen.append(observer.shown(number, attack, seen[0].attacked))
        else:
            seen.append(observer.attacked(number, attack))
    return seen


def _write_sheet(run: DetectRun, scenes: Sequence[Scene], judge: Judge) -> Path:
    first = scenes[0]
    if len(scenes) == 1:
        sheet = draw_scene(first, judge, width=run.width)
    else:
        note = "on the first detector" if run.transfer else "on each detector"
        note = note if first.attack else ""
        sheet = draw_comparison(scenes, judge, width=run.width, note=note)
    path = _path(run, first, ".png")
    write_image(path, sheet)
    return path


def _write_steps(
    run: DetectRun, observer: Observer, index: int, seen: Observation, judge: Judge
) -> Path:
    """A video of what the attack on the first detector tried."""
    scenes = observer.replay(index, seen.steps, seen.scene)
    pictures = LazyPictures(
        len(scenes), lambda i: draw_scene(scenes[i], judge, width=run.width)
    )
    path = _path(run, seen.scene, f"_steps.{run.video}")
    write_video(path, pictures, fps=run.fps)
    return path


def _path(run: DetectRun, scene: Scene, ending: str) -> Path:
    """``out/FRAME.png``, or ``out/FRAME_ATTACK.png``; names never leave the folder."""
    words = [scene.frame_id, scene.attack]
    name = "_".join(word.replace(os.sep, "-") for word in words if word)
    return Path(run.out) / f"{name}{ending}"


def pick_device(name: str) -> str:
    """``auto`` is the first CUDA device, if there is one; others must be usable."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"--device {name}: cannot be used ({reason})") from error
    return name


def budget(words: Sequence[str] | None) -> float | dict[str, float] | None:
    """``["4"]`` is 4; ``["depth_m=1", "height_m=0.1"]`` a budget per channel."""
    if words is None:
        return None
    try:
        if len(words) == 1 and "=" not in words[0]:
            return float(words[0])
        pairs = [word.split("=", 1) for word in words]
        return {channel: float(value) for channel, value in pairs}
    except ValueError as error:
        raise DataError(
            f"--eps takes one number or CHANNEL=NUMBER ..., got {' '.join(words)!r}"
        ) from error


def options(words: Sequence[str] | None) -> dict[str, Any]:
    """``KEY=VALUE`` words as a config takes them."""
    pairs = [word.partition("=") for word in words or ()]
    if wrong := [key for key, equals, _ in pairs if not equals]:
        raise DataError(f"--cfg-options takes KEY=VALUE, got {wrong[0]!r}")
    return {key: DictAction._parse_iterable(value) for key, _, value in pairs}
