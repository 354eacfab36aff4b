"""Follow a detector through drives, frame by frame, while one sensor is attacked.

From frame --begin of each drive on one sensor is attacked in every frame, or fails and
does not recover. AP of the frames from then on, with 95 % intervals, goes to the screen
and to DIR/drives.json. For detectors with a history (config entry `history`), whose
third witness is the past: an attacker has the present frame alone, and the past is
benign; with --patient what was said of attacked frames is the past of the next. Frames
have to follow each other (timeline.csv).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from perception.cli.attacking import (
    add_attacks,
    add_detector,
    add_threat_changes,
    run_of,
)
from perception.cli.options import Parser, add_options, add_running, from_args, option
from perception.core.locks import sole_user
from perception.evaluation.robustness.spec import (
    AttacksSpec,
    DrivesRun,
    FramesSpec,
)

EXAMPLES = """\
examples:
  python tools/create_data.py synthetic --layout drives --drives 10 --seconds 4 \\
      --seed 202 --out data/drives --jobs 2
  python tools/drives.py configs/synthetic/camera_lidar_history.py \\
      data/zoo/consensus_robust.safetensors --split drive \\
      --threat camera_blackout_5 lidar_blackout_5 --cfg-options data_root=data/drives
  python tools/drives.py configs/synthetic/camera_lidar_history.py \\
      data/zoo/consensus_robust.safetensors --split drive --length 12 --patient \\
      --threat camera_interval lidar_interval --cfg-options data_root=data/drives
  python tools/drives.py CONFIG CHECKPOINT --calibrate --split drive --length 40 \\
      --cfg-options data_root=data/clean_drives
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = Parser(description=__doc__, epilog=EXAMPLES)
    add_detector(parser)
    what = "threat models or suites, one after the other (default: clean drives alone)"
    add_attacks(parser, default=None, nargs="+", help=what)
    add_options(parser, DrivesRun, "out", out={"default": "work_dirs/drives"})
    add_options(parser, DrivesRun, "begin", "length", "drives", "patient")
    what = "print the gate's mean and deviation on clean drives, for the config"
    option(parser, "--calibrate", what, False)
    add_options(parser, FramesSpec, "split")
    add_threat_changes(parser)
    add_running(parser)
    args = parser.parse_args(argv)
    if args.calibrate and args.threats:
        parser.error("--calibrate takes no --threat")
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    from perception.evaluation.drives import gate_numbers, in_markdown, run_drives

    frames = FramesSpec(split=args.split)
    attacks = from_args(AttacksSpec, args) if args.threats else None
    run = run_of(DrivesRun, args, "drives.py", argv, frames=frames, attacks=attacks)
    if args.calibrate:
        return print(gate_numbers(run))
    with sole_user(args.out, "drives"):
        print(in_markdown(run_drives(run)))
    print(f"{args.out}/drives.json")
