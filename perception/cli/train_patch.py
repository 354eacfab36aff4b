"""Train one adversarial patch over many frames and save it as a picture to print.

Test it on frames that it was not trained on: `tools/attack.py --patch`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from perception.cli.attacking import add_detector, add_threat_changes, attack_run
from perception.cli.options import Parser, add_options, add_running, positive
from perception.evaluation.robustness.spec import AttackRun

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
    add_options(
        parser,
        AttackRun,
        *("threats", "attacks_file", "split", "num", "resume"),
        threats={"nargs": 1, "required": True, "help": "the patch's threat model"},
        split={"default": "train", "help": "frames to train on"},
        resume={"help": "go on with an unfinished training"},
    )
    add = parser.add_argument
    what = "the picture; a .json comes with it"
    add("--out", required=True, metavar="PNG", dest="picture", help=what)
    add("--epochs", type=positive, default=10, help="passes (default: 10)")
    what = "first step in grey levels (default: 12)"
    add("--step-levels", type=float, default=12.0, help=what)
    what = "weight of the total variation: smooth patches survive printing (default: 0)"
    add("--smoothness", type=float, default=0.0, help=what)
    add_threat_changes(parser)
    add_running(parser, AttackRun)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    from perception.training.patch import train_universal_patch

    result = train_universal_patch(
        attack_run(args, "train_patch.py", argv),
        args.picture,
        epochs=args.epochs,
        step_levels=args.step_levels,
        smoothness=args.smoothness,
    )
    per_epoch = len(result.history) // args.epochs
    first, last = result.history[:per_epoch], result.history[-per_epoch:]
    print(
        f"objective {sum(first) / per_epoch:.3f} in the first epoch, "
        f"{sum(last) / per_epoch:.3f} in the last\n{args.picture}"
    )
