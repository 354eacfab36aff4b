"""The command line of ``tools/create_data.py kitti``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from perception.cli.options import fail_on, positive
from perception.core.structures import DataError

DESCRIPTION = """\
Prepare a KITTI object folder (data/README.md shows its layout). Any combination of:

  --depth       compute depth from the stereo pairs and keep it as 16-bit PNGs
                (metres * 256, 0 = none), one per frame; frames that have one are
                skipped, so an interrupted run goes on where it stopped
  --split-seed  deal the frames out into train.txt and val.txt at random
  --check       read every file of every frame, print every problem, exit with 2
                if there is one
"""

EXAMPLES = """\
examples:
  python tools/create_data.py kitti --root data/kitti --depth --jobs 8
  python tools/create_data.py kitti --root data/kitti --split-seed 0
  python tools/create_data.py kitti --root data/kitti --check

  KITTI on a read-only disk, depth elsewhere (give the reader the same folder):
  python tools/create_data.py kitti --root /mnt/kitti --depth --depth-out data/depth
"""


def add_command(commands: argparse._SubParsersAction) -> None:
    """The ``kitti`` sub-command's arguments."""
    parser = commands.add_parser(
        "kitti",
        help="prepare KITTI: stereo depth, random split, check",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--root", type=Path, required=True, help="the KITTI folder")
    add("--subset", default="training", help="folder in it (default: %(default)s)")
    add("--depth", action="store_true", help="compute stereo depth")
    add(
        "--depth-dir",
        default="depth_2",
        metavar="NAME",
        help="depth folder in ROOT/SUBSET (default: %(default)s)",
    )
    add(
        "--depth-out",
        type=Path,
        metavar="DIR",
        help="depth folder anywhere else (default: --depth-dir)",
    )
    _add_split(parser)
    add("--check", action="store_true", help="check every file")
    add(
        "--jobs",
        type=positive,
        default=os.cpu_count() or 1,
        metavar="J",
        help="processes (default: one per core, here %(default)s)",
    )
    parser.set_defaults(run=_run)


def _add_split(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--split-seed", type=int, metavar="S", help="write a random split")
    add(
        "--val-fraction",
        type=_fraction,
        default=0.5,
        metavar="F",
        help="share of the frames in val.txt (default: %(default)s)",
    )
    add(
        "--split-out",
        type=Path,
        metavar="DIR",
        help="folder of the split files (default: ROOT/ImageSets)",
    )


def _run(args: argparse.Namespace) -> None:
    """Prepare a KITTI folder as asked."""
    from perception.datasets.kitti import prepare as kitti_prepare

    if not (args.depth or args.check or args.split_seed is not None):
        raise DataError("nothing to do: give --depth, --split-seed or --check")
    depth = args.depth_out or args.root / args.subset / args.depth_dir
    where = {"subset": args.subset, "jobs": args.jobs}
    if args.depth:
        report = kitti_prepare.cache_stereo_depth(args.root, depth, **where)
        print(f"depth is in {depth}")
        if report.without_right:
            print(f"no right image, hence no depth: {' '.join(report.without_right)}")
        fail_on(report.problems, depth)
    if args.split_seed is not None:
        kitti_prepare.write_random_split(
            args.root,
            args.split_out or args.root / "ImageSets",
            seed=args.split_seed,
            val_fraction=args.val_fraction,
            subset=args.subset,
        )
    if args.check:
        fail_on(kitti_prepare.check_kitti(args.root, depth, **where), args.root)
        print(f"{args.root}: no problem found")


def _fraction(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"must be between 0 and 1, got {text}")
    return value
