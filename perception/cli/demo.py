"""See a defence hold, then do the whole main job: make data, train, attack, report.

First the shipped detectors, plain and robust, under attack on a few synthetic streets:
a picture within a minute, a report within two. Then training frames, a detector that
is trained on them, evaluated and attacked, and a report of it all.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from perception.cli.options import Parser, option
from perception.core.files import claim
from perception.core.locks import sole_user
from perception.core.parallel import end_with_parent
from perception.core.structures import DataError

REPO = Path(__file__).resolve().parents[2]
# Trained on frames of seed 0: plain fusion and the most robust one of data/zoo.
SHIPPED = ("concat", "consensus_robust")
COMPARED = 24  # frames: with fewer objects, AP stays low even for a perfect detector


@dataclass(frozen=True)
class Step:
    """One command of the demo; those that take long go on where they stopped.

    Attributes:
        title: What it does, for people.
        command: Arguments of the interpreter.
        result: The file or folder that it leaves.
        done: A file that exists once the step need not be done again, or None.
        look: Whether the result is for people's eyes at once.
    """

    title: str
    command: list[str]
    result: Path
    done: Path | None = None
    look: bool = False


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = Parser(description=__doc__)
    what = "only the first part: no training, two minutes in all"
    parser.add_argument("--quick", action="store_true", help=what)
    detector = "the detector that is trained and attacked, from configs/synthetic"
    for name, default, what in (
        ("--config", "configs/synthetic/concat.py", detector),
        ("--frames", 800, "training frames"),
        ("--val-frames", 200, "unseen frames"),
        ("--epochs", 8, "training epochs"),
        ("--data", "data/demo", "where the data goes"),
        ("--out", "work_dirs/demo", "all other results"),
        ("--seed", 1, "of the frames (0: the shipped weights')"),
    ):
        option(parser, name, what, default)
    return parser.parse_args(argv)


def steps(args: argparse.Namespace) -> list[Step]:
    """The demo's commands, which are also those of the README."""
    first = first_look(args)
    return first if args.quick else first + main_job(args)


def first_look(args: argparse.Namespace) -> list[Step]:
    """What needs no training: the shipped detectors on a few frames."""
    out, look = Path(args.out), Path(args.data) / "look"
    plain, robust = shipped()[:2], shipped()[2:]
    options = ["--cfg-options", f"data_root={look}"]
    return [
        Step(
            f"make {COMPARED} synthetic frames",
            make_frames(look, 1, COMPARED, args.seed),
            look,
        ),
        Step(
            "draw plain and robust fusion with the LiDAR attacked",
            ["tools/visualize.py", "detect", *plain, "--compare", *robust]
            + ["--threat", "lidar_pgd_quiet", "--num", "1"]
            + ["--out", str(out / "look"), *options],
            out / "look",
            look=True,
        ),
        Step(
            f"attack the LiDAR of both on {COMPARED} frames",
            robustness(args, "--threat", "lidar_pgd_quiet"),
            out / "robustness" / "robustness.json",
            done=out / "robustness" / "robustness.json",
        ),
        Step(
            "make a report of it",
            ["tools/report.py", str(out / "robustness" / "robustness.json")]
            + ["--gallery", str(out / "look"), "--out", str(out / "shipped.html")]
            + ["--title", "Plain and robust fusion under attack"],
            out / "shipped.html",
            look=True,
        ),
    ]


def main_job(args: argparse.Namespace) -> list[Step]:
    """A detector of one's own: data, training, evaluation, attacks, report."""
    out, data = Path(args.out), Path(args.data)
    # The last checkpoint: the best one was chosen on the frames that are reported.
    model, last = out / "train", out / "train" / f"epoch_{args.epochs}.pth"
    options = ["--cfg-options", f"data_root={data}"]
    return [
        Step(
            f"make {args.frames} + {args.val_frames} synthetic frames",
            make_frames(data, args.frames, args.val_frames, args.seed),
            data,
        ),
        Step(
            f"train {Path(args.config).stem} for {args.epochs} epochs",
            ["tools/train.py", args.config, "--work-dir", str(model), "--resume"]
            + ["--seed", str(args.seed), *options, f"max_epochs={args.epochs}"],
            model,
            done=last,
        ),
        Step(
            "evaluate it on the unseen frames",
            ["tools/test.py", args.config, str(last), "--work-dir", str(out / "test")]
            + ["--json", str(out / "ap.json"), "--dump-kitti", str(out / "results")]
            + options,
            out / "ap.json",
        ),
        Step(
            "draw what the sensors saw",
            ["tools/visualize.py", "data", str(data), "--split", "val", "--num", "4"]
            + ["--out", str(out / "frames")],
            out / "frames",
        ),
        Step(
            f"attack one sensor at a time on {COMPARED} frames",
            ["tools/attack.py", args.config, str(last), "--threat", "quick"]
            + ["--num", str(COMPARED), "--resume", "--out", str(out / "attack")]
            + options,
            out / "attack" / "results.json",
        ),
        Step(
            "draw what the attack did",
            ["tools/visualize.py", "detect", args.config, str(last), "--num", "4"]
            + ["--threat", "camera_pgd", "lidar_pgd", "--score-threshold", "0.2"]
            + ["--out", str(out / "attacked"), *options],
            out / "attacked",
        ),
        Step(
            f"attack every sensor of the shipped detectors on {COMPARED} frames",
            robustness(args, "--suite", "quiet"),
            out / "robustness" / "robustness.json",
        ),
        Step(
            "make a report of it all",
            ["tools/report.py", str(out / "robustness" / "robustness.json")]
            + [str(out / "attack" / "results.json"), "--gallery", str(out / "look")]
            + [str(out / "attacked"), "--out", str(out / "report.html")]
            + ["--title", f"{Path(args.config).stem} under attack"],
            out / "report.html",
            look=True,
        ),
    ]


def make_frames(folder: Path, train: int, val: int, seed: int) -> list[str]:
    """The command that makes synthetic frames."""
    return (
        ["tools/create_data.py", "synthetic", "--out", str(folder)]
        + ["--frames", str(train), "--val-frames", str(val), "--seed", str(seed)]
        + ["--size", "640x192", "--jobs", str(os.cpu_count() or 1)]
    )


def robustness(args: argparse.Namespace, *attacks: str) -> list[str]:
    """The command that compares the shipped detectors; adds to what was done before."""
    return (
        ["tools/robustness.py", *shipped(), *attacks, "--num", str(COMPARED)]
        + ["--resume", "--jobs", str(os.cpu_count() or 1)]
        + ["--out", str(Path(args.out) / "robustness")]
        + ["--cfg-options", f"data_root={Path(args.data) / 'look'}"]
    )


def shipped() -> list[str]:
    """Configs and weights of the shipped detectors, in turn."""
    pairs = [
        (f"configs/synthetic/{name}.py", f"data/zoo/{name}.safetensors")
        for name in SHIPPED
    ]
    return [word for pair in pairs for word in pair]


def run(step: Step) -> float:
    """Run one step, showing its output; returns the seconds it took."""
    started = time.monotonic()
    if step.done is not None and (REPO / step.done).exists():
        print(f"== {step.title}: done before ({step.done})", flush=True)
        return 0.0
    print(f"== {step.title}\n   python {' '.join(step.command)}", flush=True)
    status = subprocess.run(
        [sys.executable, *step.command],
        cwd=REPO,
        check=False,
        preexec_fn=partial(end_with_parent, os.getpid()),
    )
    if status.returncode:
        raise DataError(f"{step.title}: failed with status {status.returncode}")
    if step.look:
        for file in sorted(step.result.glob("*.png")) or [step.result]:
            print(f"   LOOK: {file.resolve()}", flush=True)
    return time.monotonic() - started


def main(argv: Sequence[str] | None = None) -> None:
    """Run all steps, then say what took how long and where everything is."""
    args = parse_args(argv)
    os.chdir(REPO)
    free = {"out", "quick"}  # the long demo goes on where the quick one ended
    settings = {name: value for name, value in vars(args).items() if name not in free}
    todo = steps(args)
    how_long = "2 minutes" if args.quick else "12 minutes and 1 GB with the defaults"
    print(f"{len(todo)} steps, on 2 cores about {how_long}; goes on if interrupted")
    with sole_user(args.out, "the demo"):
        claim(Path(args.out) / "demo.json", settings, taken="look")
        took = [run(step) for step in todo]
    print("\nDone. Where everything is, and how long it took:")
    for step, seconds in zip(todo, took, strict=True):
        print(f"  {seconds:6.0f} s  {step.title}: {step.result}")
    print(f"  {sum(took):6.0f} s  in all")
