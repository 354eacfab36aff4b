"""Make or prepare data sets."""

from __future__ import annotations

import argparse
import sys

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


def main(argv: list[str] | None = None) -> int:
    """Run one sub-command; 0 on success, 2 on unusable input."""
    parser = argparse.ArgumentParser(
        description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_synthetic(commands)
    args = parser.parse_args(argv)
    try:
        args.run(args)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
