"""The whole main job on synthetic data: make it, train, evaluate, attack, report."""

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
# Trained on frames of seed 0: plain fusion, and the two robust ones of data/zoo.
SHIPPED = {
    "concat": "concat",
    "median_strict": "median",
    "consensus_robust": "consensus_robust",
}


@dataclass(frozen=True)
class Step:
    """One command of the demo; those that take long go on where they stopped.

    Attributes:
        title: What it does, for people.
        command: Arguments of the interpreter.
        result: The file or folder that it leaves.
        done: A file that exists once the step need not be done again, or None.
    """

    title: str
    command: list[str]
    result: Path
    done: Path | None = None


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = Parser(description=__doc__)
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
    out, data = Path(args.out), Path(args.data)
    # The last checkpoint: the best one was chosen on the frames that are reported.
    model, last = out / "train", out / "train" / f"epoch_{args.epochs}.pth"
    jobs = str(os.cpu_count() or 1)
    options = ["--cfg-options", f"data_root={data}"]
    return [
        Step(
            f"make {args.frames} + {args.val_frames} synthetic frames",
            ["tools/create_data.py", "synthetic", "--out", str(data)]
            + ["--frames", str(args.frames), "--val-frames", str(args.val_frames)]
            + ["--seed", str(args.seed), "--size", "640x192", "--jobs", jobs],
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
            "attack one sensor at a time on 24 frames",
            ["tools/attack.py", args.config, str(last), "--threat", "quick"]
            + ["--num", "24", "--resume", "--out", str(out / "attack"), *options],
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
            "attack the shipped detectors, plain and robust, on 8 frames",
            ["tools/robustness.py", *shipped(), "--suite", "quiet", "--num", "8"]
            + ["--resume", "--jobs", jobs, "--out", str(out / "robustness"), *options],
            out / "robustness" / "robustness.json",
        ),
        Step(
            "make a report of it",
            ["tools/report.py", str(out / "robustness" / "robustness.json")]
            + [str(out / "attack" / "results.json")]
            + ["--gallery", str(out / "attacked"), "--out", str(out / "report.html")]
            + ["--title", f"{Path(args.config).stem} under attack"],
            out / "report.html",
        ),
    ]


def shipped() -> list[str]:
    """Configs and weights of the shipped detectors, in turn."""
    pairs = [
        (f"configs/synthetic/{config}.py", f"data/zoo/{weights}.safetensors")
        for config, weights in SHIPPED.items()
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
    return time.monotonic() - started


def main(argv: Sequence[str] | None = None) -> None:
    """Run all steps, then say what took how long and where everything is."""
    args = parse_args(argv)
    os.chdir(REPO)
    settings = {name: value for name, value in vars(args).items() if name != "out"}
    todo = steps(args)
    with sole_user(args.out, "the demo"):
        claim(Path(args.out) / "demo.json", settings, taken="train")
        took = [run(step) for step in todo]
    print("\nDone. Where everything is, and how long it took:")
    for step, seconds in zip(todo, took, strict=True):
        print(f"  {seconds:6.0f} s  {step.title}: {step.result}")
    print(f"  {sum(took):6.0f} s  in all")
