"""The command line of ``tools/create_data.py nuscenes``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from perception.cli.options import fail_on, positive

DESCRIPTION = """\
Look through a nuScenes folder (data/README.md shows its layout): are the tables whole,
which files are missing? Writes an index, with which the reader starts fast and without
the devkit, and knows which frames it must leave out. An interrupted run goes on where
it stopped. Part of nuScenes is enough: what is missing is listed.
"""

EXAMPLES = """\
examples:
  python tools/create_data.py nuscenes --root data/nuscenes --version v1.0-mini
  python tools/create_data.py nuscenes --root data/nuscenes --version v1.0-trainval \\
      --jobs 16 --check

  nuScenes on a read-only disk (give the reader the same folder as `index`):
  python tools/create_data.py nuscenes --root /mnt/nuscenes --version v1.0-trainval \\
      --out data/nuscenes-index
"""


def add_command(commands: argparse._SubParsersAction) -> None:
    """The ``nuscenes`` sub-command's arguments."""
    parser = commands.add_parser(
        "nuscenes",
        help="prepare nuScenes: check tables and files, write an index",
        description=DESCRIPTION,
        epilog=EXAMPLES,
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
    add(
        "--jobs",
        type=positive,
        default=os.cpu_count() or 1,
        metavar="J",
        help="threads (default: one per core, here %(default)s)",
    )
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    """Write the index, say what is missing, read all files if asked."""
    from perception.datasets.nuscenes import prepare as nuscenes_prepare

    index = nuscenes_prepare.write_index(
        args.root, args.version, args.out, jobs=args.jobs
    )
    print("\n".join(nuscenes_prepare.describe_index(index)))
    if args.check:
        problems = nuscenes_prepare.check_files(index, args.root, args.jobs)
        fail_on(problems, args.root)
        print(f"{args.root}: every file can be read")
