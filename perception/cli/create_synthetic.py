"""The command line of ``tools/create_data.py synthetic``."""

from __future__ import annotations

import argparse
from typing import Any

from perception.cli.options import positive
from perception.core.structures import DataError

DESCRIPTION = """\
Random street scenes, ray-cast for a stereo camera and a 64-beam LiDAR, with depth from
a real stereo matcher and labels from what is really visible. The folder has KITTI's
layout, so that the same reader reads it. Interrupted runs continue where they
stopped; the same seed gives the same files whatever the number of jobs.

With --layout nuscenes: short drives through such streets as a nuScenes v1.0 data set
which the official development kit loads: all tables, six cameras, a 32-beam LiDAR and
five radars with sweeps, ego poses, annotations with visibility and velocity. Scenes
bear the names of nuScenes' own splits.
"""

EXAMPLES = """\
examples:
  python tools/create_data.py synthetic --out data/synthetic --frames 1200 \\
      --val-frames 200 --seed 0 --size 640x192 --jobs 2
  python tools/create_data.py synthetic --out /tmp/few --frames 4 --size 1242x375
  python tools/create_data.py synthetic --layout nuscenes --scenes 30 \\
      --val-scenes 10 --samples 10 --out data/nuscenes_synthetic --jobs 2
"""
# What each layout alone takes, and what it is unless given.
ONLY: dict[str, dict[str, Any]] = {
    "kitti": {"frames": 1200, "val_frames": 0, "full_lidar": False},
    "nuscenes": {
        "scenes": 8,
        "val_scenes": 2,
        "samples": 10,
        "version": "v1.0-trainval",
    },
}
SIZES = {"kitti": "640x192", "nuscenes": "480x270"}


def add_command(commands: argparse._SubParsersAction) -> None:
    """The ``synthetic`` sub-command's arguments."""
    parser = commands.add_parser(
        "synthetic",
        help="make random street scenes with labels",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--out", required=True, metavar="DIR", help="folder to fill")
    add(
        "--layout",
        choices=tuple(ONLY),
        default="kitti",
        help="whose files to write (default: %(default)s)",
    )
    add("--seed", type=int, default=0, help="seed (default: 0)")
    sizes = f"{SIZES['kitti']}, nuscenes: {SIZES['nuscenes']}"
    add(
        "--size",
        metavar="WxH",
        help=f"image width and height in pixels (default: {sizes})",
    )
    add("--jobs", type=positive, default=1, help="worker processes (default: 1)")
    _add_kitti(parser.add_argument_group("--layout kitti"))
    _add_nuscenes(parser.add_argument_group("--layout nuscenes"))
    parser.set_defaults(run=_run)


def _add_kitti(group: argparse._ArgumentGroup) -> None:
    # Suppressed, so that those given are known.
    unset, only = argparse.SUPPRESS, ONLY["kitti"]
    add = group.add_argument
    add(
        "--frames",
        type=int,
        default=unset,
        help=f"training frames (default: {only['frames']})",
    )
    add(
        "--val-frames",
        type=int,
        default=unset,
        help="validation frames, named after the training frames (default: "
        f"{only['val_frames']})",
    )
    add(
        "--full-lidar",
        action="store_true",
        default=unset,
        help="keep the LiDAR's 360 degrees (default: what the left image shows)",
    )


def _add_nuscenes(group: argparse._ArgumentGroup) -> None:
    unset, only = argparse.SUPPRESS, ONLY["nuscenes"]
    for option, what in (
        ("scenes", "training scenes"),
        ("val_scenes", "validation scenes"),
        ("samples", "key frames per scene, two per second"),
    ):
        group.add_argument(
            f"--{option.replace('_', '-')}",
            type=int,
            default=unset,
            help=f"{what} (default: {only[option]})",
        )
    group.add_argument(
        "--version",
        choices=("v1.0-mini", "v1.0-trainval"),
        default=unset,
        help="of the data set; it decides about the scenes' names (default: "
        f"{only['version']})",
    )


def _run(args: argparse.Namespace) -> None:
    settings = dict(ONLY[args.layout])
    for layout, names in ONLY.items():
        given = {name: vars(args)[name] for name in names if name in vars(args)}
        if layout == args.layout:
            settings |= given
        elif given:
            options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise DataError(f"--layout {args.layout} takes no {options}")
    common = {
        "seed": args.seed,
        "size": args.size or SIZES[args.layout],
        "jobs": args.jobs,
    }
    if args.layout == "nuscenes":
        from perception.datasets.synthetic.nuscenes.writer import generate_nuscenes

        root = generate_nuscenes(args.out, **settings, **common)
        counts = settings["scenes"], settings["val_scenes"], "scenes"
    else:
        from perception.datasets.synthetic.kitti import generate

        root = generate(args.out, **settings, **common)
        counts = settings["frames"], settings["val_frames"], "frames"
    print("{} training and {} validation {} in {}".format(*counts, root))
