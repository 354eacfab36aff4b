"""Make or prepare data sets."""

from __future__ import annotations

import argparse

from perception.cli import create_kitti as kitti_command
from perception.cli import create_nuscenes as nuscenes_command
from perception.cli import create_synthetic as synthetic_command
from perception.cli.options import run_tool

DESCRIPTION = """\
Make or prepare data sets: random street scenes, KITTI, nuScenes. Each sub-command
explains itself: create_data.py synthetic --help
"""


def main(argv: list[str] | None = None) -> None:
    """Run one sub-command."""
    parser = argparse.ArgumentParser(
        description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    synthetic_command.add_command(commands)
    kitti_command.add_command(commands)
    nuscenes_command.add_command(commands)
    args = parser.parse_args(argv)
    args.run(args)


if __name__ == "__main__":
    run_tool(main)
