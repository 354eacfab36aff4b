"""Tell a trained agreement gate what honest frames look like.

The gate compares what every two sensors detect alone, in standard deviations of what
honest frames show (`blame_at` and `doubt_at` of its config). Training estimates these
on training frames; on unseen ones, of another city or season, sensors disagree somewhat
more. Give clean frames that the detector was not trained on, with or without labels, a
hundred or more, and use the weights written instead of the old ones.
"""

import argparse

from perception.cli import HelpFormatter, add_config_options, positive, run_tool

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
    parser.add_argument("config", help="config file; its test frames are used")
    parser.add_argument("checkpoint", help=".pth or .safetensors file")
    parser.add_argument("--out", required=True, help="the .safetensors file to write")
    parser.add_argument(
        "--num", type=positive, help="only so many frames, spread evenly (all)"
    )
    add_config_options(parser, "the config, e.g. data_root=data/calibration")
    return parser.parse_args()


def main() -> None:
    """Calibrate and say what changed."""
    args = parse_args()
    from perception.apis import build_dataset, load_detector
    from perception.checkpoints import save_weights
    from perception.evaluation.attacked_prepare import choose_frames
    from perception.evaluation.calibration import calibrate_gate
    from perception.runner import load_config
    from perception.structures import DataError

    if not args.out.endswith(".safetensors"):
        raise DataError(f"{args.out}: weights are written as .safetensors")
    config = load_config(args.config, args.cfg_options)
    detector = load_detector(config, args.checkpoint)
    frames = build_dataset(config, "test")
    indices = choose_frames(frames, None, args.num)
    rates = calibrate_gate(detector, frames, indices)
    save_weights(args.out, detector.state_dict())
    print(
        f"{len(indices)} frames; a sensor blamed in {rates['before'][0]:.1%}, now "
        f"{rates['after'][0]:.1%}; in doubt {rates['before'][1]:.1%}, now "
        f"{rates['after'][1]:.1%}\n{args.out}"
    )


if __name__ == "__main__":
    run_tool(main)
