"""Train one adversarial patch over many frames and save it as a picture to print.

Test it on frames that it was not trained on: `tools/attack.py --patch`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from perception.cli.attacking import (
    add_attacks,
    add_detector,
    add_threat_changes,
    run_of,
)
from perception.cli.options import Parser, add_options, add_running
from perception.evaluation.robustness.spec import FramesSpec, PatchRun

EXAMPLES = """\
examples:
  python tools/train_patch.py CONFIG CHECKPOINT --threat camera_patch_car \\
      --num 200 --epochs 5 --out work_dirs/patches/car.png
  python tools/attack.py CONFIG CHECKPOINT --threat camera_patch_car \\
      --patch work_dirs/patches/car.png --num 24
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = Parser(description=__doc__, epilog=EXAMPLES)
    add_detector(parser)
    add_attacks(parser, nargs=1, help="the patch's threat model")
    out = {"metavar": "PNG", "help": "the picture; a .json comes with it"}
    names = ("out", "epochs", "step_levels", "smoothness", "resume")
    add_options(parser, PatchRun, *names, out=out)
    split = {"default": "train", "help": "frames to train on"}
    add_options(parser, FramesSpec, "split", "num", split=split)
    add_threat_changes(parser)
    add_running(parser, batch_size="frames attacked at a time")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    from perception.evaluation.patch import train_universal_patch

    run = run_of(PatchRun, args, "train_patch.py", argv)
    result = train_universal_patch(run)
    per_epoch = len(result.history) // run.epochs
    first, last = result.history[:per_epoch], result.history[-per_epoch:]
    print(
        f"objective {sum(first) / per_epoch:.3f} in the first epoch, "
        f"{sum(last) / per_epoch:.3f} in the last\n{run.out}"
    )
