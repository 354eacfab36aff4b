"""Score KITTI result files against label files, as KITTI's own program does.

Average precision by the official object protocol: car, pedestrian and cyclist, easy /
moderate / hard, at 11 and at 40 recall positions. Needs neither a GPU nor PyTorch.

Labels have 15 columns, results 16 (the last is the score), one file per frame. An
empty result file is a frame without detections. A metric whose data is missing is
left out: aos if any detection has alpha -10, bev and 3d if no detection has a
location.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from perception.cli.options import Parser
from perception.core.files import write_json
from perception.evaluation.detection.kitti_ap import as_official
from perception.evaluation.detection.report import evaluate_folders, result_table
from perception.evaluation.detection.rules import METRICS

EXAMPLES = """\
examples:
  python tools/eval_kitti.py data/kitti/training/label_2 results/
  python tools/eval_kitti.py data/kitti/training/label_2 results/ \\
      --split data/kitti/ImageSets/val.txt --metrics 2d --json ap.json
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = Parser(description=__doc__, epilog=EXAMPLES)
    parser.add_argument("gt_dir", help="folder of label files (label_2)")
    parser.add_argument("result_dir", help="folder of result files")
    parser.add_argument(
        "--split",
        metavar="FILE",
        help="frames to score, one name per line; each needs a result file "
        "(default: the frames that have a result file)",
    )
    parser.add_argument(
        "--metrics",
        nargs="+",
        choices=METRICS,
        default=METRICS,
        metavar="METRIC",
        help="2d: image boxes, aos: their orientation, bev: bird's-eye view, "
        "3d: boxes in space (default: all)",
    )
    parser.add_argument(
        "--json",
        metavar="FILE",
        help="also write {class_metric: {difficulty: {R11, R40}}} in percent",
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    result = evaluate_folders(
        args.gt_dir, args.result_dir, split=args.split, metrics=args.metrics
    )
    print(result_table(result))
    if args.json:
        write_json(args.json, as_official(result))
