"""Make or prepare data sets: random street scenes, recordings, KITTI, nuScenes.

Each sub-command explains itself: create_data.py synthetic --help
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perception.cli.options import (
    Parser,
    add_shards,
    fail_on,
    positive,
    shard_of,
    told_of_shard,
)
from perception.core.shards import WHOLE, torchrun_shard
from perception.core.structures import DataError

SYNTHETIC = """\
Random street scenes, ray-cast for a stereo camera and a 64-beam LiDAR, with depth from
a real stereo matcher and labels from what is really visible. The folder has KITTI's
layout, so that the same reader reads it. Interrupted runs continue where they
stopped; the same seed gives the same files whatever the number of jobs.

With --layout nuscenes: short drives through such streets as a nuScenes v1.0 data set
which the official development kit loads: all tables, six cameras, a 32-beam LiDAR and
five radars with sweeps, ego poses, annotations with visibility and velocity. Scenes
bear the names of nuScenes' own splits.

With --layout bag: drives through such streets with KITTI's sensors as ROS bags, ten
frames per second, without labels, and the topics.json to read them with. With --layout
drives: the same drives in KITTI's layout, with labels and a timeline.csv (split drive).
"""
SYNTHETIC_EXAMPLES = """\
examples:
  python tools/create_data.py synthetic --out data/synthetic --frames 1200 \\
      --val-frames 200 --seed 0 --size 640x192 --jobs 2
  python tools/create_data.py synthetic --out data/few --val-frames 24 --only val
  python tools/create_data.py synthetic --out /tmp/few --frames 4 --size 1242x375
  python tools/create_data.py synthetic --out DIR --frames 40000 --shard 2/4
  python tools/create_data.py synthetic --layout nuscenes --scenes 30 \\
      --val-scenes 10 --samples 10 --out data/nuscenes_synthetic --jobs 2
  python tools/create_data.py synthetic --layout bag --drives 2 --seconds 10 \\
      --out data/bags --jobs 2
  python tools/create_data.py synthetic --layout drives --drives 6 --seconds 4 \\
      --seed 202 --out data/drives --jobs 2
"""
DRIVES: dict[str, tuple[Any, str]] = {
    "drives": (1, "drives"),
    "seconds": (10, "length of a drive"),
    "rate": (10, "frames per second"),
}
# What each layout alone takes: what it is unless given, and what it means.
LAYOUTS: dict[str, dict[str, tuple[Any, str]]] = {
    "kitti": {
        "frames": (1200, "training frames"),
        "val_frames": (0, "validation frames, named after the training frames"),
        "full_lidar": (False, "keep the LiDAR's 360 degrees, not what the image shows"),
        "only": (None, "make the frames of this split alone (default: of both)"),
    },
    "nuscenes": {
        "scenes": (8, "training scenes"),
        "val_scenes": (2, "validation scenes"),
        "samples": (10, "key frames per scene, two per second"),
        "version": ("v1.0-trainval", "of the data set: decides the scenes' names"),
    },
    "drives": DRIVES,
    "bag": {**DRIVES, "storage": ("mcap", "of the bags; ros1: .bag files")},
}
TITLES = {"drives": "drives, and bag"}
SIZES = dict.fromkeys(("kitti", "bag", "drives"), "640x192") | {"nuscenes": "480x270"}
KITTI = """\
Prepare a KITTI object folder (data/README.md shows its layout). Any combination of:

  --depth       compute depth from the stereo pairs and keep it as 16-bit PNGs
                (metres * 256, 0 = none), one per frame; frames that have one are
                skipped, so an interrupted run goes on where it stopped
  --split-seed  deal the frames out into train.txt and val.txt at random
  --check       read every file of every frame, print every problem, exit with 2
                if there is one: also what would make training silently useless, such
                as points beside the picture, depth in another unit, boxes outside
"""
KITTI_EXAMPLES = """\
examples:
  python tools/create_data.py kitti --root data/kitti --depth --jobs 8
  python tools/create_data.py kitti --root data/kitti --split-seed 0
  python tools/create_data.py kitti --root data/kitti --check

  KITTI on a read-only disk, depth elsewhere:
  python tools/create_data.py kitti --root /mnt/kitti --depth --depth-dir data/depth
  python tools/train.py configs/kitti/concat.py \\
      --cfg-options data_root=/mnt/kitti depth_dir=data/depth
"""
SEQUENCES = """\
Make one folder in KITTI's object layout of drives in the layout of KITTI's raw
recordings, its tracking or its odometry benchmark: links to their files, calibration,
labels where there are some, and a timeline.csv that says which frame came before which,
when, and where the vehicle was. Nothing is copied.
"""
SEQUENCES_EXAMPLES = """\
examples:
  python tools/create_data.py sequences --root data/kitti_raw --out data/drives
  python tools/create_data.py sequences --root data/kitti_tracking --out data/tracking
  python tools/create_data.py kitti --root data/drives --depth --jobs 8
"""
NUSCENES = """\
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
BAG = """\
Read a recording of ROS 2 (sqlite3, MCAP) or ROS 1 and write its frames in KITTI's
layout, for every other tool: pictures, points in one frame, radar as points,
calibration from CameraInfo and static transforms, times and ego motion (timeline.csv).
Every picture of the camera is a frame; what else belongs to it is what was measured
nearest to it, within tolerance_s (0.05). Without --topics: says what the bag holds, and
drafts FILE. Needs the extra `bags`, which make setup installs.

FILE is JSON; camera and camera_info are required, the rest is there if you have it:

  {"camera": "/left/image_rect", "camera_info": "/left/camera_info",
   "right": "/right/image_rect", "right_info": "/right/camera_info",
   "lidar": ["/top/points", "/front/points"], "intensity_max": 255,
   "radar": ["/radar/points"], "radar_fields": ["velocity", "rcs"],
   "odometry": "/odometry", "tolerance_s": 0.05,
   "transforms": [{"parent": "base_link", "child": "top", "translation_m": [1, 0, 2],
                   "rotation_xyzw": [0, 0, 0, 1]}]}

ImageSets/drive.txt in DIR names every frame, complete.txt those with every sensor.
"""
BAG_EXAMPLES = """\
examples:
  python tools/create_data.py bag --bag drive.mcap
  python tools/create_data.py bag --bag drive.mcap --topics topics.json --out data/drive
  python tools/create_data.py bag --bag drive_folder --topics topics.json \\
      --out data/drive --depth --jobs 4
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line; ``run`` is the sub-command's function."""
    parser = Parser(description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_synthetic(commands)
    _add_bag(commands)
    _add_kitti(commands)
    _add_sequences(commands)
    _add_nuscenes(commands)
    return parser.parse_args(argv)


def _add_synthetic(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "synthetic",
        help="make random street scenes with labels",
        description=SYNTHETIC,
        epilog=SYNTHETIC_EXAMPLES,
    )
    add = parser.add_argument
    add("--out", required=True, metavar="DIR", help="folder to fill")
    what = "whose files to write (default: kitti)"
    add("--layout", choices=tuple(LAYOUTS), default="kitti", help=what)
    add("--seed", type=int, default=0, help="seed (default: 0)")
    what = "image width and height in pixels (default: {kitti}; nuscenes: {nuscenes})"
    add("--size", metavar="WxH", help=what.format(**SIZES))
    add("--jobs", type=positive, default=1, help="worker processes (default: 1)")
    added: set[str] = set()
    for layout, options in LAYOUTS.items():
        group = parser.add_argument_group(f"--layout {TITLES.get(layout, layout)}")
        for name, (default, what) in options.items():
            if name in added:  # of a layout before, shown there
                continue
            added.add(name)
            # Suppressed, so that those given are known.
            kind: dict[str, Any] = {"type": type(default), "default": argparse.SUPPRESS}
            if default is False:
                kind = {"action": "store_true", "default": argparse.SUPPRESS}
            elif name == "version":
                kind["choices"] = ("v1.0-mini", default)
            elif name == "storage":
                kind["choices"] = ("mcap", "sqlite3", "ros1")
            elif name == "only":
                kind = {"choices": ("train", "val"), "default": argparse.SUPPRESS}
            what += f" (default: {default})" if default else ""
            group.add_argument(f"--{name.replace('_', '-')}", help=what, **kind)
    add_shards(parser)
    parser.set_defaults(run=make_synthetic)


def make_synthetic(args: argparse.Namespace) -> None:
    """Make a synthetic data set."""
    settings: dict[str, Any] = {"seed": args.seed, "jobs": args.jobs}
    shard = shard_of(args) or (None if torchrun_shard() == WHOLE else torchrun_shard())
    settings |= {"shard": shard, "merge": args.merge or ()}
    settings["size"] = args.size or SIZES[args.layout]
    own = LAYOUTS[args.layout]
    for options in LAYOUTS.values():
        given = [name for name in options if name in vars(args) and name not in own]
        if given:
            words = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise DataError(f"--layout {args.layout} takes no {words}")
    settings |= {name: vars(args).get(name, own[name][0]) for name in own}
    if args.layout == "nuscenes":
        from perception.datasets.synthetic.nuscenes.writer import generate_nuscenes

        root = generate_nuscenes(args.out, **settings)
        counts = settings["scenes"], settings["val_scenes"], "scenes"
    elif args.layout in ("bag", "drives"):
        from perception.datasets.synthetic.bag import generate_bags
        from perception.datasets.synthetic.drives import generate_drives

        make = generate_bags if args.layout == "bag" else generate_drives
        root = make(args.out, **settings)
        return print(f"{settings['drives']} drives in {root}")
    else:
        from perception.datasets.synthetic.kitti import generate

        root = generate(args.out, **settings)
        counts = settings["frames"], settings["val_frames"], "frames"
        if (only := settings["only"]) and shard is None:
            count = settings["frames" if only == "train" else "val_frames"]
            return print(f"{count} frames of the split {only} in {root}")
    if shard is not None:
        return print(told_of_shard(shard, "--merge"))
    print("{} training and {} validation {} in {}".format(*counts, root))


def _add_bag(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "bag",
        help="read a ROS recording, or say what it holds",
        description=BAG,
        epilog=BAG_EXAMPLES,
    )
    add = parser.add_argument
    what = "a .mcap, .db3 or .bag file, or a ROS 2 bag's folder"
    add("--bag", type=Path, required=True, metavar="PATH", help=what)
    add("--topics", type=Path, metavar="FILE", help="which topics are which sensors")
    add("--out", type=Path, metavar="DIR", help="folder to fill")
    add("--depth", action="store_true", help="also compute depth of a stereo pair")
    _add_jobs(parser, "processes of --depth")
    parser.set_defaults(run=read_bag)


def read_bag(args: argparse.Namespace) -> None:
    """Write a bag's frames, or say what it holds."""
    from perception.datasets.bags.convert import convert_bag
    from perception.datasets.bags.storage import Bag
    from perception.datasets.bags.topics import draft, read_topics

    if args.topics is None:
        if args.out is not None or args.depth:
            raise DataError("--out and --depth need --topics")
        with Bag(args.bag) as bag:
            for name, topic in bag.topics.items():
                print(f"{topic.messages:>8}  {topic.kind:<36}{name}")
            print("\na draft of --topics FILE, to be corrected:")
            print(json.dumps(draft(bag.topics), indent=1))
        return
    if args.out is None:
        raise DataError("--topics needs --out")
    topics = read_topics(args.topics)
    if args.depth and topics.right is None:
        raise DataError(f"--depth needs a stereo pair: {args.topics} has no right")
    report = convert_bag(args.bag, topics, args.out)
    for note in report.notes:
        print(note)
    told = f"{report.frames} frames of {report.sequences} drive(s), {report.complete}"
    print(f"{told} with every sensor, in {args.out}")
    if args.depth:
        from perception.datasets.kitti import prepare

        depth = args.out / "training" / "depth_2"
        found = prepare.cache_stereo_depth(args.out, depth, jobs=args.jobs)
        fail_on(found.problems, depth)


def _add_kitti(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "kitti",
        help="prepare KITTI: stereo depth, random split, check",
        description=KITTI,
        epilog=KITTI_EXAMPLES,
    )
    add = parser.add_argument
    add("--root", type=Path, required=True, help="the KITTI folder")
    add("--subset", default="training", help="folder in it (default: %(default)s)")
    add("--depth", action="store_true", help="compute stereo depth")
    what = "depth folder: a name in ROOT/SUBSET, or a path (default: %(default)s)"
    add("--depth-dir", default="depth_2", metavar="DIR", help=what)
    add("--split-seed", type=int, metavar="S", help="write a random split")
    what = "share of the frames in val.txt (default: %(default)s)"
    add("--val-fraction", type=_fraction, default=0.5, metavar="F", help=what)
    what = "folder of the split files (default: ROOT/ImageSets)"
    add("--split-out", type=Path, metavar="DIR", help=what)
    add("--check", action="store_true", help="check every file")
    _add_jobs(parser, "processes")
    add_shards(parser)
    parser.set_defaults(run=prepare_kitti)


def _add_jobs(parser: argparse.ArgumentParser, of: str) -> None:
    cores = os.cpu_count() or 1
    what = f"{of} (default: one per core, here {cores})"
    parser.add_argument("--jobs", type=positive, default=cores, metavar="J", help=what)


def _fraction(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"must be between 0 and 1, got {text}")
    return value


def prepare_kitti(args: argparse.Namespace) -> None:
    """Prepare a KITTI folder as asked."""
    if not (args.depth or args.check or args.split_seed is not None):
        raise DataError("nothing to do: give --depth, --split-seed or --check")
    shard = shard_of(args) or torchrun_shard()
    shared = shard != WHOLE or args.merge is not None
    if shared and (args.check or args.split_seed is not None or not args.depth):
        raise DataError("shards share --depth; --check and --split-seed see all frames")
    from perception.datasets.kitti import check, files, prepare

    depth = files.depth_folder(args.root / args.subset, args.depth_dir)
    where = {"subset": args.subset, "jobs": args.jobs}
    if args.depth:
        for folder in args.merge or ():
            prepare.take_depth(Path(folder), depth)
        report = prepare.cache_stereo_depth(args.root, depth, shard=shard, **where)
        print(f"depth is in {depth}")
        if depth.parent != args.root / args.subset or depth.name != "depth_2":
            print(f"configs read it with --cfg-options depth_dir={depth}")
        if report.without_right:
            print(f"no right image, hence no depth: {' '.join(report.without_right)}")
        fail_on(report.problems, depth)
    if args.split_seed is not None:
        prepare.write_random_split(
            args.root,
            args.split_out or args.root / "ImageSets",
            seed=args.split_seed,
            val_fraction=args.val_fraction,
            subset=args.subset,
        )
    if args.check:
        fail_on(check.check_kitti(args.root, depth, **where), args.root)
        print(f"{args.root}: no problem found")


def _add_sequences(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "sequences",
        help="KITTI's drives (raw, tracking, odometry) in KITTI's object layout",
        description=SEQUENCES,
        epilog=SEQUENCES_EXAMPLES,
    )
    add = parser.add_argument
    add("--root", type=Path, required=True, help="folder with the drives")
    add("--out", type=Path, required=True, metavar="DIR", help="folder to fill")
    parser.set_defaults(run=link_drives)


def link_drives(args: argparse.Namespace) -> None:
    """Link the frames of drives."""
    from perception.datasets.kitti.sequences import link_sequences

    for drive in link_sequences(args.root, args.out):
        known = drive.poses or (drive.oxts and drive.cam_T_imu is not None)
        motion = "ego motion known" if known else "ego motion not known"
        told = [f"{name} {len(found)}" for name, found in drive.files.items() if found]
        print(f"{drive.name}: {', '.join(told)}; {motion}")


def _add_nuscenes(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "nuscenes",
        help="prepare nuScenes: check tables and files, write an index",
        description=NUSCENES,
        epilog=NUSCENES_EXAMPLES,
    )
    add = parser.add_argument
    add("--root", type=Path, required=True, help="folder with samples, sweeps, …")
    add("--version", default="v1.0-mini", help="tables in it (default: %(default)s)")
    what = "folder of the index (default: ROOT/index-VERSION)"
    add("--out", type=Path, metavar="DIR", help=what)
    add("--check", action="store_true", help="also read every file of every sample")
    _add_jobs(parser, "threads")
    parser.set_defaults(run=prepare_nuscenes)


def prepare_nuscenes(args: argparse.Namespace) -> None:
    """Write the index, say what is missing, read all files if asked."""
    from perception.datasets.nuscenes import prepare

    index = prepare.write_index(args.root, args.version, args.out, jobs=args.jobs)
    print("\n".join(prepare.describe_index(index)))
    if args.check:
        fail_on(prepare.check_files(index, args.root, args.jobs), args.root)
        print(f"{args.root}: every file can be read")


def main(argv: Sequence[str] | None = None) -> None:
    """Run one sub-command."""
    args = parse_args(argv)
    args.run(args)
