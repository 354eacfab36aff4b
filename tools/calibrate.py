"""Tell a trained agreement gate what honest frames look like.

The gate compares what every two sensors detect alone, in standard deviations of what
honest frames show (`blame_at` and `doubt_at` of its config). Training estimates these
on training frames; on unseen ones, of another city or season, sensors disagree somewhat
more. Give clean frames that the detector was not trained on, with or without labels, a
hundred or more, and use the weights written instead of the old ones.
"""

import argparse

from perception.cli.options import (
    HelpFormatter,
    add_running_options,
    add_split_options,
    pick_device,
    run_tool,
)

EXAMPLES = """examples:
  python tools/create_data.py synthetic --out data/calibration --frames 1 \\
      --val-frames 200 --seed 2 --size 640x192
  python tools/calibrate.py configs/synthetic/agreement.py \\
      work_dirs/synthetic_agreement/epoch_10.pth \\
      --out work_dirs/synthetic_agreement/calibrated.safetensors \\
      --cfg-options data_root=data/calibration
"""


def parse_args() -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=HelpFormatter
    )
    parser.add_argument("config", help="config file of the detector")
    parser.add_argument("checkpoint", help=".pth or .safetensors file")
    parser.add_argument("--out", required=True, help="the .safetensors file to write")
    add_split_options(parser.add_argument_group("frames (default: all test frames)"))
    running = parser.add_argument_group("running")
    add_running_options(
        running, "frames", "the config, e.g. data_root=data/calibration"
    )
    return parser.parse_args()


def main() -> None:
    """Calibrate and say what changed."""
    args = parse_args()
    from perception.core.checkpoints import save_weights
    from perception.core.structures import DataError
    from perception.evaluation.robustness.spec import DetectorSpec, FramesSpec
    from perception.evaluation.robustness.subject import load_subject
    from perception.training.calibration import calibrate_gate

    if not args.out.endswith(".safetensors"):
        raise DataError(f"{args.out}: weights are written as .safetensors")
    ready = load_subject(
        DetectorSpec(
            config=args.config, checkpoint=args.checkpoint, cfg_options=args.cfg_options
        ),
        FramesSpec(split=args.split, num=args.num),
        device=pick_device(args.device),
    )
    rates = calibrate_gate(
        ready.target.detector,
        ready.dataset,
        ready.indices,
        batch_size=args.batch_size,
        workers=args.workers,
    )
    save_weights(args.out, ready.target.detector.state_dict())
    print(
        f"{len(ready.indices)} frames; a sensor blamed in {rates['before'][0]:.1%}, "
        f"now {rates['after'][0]:.1%}; in doubt {rates['before'][1]:.1%}, "
        f"now {rates['after'][1]:.1%}\n{args.out}"
    )


if __name__ == "__main__":
    run_tool(main)
