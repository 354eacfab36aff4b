"""Score KITTI result files against label files, as KITTI's own program does.

Average precision by the official object protocol: car, pedestrian and cyclist, easy /
moderate / hard, at 11 and at 40 recall positions. Needs neither a GPU nor PyTorch.

Labels have 15 columns, results 16 (the last is the score), one file per frame. An
empty result file is a frame without detections. A metric whose data is missing is
left out: aos if any detection has alpha -10, bev and 3d if no detection has a
location, or the labels have none either.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from perception.cli.options import Assignments, Parser
from perception.core.files import write_json
from perception.core.structures import DataError, class_key
from perception.evaluation.detection.kitti_ap import as_official
from perception.evaluation.detection.report import (
    evaluate_frames,
    interval_lines,
    read_about,
    read_folders,
    result_table,
)
from perception.evaluation.detection.rules import (
    KITTI_CLASSES,
    KITTI_DIFFICULTIES,
    METRICS,
    ClassRule,
    Difficulty,
    rules_with_overlaps,
)

EXAMPLES = """\
examples:
  python tools/eval_kitti.py data/kitti/training/label_2 results/
  python tools/eval_kitti.py data/kitti/training/label_2 results/ \\
      --split data/kitti/ImageSets/val.txt --metrics 2d --json ap.json
  python tools/eval_kitti.py data/kitti/training/label_2 results/ --metrics bev 3d \
      --overlap Car=0.5 --intervals

  another detector's results on frames that attack.py --save-data wrote:
  python tools/eval_kitti.py attacked/training/label_2 results/ \\
      --about attacked/about.json --overlap Car=0.7
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
    parser.add_argument(
        "--about",
        metavar="FILE",
        help="about.json of frames that attack.py --save-data wrote: their "
        "difficulties and overlaps instead of KITTI's",
    )
    parser.add_argument(
        "--overlap",
        nargs="+",
        action=Assignments,
        metavar="CLASS=IOU",
        help="overlap that detections of a class must exceed, in every metric; a class "
        "that is not KITTI's is scored as well",
    )
    parser.add_argument(
        "--intervals",
        action="store_true",
        help="also say between what AP (R40) lies over frames like these, 95 %%: a "
        "bootstrap of 200 draws; tells how much so few frames can say",
    )
    return parser.parse_args(argv)


def _overlaps(words: Mapping[str, Any]) -> dict[str, float]:
    try:
        return {name: float(value) for name, value in words.items()}
    except (TypeError, ValueError) as error:
        raise DataError(
            f"--overlap takes CLASS=IOU, such as Car=0.5: {error}"
        ) from error


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    classes: Sequence[ClassRule] = KITTI_CLASSES
    difficulties: Sequence[Difficulty] = KITTI_DIFFICULTIES
    if args.about:
        overlaps, difficulties = read_about(args.about)
        classes = rules_with_overlaps(overlaps)
    if args.overlap:
        own = rules_with_overlaps(_overlaps(args.overlap))
        keys = {class_key(rule.name) for rule in own}
        classes = (*(r for r in classes if class_key(r.name) not in keys), *own)
    frames = read_folders(args.gt_dir, args.result_dir, args.split)
    result, notes = evaluate_frames(
        *frames, metrics=args.metrics, classes=classes, difficulties=difficulties
    )
    if args.intervals:
        notes += interval_lines(*frames, result, classes, difficulties)
    print("\n".join([result_table(result, classes), *notes]))
    if args.json:
        write_json(args.json, as_official(result))
