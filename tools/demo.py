"""The whole main job on synthetic data: make it, train, evaluate, attack, report."""

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from perception.cli.options import HelpFormatter, run_tool
from perception.core.files import claim
from perception.core.structures import DataError

REPO = Path(__file__).resolve().parent.parent
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


def parse_args() -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument(
        "--config",
        default="configs/synthetic/concat.py",
        help="the detector that is trained and attacked, from configs/synthetic",
    )
    parser.add_argument("--frames", type=int, default=800, help="training frames")
    parser.add_argument("--val-frames", type=int, default=200, help="unseen frames")
    parser.add_argument("--epochs", type=int, default=8, help="training epochs")
    parser.add_argument("--data", default="data/demo", help="where the data goes")
    parser.add_argument("--out", default="work_dirs/demo", help="all other results")
    parser.add_argument(
        "--seed", type=int, default=1, help="of the frames (0: the shipped weights')"
    )
    return parser.parse_args()


def steps(args: argparse.Namespace) -> list[Step]:
    """The demo's commands, which are also those of the README."""
    out, data = Path(args.out), Path(args.data)
    # The last checkpoint: the best one was chosen on the frames that are reported.
    model, last = out / "train", out / "train" / f"epoch_{args.epochs}.pth"
    jobs = str(os.cpu_count() or 1)
    options = ["--cfg-options", f"data_root={data}"]
    epochs = [f"train_cfg.max_epochs={args.epochs}"]
    epochs += [f"param_scheduler.1.{key}={args.epochs}" for key in ("T_max", "end")]
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
            + ["--seed", str(args.seed), *options, *epochs],
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
    status = subprocess.run([sys.executable, *step.command], cwd=REPO, check=False)
    if status.returncode:
        raise DataError(f"{step.title}: failed with status {status.returncode}")
    return time.monotonic() - started


def main() -> None:
    """Run all steps, then say what took how long and where everything is."""
    args = parse_args()
    os.chdir(REPO)
    settings = {name: value for name, value in vars(args).items() if name != "out"}
    claim(Path(args.out) / "demo.json", settings, taken="train")
    todo = steps(args)
    took = [run(step) for step in todo]
    print("\nDone. Where everything is, and how long it took:")
    for step, seconds in zip(todo, took, strict=True):
        print(f"  {seconds:6.0f} s  {step.title}: {step.result}")
    print(f"  {sum(took):6.0f} s  in all")


if __name__ == "__main__":
    run_tool(main)
