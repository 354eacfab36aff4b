"""Make or prepare data sets."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from perception.structures import DataError

DESCRIPTION = """\
Make or prepare data sets: random street scenes, KITTI, nuScenes. Each sub-command
explains itself: create_data.py synthetic --help
"""

SYNTHETIC = """\
Random street scenes, ray-cast for a stereo camera and a 64-beam LiDAR, with depth from
a real stereo matcher and labels from what is really visible. The folder has KITTI's
layout, so that the same reader reads it. Interrupted runs continue where they
stopped; the same seed gives the same files whatever the number of jobs.

With --layout nuscenes: short drives through such streets as a nuScenes v1.0 data set
which the official development kit loads: all tables, six cameras, a 32-beam LiDAR and
five radars with sweeps, ego poses, annotations with visibility and velocity. Scenes
bear the names of nuScenes' own splits. --scenes, --val-scenes and --samples say how
much; --frames, --val-frames and --full-lidar are KITTI's alone.
"""

SYNTHETIC_EXAMPLES = """\
examples:
  python tools/create_data.py synthetic --out data/synthetic --frames 1200 \\
      --val-frames 200 --seed 0 --size 640x192 --jobs 2
  python tools/create_data.py synthetic --out /tmp/few --frames 4 --size 1242x375
  python tools/create_data.py synthetic --layout nuscenes --scenes 30 \\
      --val-scenes 10 --samples 10 --out data/nuscenes_synthetic --jobs 2
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

NUSCENES_DESCRIPTION = """\
Look through a nuScenes folder (data/README.md shows its layout): are the tables whole,
which files are missing? Writes an index, with which the reader starts fast and without
the devkit, and knows which frames it must leave out. An interrupted run goes on where
it stopped. Part of nuScenes is enough: what is missing is listed.
"""

NUSCENES_EXAMPLES = """\
examples:
  python tools/create_data.py nuscenes --root data/nuscenes --version v1.0-mini
  python tools/create_data.py nuscenes --root data/nuscenes --version v1.0-trainval \\
      --jobs 16 --check

  nuScenes on a read-only disk (give the reader the same folder as `index`):
  python tools/create_data.py nuscenes --root /mnt/nuscenes --version v1.0-trainval \\
      --out data/nuscenes-index
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
        "--layout",
        choices=("kitti", "nuscenes"),
        default="kitti",
        help="whose files to write (default: %(default)s)",
    )
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
        metavar="WxH",
        help="image width and height in pixels (default: 640x192, nuscenes: 480x270)",
    )
    parser.add_argument(
        "--jobs", type=int, default=1, help="worker processes (default: 1)"
    )
    parser.add_argument(
        "--full-lidar",
        action="store_true",
        help="keep the LiDAR's 360 degrees (default: what the left image shows)",
    )
    _add_synthetic_nuscenes(parser.add_argument_group("--layout nuscenes"))
    parser.set_defaults(run=_run_synthetic)


def _add_synthetic_nuscenes(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--scenes", type=int, default=8, help="training scenes (default: %(default)s)")
    add(
        "--val-scenes",
        type=int,
        default=2,
        help="validation scenes (default: %(default)s)",
    )
    add(
        "--samples",
        type=int,
        default=10,
        help="key frames per scene, two per second (default: %(default)s)",
    )
    add(
        "--version",
        choices=("v1.0-mini", "v1.0-trainval"),
        default="v1.0-trainval",
        help="of the data set; it decides about the scenes' names (default: "
        "%(default)s)",
    )


def _run_synthetic(args: argparse.Namespace) -> None:
    if args.layout == "nuscenes":
        _run_synthetic_nuscenes(args)
        return
    from perception.datasets.synthetic.generate import generate

    root = generate(
        args.out,
        frames=args.frames,
        val_frames=args.val_frames,
        seed=args.seed,
        size=args.size or "640x192",
        jobs=args.jobs,
        full_lidar=args.full_lidar,
    )
    print(f"{args.frames} training and {args.val_frames} validation frames in {root}")


def _run_synthetic_nuscenes(args: argparse.Namespace) -> None:
    from perception.datasets.synthetic.nuscenes_writer import generate_nuscenes

    root = generate_nuscenes(
        args.out,
        scenes=args.scenes,
        val_scenes=args.val_scenes,
        samples=args.samples,
        seed=args.seed,
        size=args.size or "480x270",
        jobs=args.jobs,
        version=args.version,
    )
    print(f"{args.scenes} training and {args.val_scenes} validation scenes in {root}")


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
    _add_jobs(parser, "processes")
    parser.set_defaults(run=_run_kitti)


def _add_jobs(parser: argparse.ArgumentParser, workers: str) -> None:
    parser.add_argument(
        "--jobs",
        type=int,
        default=os.cpu_count() or 1,
        metavar="J",
        help=f"{workers} (default: one per core, here %(default)s)",
    )


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


def _add_nuscenes(commands: argparse._SubParsersAction) -> None:
    """The ``nuscenes`` sub-command's arguments."""
    parser = commands.add_parser(
        "nuscenes",
        help="prepare nuScenes: check tables and files, write an index",
        description=NUSCENES_DESCRIPTION,
        epilog=NUSCENES_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--root", type=Path, required=True, help="folder with samples, sweeps, …")
    add("--version", default="v1.0-mini", help="tables in it (default: %(default)s)")
    add(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder of the index (default: ROOT/index-VERSION)",
    )
    add("--check", action="store_true", help="also read every file of every sample")
    _add_jobs(parser, "threads")
    parser.set_defaults(run=_run_nuscenes)


def _run_nuscenes(args: argparse.Namespace) -> None:
    """Write the index, say what is missing, read all files if asked."""
    from perception.datasets import nuscenes_prepare

    index = nuscenes_prepare.write_index(
        args.root, args.version, args.out, jobs=args.jobs
    )
    print("\n".join(nuscenes_prepare.describe_index(index)))
    if args.check:
        problems = nuscenes_prepare.check_files(index, args.root, args.jobs)
        _fail_on(problems, args.root)
        print(f"{args.root}: every file can be read")


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
    _add_nuscenes(commands)
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
