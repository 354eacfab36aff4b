"""Draw frames, detections and attacks as pictures, without a display."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from tqdm import tqdm

from perception.cli.detect_options import add_detect_command
from perception.cli.options import positive, run_tool
from perception.core.structures import DataError, Frame
from perception.datasets.kitti.reader import KittiFrames
from perception.datasets.kitti.sources import KITTI_SOURCES
from perception.visualization.frame import MIN_WIDTH, save_frames

DESCRIPTION = """\
Draw what the sensors saw, what a detector believed, and what attacks did to both.
Every picture is a PNG; no display is needed.
"""

DATA_DESCRIPTION = """\
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
    parser.add_argument(
        "data",
        metavar="DATA",
        help="folder with training/ (and ImageSets/), or a config (.py)",
    )
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
        help="name of a file in ImageSets, or a .txt file; of a config train, val or "
        "test (default: all; test)",
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
    of = _frames_of_config if args.data.endswith(".py") else _frames_of_folder
    frames, chosen, sensors = of(args)
    shown = (frames[i] for i in chosen)
    paths = save_frames(shown, args.out, width=args.width, sensors=sensors)
    for path in tqdm(
        paths, total=len(chosen), desc="drawing", unit="frame", disable=None
    ):
        tqdm.write(str(path))


Chosen = tuple[Sequence[Frame], list[int], list[str]]


def _frames_of_folder(args: argparse.Namespace) -> Chosen:
    """Frames of a folder in KITTI's layout, which of them, and sensors to draw."""
    frames = KittiFrames(
        args.data,
        args.frames or args.split or "all",
        optional_sensors=tuple(KITTI_SOURCES),
    )
    count = len(frames) if args.frames else min(args.num, len(frames))
    chosen = [i * len(frames) // count for i in range(count)]
    return frames, chosen, list(KITTI_SOURCES)


def _frames_of_config(args: argparse.Namespace) -> Chosen:
    """Frames of a config's reader, which of them, and the detector's sensors."""
    from perception.core.config import load_config
    from perception.datasets.loading import build_dataset
    from perception.evaluation.robustness.subject import choose_frames

    split = args.split or "test"
    if split not in ("train", "val", "test"):
        raise DataError(f"--split of a config is train, val or test, got {split!r}")
    config = load_config(args.data)
    dataset = build_dataset(config, split)
    chosen = choose_frames(dataset, args.frames, args.num)
    return dataset.frames, chosen, list(config.model.data_preprocessor.sensors)


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    args.run(args)


if __name__ == "__main__":
    run_tool(main)
