"""Draw frames, detections and attacks as pictures, without a display."""

from __future__ import annotations

import argparse
import sys

from tqdm import tqdm

from perception.cli import one_line
from perception.datasets.kitti_frames import KittiFrames
from perception.datasets.kitti_sources import KITTI_SOURCES
from perception.structures import DataError
from perception.visualization.detect_arguments import add_detect_command, positive
from perception.visualization.frame import MIN_WIDTH, save_frames

DESCRIPTION = """\
Draw what the sensors saw, what a detector believed, and what attacks did to both.
Every picture is a PNG; no display is needed.
"""

DATA_DESCRIPTION = """\
One sheet for each frame of a data set in KITTI's layout (real or synthetic): the
image with its labelled 2D boxes, LiDAR and depth as coloured images (near is
bright), and the scene from above with 3D boxes. A sensor that a frame lacks is
shown as missing. Depth comes from depth_2/ or, without it, from the stereo pair.
"""

DATA_EXAMPLES = """\
examples:
  python tools/visualize.py data data/synthetic --num 4
  python tools/visualize.py data data/kitti --split val --num 20 --out work_dirs/val
  python tools/visualize.py data data/kitti --frames 000001 000007
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line as values; ``run`` is the sub-command's function."""
    parser = argparse.ArgumentParser(
        description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_data_command(commands)
    add_detect_command(commands)
    return parser.parse_args(argv)


def add_data_command(commands: argparse._SubParsersAction) -> None:
    """``data``: frames of a data set with their ground truth."""
    parser = commands.add_parser(
        "data",
        help="frames of a data set with their labels",
        description=DATA_DESCRIPTION,
        epilog=DATA_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("root", help="folder with training/ (and ImageSets/)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--frames", nargs="+", metavar="ID", help="names of the frames to draw"
    )
    which.add_argument(
        "--num",
        type=positive,
        default=8,
        help="draw so many frames, spread evenly over the split (default: %(default)s)",
    )
    parser.add_argument(
        "--split",
        default="all",
        help="name of a file in ImageSets, or a .txt file (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        default="work_dirs/pictures",
        metavar="DIR",
        help="folder to write FRAME.png to (default: %(default)s)",
    )
    parser.add_argument(
        "--width",
        type=positive,
        default=1600,
        help=f"width of a sheet in pixels, at least {MIN_WIDTH} (default: %(default)s)",
    )
    parser.set_defaults(run=draw_data)


def draw_data(args: argparse.Namespace) -> None:
    """Draw the frames that were asked for and print where they are."""
    if args.width < MIN_WIDTH:
        raise DataError(f"--width must be at least {MIN_WIDTH}, got {args.width}")
    frames = KittiFrames(
        args.root,
        args.frames or args.split,
        optional_sensors=tuple(KITTI_SOURCES),
    )
    count = len(frames) if args.frames else min(args.num, len(frames))
    chosen = (frames[i * len(frames) // count] for i in range(count))
    paths = save_frames(
        chosen, args.out, width=args.width, sensors=tuple(KITTI_SOURCES)
    )
    for path in tqdm(paths, total=count, desc="drawing", unit="frame", disable=None):
        tqdm.write(str(path))


def main(argv: list[str] | None = None) -> int:
    """Run the tool; 0 on success, 2 with one line on stderr if the input is bad."""
    args = parse_args(argv)
    try:
        args.run(args)
    except DataError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
