"""What ``tools/visualize.py detect`` does: detectors, frames, attacks, pictures."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from perception.attacks.base import Perturbation
from perception.core.checkpoints import local_file, sha256
from perception.core.gate_state import attributed, false_alarm_warning
from perception.core.images import read_image
from perception.core.structures import DataError
from perception.evaluation.detection.rules import Scoring
from perception.evaluation.robustness.attack_file import Named
from perception.evaluation.robustness.spec import (
    DetectRun,
)
from perception.evaluation.robustness.subject import (
    Subject,
    choose_frames,
    frame_ids_of,
    load_subject,
)
from perception.visualization.attack_figure import draw_scene
from perception.visualization.compare_figure import draw_comparison
from perception.visualization.observe import Observation, Observer
from perception.visualization.pairs import FOLDER as PAIRS_FOLDER
from perception.visualization.pairs import write_pair
from perception.visualization.rerun_log import load_rerun, write_recording
from perception.visualization.scene import Judge, Scene
from perception.visualization.sheet import MIN_WIDTH, write_picture
from perception.visualization.video import LazyPictures, write_video


def draw_detections(run: DetectRun) -> Iterator[Path]:
    """Draw everything that was asked for; yields each file when it is written.

    Raises:
        DataError: If anything asked for is impossible.
    """
    _check(run)
    subjects = [load_subject(one, run.attacks) for one in run.contestants]
    for subject in subjects:
        subject.require_boxes("pictures are")
    observers = [
        Observer(one.target, one.dataset, _detector_name(one), one.scoring)
        for one in subjects
    ]
    first, judge = subjects[0], _judge(subjects[0].scoring)
    rounds: list[list[Perturbation | None]] = [[None] * len(subjects)]
    if run.attacks is not None:
        rounds, left_out = shared_attacks([one.attacks for one in subjects])
        if left_out:
            tqdm.write(f"not for every detector, left out: {', '.join(left_out)}")
    scenes: list[Scene] = []
    accused: Counter[str | None] = Counter()
    with tqdm(
        total=len(first.indices) * len(rounds),
        desc="drawing",
        unit="sheet",
        disable=None,
    ) as bar:
        for attacks in rounds:
            attack = attacks[0]
            sheets = []
            for index in first.indices:
                seen = _observe(run, observers, index, attacks)
                scenes += [seen[0].scene] if run.rerun else []
                if attacks is rounds[0] and seen[0].scene.clean.gate is not None:
                    gate = seen[0].scene.clean.gate.tolist()
                    accused[attributed(gate, [*seen[0].scene.sensors])] += 1
                sheets.append(_write_sheet(run, [o.scene for o in seen], judge))
                yield sheets[-1]
                if attack is not None and run.video and run.video_of == "steps":
                    yield _write_steps(run, observers[0], index, seen[0], judge)
                bar.update()
            if run.video and run.video_of == "frames":
                name = attack.name if attack else "clean"
                path = Path(run.out) / f"{name}.{run.video}"
                pictures = LazyPictures(len(sheets), lambda i: read_image(sheets[i]))  # noqa: B023
                write_video(path, pictures, fps=run.fps)
                yield path
    if warning := false_alarm_warning(accused):
        tqdm.write(warning)
    if run.rerun:
        write_recording(run.rerun, scenes, judge)
        yield Path(run.rerun)


def shared_attacks(
    contestants: Sequence[Sequence[Named]],
) -> tuple[list[list[Perturbation | None]], list[str]]:
    """Each attack that fits all detectors, as each has it; names of the others.

    Raises:
        DataError: If no attack fits all.
    """
    named = [
        {one.perturbation.name: one.perturbation for one in attacks}
        for attacks in contestants
    ]
    names = list(dict.fromkeys(name for one in named for name in one))
    shared = [name for name in names if all(name in one for one in named)]
    if not shared:
        raise DataError(f"no attack fits every detector: {', '.join(names)}")
    rounds: list[list[Perturbation | None]] = [
        [one[name] for one in named] for name in shared
    ]
    return rounds, [name for name in names if name not in shared]


def _judge(scoring: Scoring) -> Judge:
    """As the figures are made, looking for the hardest objects that count."""
    rules, hardest = scoring.rules["headline"], scoring.difficulties[-1]
    return Judge(rules, hardest, scoring.score_threshold)


def _observe(
    run: DetectRun,
    observers: Sequence[Observer],
    index: int,
    attacks: Sequence[Perturbation | None],
) -> list[Observation]:
    """One frame through all detectors, each with its own attack of the same name."""
    frame_id = frame_ids_of(observers[0].dataset)[index]
    trace = run.video is not None and run.video_of == "steps"
    seen: list[Observation] = []
    for observer, attack in zip(observers, attacks, strict=True):
        (number,) = choose_frames(observer.dataset, [frame_id], None)
        if attack is None:
            seen.append(observer.clean(number))
        elif run.transfer and seen and seen[0].attacked is not None:
            seen.append(observer.shown(number, attack, seen[0].attacked))
        else:
            seen.append(observer.attacked(number, attack, trace=trace and not seen))
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
    write_picture(path, sheet)
    if first.attacked is not None:
        write_pair(path.parent / PAIRS_FOLDER, path.stem, scenes, judge)
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


def _detector_name(subject: Subject) -> str:
    """Config, checkpoint and the beginning of the checkpoint's SHA-256."""
    spec = subject.spec
    if not spec.checkpoint:
        return subject.name
    file = local_file(spec.checkpoint)
    return f"{Path(spec.config).stem} · {file.name} · {sha256(file)[:8]}"


def _check(run: DetectRun) -> None:
    """Raise DataError if the wishes contradict each other."""
    steps = run.video is not None and run.video_of == "steps"
    for wrong, message in (
        (run.width < MIN_WIDTH, f"--width must be at least {MIN_WIDTH}"),
        (not run.fps > 0, "--fps must be positive"),
        (run.attacks is None and steps, "--video-of steps needs --threat"),
        (len(run.contestants) < 2 and run.transfer, "--transfer needs --compare"),
        (run.attacks is None and run.transfer, "--transfer needs --threat"),
    ):
        if wrong:
            raise DataError(message)
    if run.rerun is not None:
        load_rerun()
