"""Draw what the sensors saw, what a detector believed, and what attacks did to both.

Every picture is a PNG; no display is needed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from perception.cli.attacking import (
    CHANGES,
    add_detector,
    one_detector,
    threat_changes,
)
from perception.cli.options import (
    Parser,
    add_options,
    from_args,
    pick_device,
)
from perception.core.structures import DataError
from perception.evaluation.robustness.spec import (
    AttacksSpec,
    DetectorRun,
    DetectorSpec,
    DetectRun,
    FramesSpec,
    Running,
)

DATA = """\
One sheet for each frame of a data set: the image with its labelled 2D boxes, LiDAR,
depth or radar as coloured images (near is bright), and the scene from above with 3D
boxes. A sensor that a frame lacks is shown as missing.

DATA is a folder in KITTI's layout (real or synthetic; depth comes from depth_2/ or,
without it, from the stereo pair), or a config: then frames come from its reader,
whatever that reads (nuScenes, your own recordings).
"""
DATA_EXAMPLES = """\
examples:
  python tools/visualize.py data data/synthetic --num 4
  python tools/visualize.py data data/kitti --split val --num 20 --out work_dirs/val
  python tools/visualize.py data data/kitti --frames 000001 000007
  python tools/visualize.py data configs/nuscenes/concat_mini.py --split val --num 6
"""
DETECT = """\
One sheet for each frame: what a detector finds, judged against the labels as correct,
false and missed. With --threat the sheet shows an attack: each sensor clean, attacked
and their difference, the detections before and after, the scene from above with points
that moved, came or went, and whether the gate raises an alarm and about which sensor.

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
# What is said otherwise of fields of a run.
OPTIONS: dict[str, Any] = {
    "frames": "names of the frames, instead of --num",
    "num": {"default": 8},
    "threats": {
        "default": (),
        "help": "names of attacks or suites; none draws the clean input only",
    },
    "score_threshold": "detections below it are not drawn",
    "out": {"default": "work_dirs/detections"},
    "cfg_options": "set entries of every config, e.g. data_root=data/kitti",
}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line; ``run`` is the sub-command's function."""
    parser = Parser(description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_data(commands)
    _add_detect(commands)
    args = parser.parse_args(argv)
    if args.run is draw_detect:
        first, others = one_detector(args.parser, args), args.compare
        options = args.cfg_options
        args.detectors = [
            first,
            *(
                DetectorSpec(config=c, checkpoint=w, cfg_options=options)
                for c, w in others
            ),
        ]
    return args


def _add_frames(parser: Any) -> None:
    """``--frames`` or ``--num``, and ``--split``."""
    which = parser.add_mutually_exclusive_group()
    add_options(which, FramesSpec, "frames", "num", **OPTIONS)
    add_options(parser, FramesSpec, "split", **OPTIONS)


def _add_data(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "data",
        help="frames of a data set with their labels",
        description=DATA,
        epilog=DATA_EXAMPLES,
    )
    what = "folder with training/ (and ImageSets/), or a config (.py)"
    parser.add_argument("data", metavar="DATA", help=what)
    _add_frames(parser)
    out = {"default": "work_dirs/pictures"}
    add_options(parser, DetectRun, "out", "width", out=out)
    parser.set_defaults(run=draw_data)


def _add_detect(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "detect",
        help="detections, and what attacks do to them",
        description=DETECT,
        epilog=DETECT_EXAMPLES,
    )
    add_detector(parser, own=True)
    _add_frames(parser.add_argument_group("frames"))
    group = parser.add_argument_group("attack")
    add_options(group, AttacksSpec, "threats", "attacks_file", **OPTIONS)
    for name in ("eps", "steps"):
        group.add_argument(f"--{name}", **CHANGES[name])
    group = parser.add_argument_group("several detectors")
    group.add_argument(
        "--compare",
        nargs=2,
        action="append",
        default=[],
        metavar=("CONFIG", "CHECKPOINT"),
        help="another detector beside the first; repeat for more",
    )
    add_options(group, DetectRun, "transfer", **OPTIONS)
    group = parser.add_argument_group("output")
    add_options(group, DetectRun, "out", "width", **OPTIONS)
    add_options(group, DetectorRun, "score_threshold", **OPTIONS)
    add_options(group, DetectRun, "video", "video_of", "fps", "rerun")
    group = parser.add_argument_group("running")
    add_options(group, Running, "device")
    add_options(group, DetectorSpec, "cfg_options", **OPTIONS)
    parser.set_defaults(run=draw_detect, parser=parser)


def draw_data(args: argparse.Namespace) -> None:
    """Draw the frames that were asked for and print where they are."""
    from perception.visualization.data_run import draw_dataset

    for path in draw_dataset(
        args.data,
        args.out,
        split=args.split,
        frames=args.frames,
        num=args.num,
        width=args.width,
    ):
        tqdm.write(str(path))


def draw_detect(args: argparse.Namespace) -> None:
    """Draw what was asked for and print where it is."""
    from perception.visualization.detect_run import draw_detections

    changes = threat_changes(args, ("eps", "steps"))
    if changes and not args.threats:
        raise DataError("--eps and --steps need --threat")
    device = pick_device(args.device)
    contestants = [
        from_args(DetectorRun, args, detector=one, device=device)
        for one in args.detectors
    ]
    attacks = from_args(AttacksSpec, args, changes=changes) if args.threats else None
    run = from_args(DetectRun, args, contestants=contestants, attacks=attacks)
    for path in draw_detections(run):
        tqdm.write(str(path))


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    args.run(args)
