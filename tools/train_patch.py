"""Train one adversarial patch over many frames and save it as a picture to print.

Test it on frames that it was not trained on: `tools/attack.py --patch`.
"""

from __future__ import annotations

import argparse

from perception.cli.attack_options import (
    add_attacks_file,
    add_threat_changes,
    threat_changes,
)
from perception.cli.options import (
    HelpFormatter,
    add_running_options,
    command_line,
    pick_device,
    positive,
    run_tool,
)

EXAMPLES = """\
examples:
  python tools/train_patch.py CONFIG CHECKPOINT --threat camera_patch_car \\
      --num 200 --epochs 5 --out work_dirs/patches/car.png
  python tools/attack.py CONFIG CHECKPOINT --threat camera_patch_car \\
      --patch work_dirs/patches/car.png --num 24
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=HelpFormatter
    )
    parser.add_argument("config", help="config file of the detector")
    parser.add_argument("checkpoint", help=".pth or .safetensors file")
    parser.add_argument(
        "--threat", required=True, metavar="NAME", help="the patch's threat model"
    )
    parser.add_argument(
        "--out", required=True, metavar="PNG", help="the picture; a .json comes with it"
    )
    add_attacks_file(parser)
    parser.add_argument("--epochs", type=positive, default=10, help="passes")
    parser.add_argument(
        "--step-levels", type=float, default=12.0, help="first step in grey levels"
    )
    parser.add_argument(
        "--smoothness",
        type=float,
        default=0.0,
        help="weight of the total variation: smooth patches survive printing",
    )
    parser.add_argument("--split", default="train", help="frames to train on")
    parser.add_argument(
        "--num", type=positive, help="only so many, spread evenly over the split"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with an unfinished training"
    )
    add_threat_changes(parser)
    group = parser.add_argument_group("running")
    add_running_options(
        group, "frames attacked", "the config, e.g. data_root=data/kitti"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    from perception.evaluation.patch import train_universal_patch
    from perception.evaluation.robustness.spec import (
        AttacksSpec,
        DetectorSpec,
        FramesSpec,
        PatchRun,
        Running,
    )

    run = PatchRun(
        detector=DetectorSpec(
            config=args.config, checkpoint=args.checkpoint, cfg_options=args.cfg_options
        ),
        attacks=AttacksSpec(threats=[args.threat], attacks_file=args.attacks),
        out=args.out,
        frames=FramesSpec(split=args.split, num=args.num),
        running=Running(
            batch_size=args.batch_size,
            workers=args.workers,
            device=pick_device(args.device),
            command=command_line("train_patch.py", argv),
        ),
        changes=threat_changes(args),
        epochs=args.epochs,
        step_levels=args.step_levels,
        smoothness=args.smoothness,
        resume=args.resume,
    )
    result = train_universal_patch(run)
    per_epoch = len(result.history) // args.epochs
    first, last = result.history[:per_epoch], result.history[-per_epoch:]
    print(
        f"objective {sum(first) / per_epoch:.3f} in the first epoch, "
        f"{sum(last) / per_epoch:.3f} in the last\n{args.out}"
    )


if __name__ == "__main__":
    run_tool(main)
