"""The command line of ``tools/visualize.py detect``.

Imports nothing heavy, so that ``--help`` and other commands are quick.
"""

from __future__ import annotations

import argparse
from typing import Any

from tqdm import tqdm

from perception.cli.attack_options import add_attacks_file, budget
from perception.cli.options import (
    HelpFormatter,
    add_config_options,
    add_device,
    add_score_threshold,
    pick_device,
    positive,
)

DETECT_DESCRIPTION = """\
One sheet for each frame: what a detector finds, judged against the labels as correct,
false and missed. With --threat the sheet shows an attack: each sensor clean, attacked
and their difference, the detections before and after, the scene from above with points
that moved, came or went, and the gate's alarm and which sensor it is attributed to.

With --compare the same frame goes through several detectors, side by side. Each one is
attacked by itself (white-box), as every threat model means it; --transfer crafts the
attack on the first detector alone and shows the same inputs to all.
"""

DETECT_EXAMPLES = """\
examples (CONFIG is a config file, BEST its checkpoint):
  python tools/visualize.py detect CONFIG BEST --num 4
  python tools/visualize.py detect CONFIG BEST --threat camera_pgd --frames 001200
  python tools/visualize.py detect CONFIG BEST --threat lidar_pgd --steps 40 \\
      --eps depth_m=1 reflectance=0.1
  python tools/visualize.py detect CONFIG BEST --threat camera_pgd --num 2 \\
      --compare CONFIG2 BEST2 --compare CONFIG3 BEST3
  python tools/visualize.py detect CONFIG BEST --threat camera_pgd --num 1 \\
      --video gif --video-of steps --width 960
  python tools/visualize.py detect CONFIG BEST --num 20 --rerun work_dirs/val.rrd
"""


def add_detect_command(commands: argparse._SubParsersAction) -> None:
    """``detect``: what detectors make of frames, clean and attacked."""
    parser = commands.add_parser(
        "detect",
        help="detections, and what attacks do to them",
        description=DETECT_DESCRIPTION,
        epilog=DETECT_EXAMPLES,
        formatter_class=HelpFormatter,
    )
    parser.add_argument("config", help="config file of the detector")
    parser.add_argument("checkpoint", help=".pth or .safetensors file")
    _add_choice(parser)
    attack = parser.add_argument_group("attack")
    attack.add_argument("--threat", nargs="+", metavar="NAME", help="threat models")
    add_attacks_file(attack)
    attack.add_argument(
        "--eps",
        nargs="+",
        metavar="EPS",
        help="budget: a number in the sensor's unit, or CHANNEL=NUMBER ...",
    )
    attack.add_argument("--steps", type=positive, help="steps per restart")
    more = parser.add_argument_group("several detectors")
    more.add_argument(
        "--compare",
        nargs=2,
        action="append",
        default=[],
        metavar=("CONFIG", "CHECKPOINT"),
        help="another detector beside the first; repeat for more",
    )
    more.add_argument(
        "--transfer", action="store_true", help="attack the first detector only"
    )
    _add_output(parser)
    running = parser.add_argument_group("running")
    add_device(running)
    add_config_options(running, "every config, e.g. data_root=data/kitti")
    parser.set_defaults(run=draw_detect)


def _add_choice(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("frames")
    which = group.add_mutually_exclusive_group()
    which.add_argument("--frames", nargs="+", metavar="ID", help="names of the frames")
    which.add_argument(
        "--num", type=positive, default=8, help="so many, spread evenly over the split"
    )
    group.add_argument(
        "--split",
        help="name of a file in ImageSets, or a .txt file, instead of the config's "
        "test frames",
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument(
        "--out",
        default="work_dirs/detections",
        metavar="DIR",
        help="folder to write to",
    )
    group.add_argument(
        "--width", type=positive, default=1600, help="width of a sheet in pixels"
    )
    add_score_threshold(group, "detections below it are not drawn")
    group.add_argument("--video", choices=("mp4", "gif"), help="also write a video")
    group.add_argument(
        "--video-of",
        choices=("frames", "steps"),
        default="frames",
        help="of the sheets, or of an attack's steps on each frame",
    )
    group.add_argument("--fps", type=float, default=2.0, help="sheets per second")
    group.add_argument(
        "--rerun",
        metavar="FILE.rrd",
        help="also write a recording for the Rerun viewer (pip install -e '.[viewer]')",
    )


def draw_detect(args: argparse.Namespace) -> None:
    """Draw what was asked for and print where it is."""
    from perception.visualization.detect_run import DetectRun, draw_detections

    changes: dict[str, Any] = {"eps": budget(args.eps), "steps": args.steps}
    run = DetectRun(
        detectors=[(args.config, args.checkpoint), *map(tuple, args.compare)],
        out=args.out,
        threats=args.threat or (),
        attacks_file=args.attacks,
        changes={name: value for name, value in changes.items() if value is not None},
        transfer=args.transfer,
        frames=args.frames,
        num=args.num,
        split=args.split,
        video=args.video,
        video_of=args.video_of,
        fps=args.fps,
        rerun=args.rerun,
        width=args.width,
        score_threshold=args.score_threshold,
        cfg_options=args.cfg_options,
        device=pick_device(args.device),
    )
    for path in draw_detections(run):
        tqdm.write(str(path))
