"""Make or prepare data sets."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from perception.structures import DataError

DESCRIPTION = """\
Make or prepare data sets in the layout of the KITTI object benchmark. Each
sub-command explains itself: create_data.py synthetic --help
"""

SYNTHETIC = """\
Random street scenes, ray-cast for a stereo camera and a 64-beam LiDAR, with depth from
a real stereo matcher and labels from what is really visible. The folder has KITTI's
layout, so that the same reader reads it. Interrupted runs continue where they
stopped; the same seed gives the same files whatever the number of jobs.
"""

SYNTHETIC_EXAMPLES = """\
examples:
  python tools/create_data.py synthetic --out data/synthetic --frames 1200 \\
      --val-frames 200 --seed 0 --size 640x192 --jobs 2
  python tools/create_data.py synthetic --out /tmp/few --frames 4 --size 1242x375
"""


KITTI_DESCRIPTION = """\
Prepare a KITTI object folder (data/README.md shows its layout). Any combination of:

  --depth       compute depth from the stereo pairs and keep it as 16-bit PNGs
                (metres * 256, 0 = none), one per frame; frames that have one are
                skipped, so an interrupted run goes on where it stopped
  --split-seed  deal the frames out into train.txt and val.txt at random
  --check       read every file of every frame, print every problem, exit with 2
                if there is one
"""

KITTI_EXAMPLES = """\
examples:
  python tools/create_data.py kitti --root data/kitti --depth --jobs 8
  python tools/create_data.py kitti --root data/kitti --split-seed 0
  python tools/create_data.py kitti --root data/kitti --check

  KITTI on a read-only disk, depth elsewhere (give the reader the same folder):
  python tools/create_data.py kitti --root /mnt/kitti --depth --depth-out data/depth
"""


def _add_synthetic(commands: argparse._SubParsersAction) -> None:
    """The ``synthetic`` sub-command's arguments."""
    parser = commands.add_parser(
        "synthetic",
        help="make random street scenes with labels",
        description=SYNTHETIC,
        epilog=SYNTHETIC_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to fill")
    parser.add_argument(
        "--frames", type=int, default=1200, help="training frames (default: 1200)"
    )
    parser.add_argument(
        "--val-frames",
        type=int,
        default=0,
        help="validation frames, named after the training frames (default: 0)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed (default: 0)")
    parser.add_argument(
        "--size",
        default="640x192",
        metavar="WxH",
        help="image width and height in pixels (default: 640x192)",
    )
    parser.add_argument(
        "--jobs", type=int, default=1, help="worker processes (default: 1)"
    )
    parser.add_argument(
        "--full-lidar",
        action="store_true",
        help="keep the LiDAR's 360 degrees (default: what the left image shows)",
    )
    parser.set_defaults(run=_run_synthetic)


def _run_synthetic(args: argparse.Namespace) -> None:
    from perception.datasets.synthetic.generate import generate

    root = generate(
        args.out,
        frames=args.frames,
        val_frames=args.val_frames,
        seed=args.seed,
        size=args.size,
        jobs=args.jobs,
        full_lidar=args.full_lidar,
    )
    print(f"{args.frames} training and {args.val_frames} validation frames in {root}")


def _add_kitti(commands: argparse._SubParsersAction) -> None:
    """The ``kitti`` sub-command's arguments."""
    parser = commands.add_parser(
        "kitti",
        help="prepare KITTI: stereo depth, random split, check",
        description=KITTI_DESCRIPTION,
        epilog=KITTI_EXAMPLES,
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
    _add_kitti_split(parser)
    add("--check", action="store_true", help="check every file")
    add(
        "--jobs",
        type=int,
        default=os.cpu_count() or 1,
        metavar="J",
        help="processes (default: one per core, here %(default)s)",
    )
    parser.set_defaults(run=_run_kitti)


def _add_kitti_split(parser: argparse.ArgumentParser) -> None:
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


def _run_kitti(args: argparse.Namespace) -> None:
    """Prepare a KITTI folder as asked."""
    from perception.datasets import kitti_prepare

    if not (args.depth or args.check or args.split_seed is not None):
        raise DataError("nothing to do: give --depth, --split-seed or --check")
    depth = args.depth_out or args.root / args.subset / args.depth_dir
    where = {"subset": args.subset, "jobs": args.jobs}
    if args.depth:
        report = kitti_prepare.cache_stereo_depth(args.root, depth, **where)
        print(f"depth is in {depth}")
        if report.without_right:
            print(f"no right image, hence no depth: {' '.join(report.without_right)}")
        _fail_on(report.problems, depth)
    if args.split_seed is not None:
        kitti_prepare.write_random_split(
            args.root,
            args.split_out or args.root / "ImageSets",
            seed=args.split_seed,
            val_fraction=args.val_fraction,
            subset=args.subset,
        )
    if args.check:
        _fail_on(kitti_prepare.check_kitti(args.root, depth, **where), args.root)
        print(f"{args.root}: no problem found")


def _fail_on(problems: list[str], where: Path) -> None:
    if problems:
        print("\n".join(problems))
        raise DataError(f"{where}: {len(problems)} problem(s), listed above")


def _fraction(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"must be between 0 and 1, got {text}")
    return value


def main(argv: list[str] | None = None) -> int:
    """Run one sub-command; 0 on success, 2 on unusable input."""
    parser = argparse.ArgumentParser(
        description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_synthetic(commands)
    _add_kitti(commands)
    args = parser.parse_args(argv)
    try:
        args.run(args)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
