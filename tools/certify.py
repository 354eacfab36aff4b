"""Count the objects that no attack on one sensor can hide.

For detectors with MedianFusion or what is built on it (agreement, consensus). Whatever
a single sensor delivers, every output lies between what the others alone predict; from
clean frames the tool computes which objects stay detected under any such change. No
attack is needed for that; --check runs one without any budget on each sensor and counts
certified objects that it hid (none, or the certificate is wrong).
"""

import argparse

from perception.cli import HelpFormatter, add_config_options, positive, run_tool

EXAMPLES = """examples:
  python tools/certify.py configs/synthetic/median.py \\
      work_dirs/synthetic_median/epoch_10.pth --json certificate.json
  python tools/certify.py CONFIG CHECKPOINT --threshold 0.1 --num 40 --check 20
  python tools/certify.py CONFIG CHECKPOINT --cfg-options model.fusion.margin=0
"""


def parse_args() -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=HelpFormatter
    )
    parser.add_argument("config", help="config file of the detector")
    parser.add_argument("checkpoint", help=".pth or .safetensors file")
    parser.add_argument(
        "--threshold", type=float, default=0.3, help="score a detection must exceed"
    )
    parser.add_argument(
        "--num", type=positive, help="only so many frames, spread evenly (all)"
    )
    parser.add_argument(
        "--check",
        type=int,
        default=0,
        metavar="STEPS",
        help="attack every sensor over its whole range with so many steps",
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures")
    add_config_options(parser, "the config, e.g. model.fusion.margin=0")
    return parser.parse_args()


def main() -> None:
    """Certify and print one line per sensor."""
    args = parse_args()
    from perception.apis import build_dataset, load_detector
    from perception.checkpoints import local_file, sha256
    from perception.evaluation.attacked_prepare import choose_frames, scoring_of
    from perception.evaluation.certified_run import certify
    from perception.files import write_json
    from perception.runner import load_config
    from perception.structures import DataError

    config = load_config(args.config, args.cfg_options)
    detector = load_detector(config, args.checkpoint)
    frames = build_dataset(config, "test")
    indices = choose_frames(frames, None, args.num)
    try:
        figures = certify(
            detector,
            frames,
            indices,
            overlaps=scoring_of(config, args.threshold).overlaps,
            threshold=args.threshold,
            check_steps=args.check,
        )
    except ValueError as error:
        raise DataError(str(error)) from error
    total = figures["objects"]
    if not total:
        raise DataError(f"{args.config}: its test frames hold no object to certify")
    print(f"{len(indices)} frames, {total} objects, score > {args.threshold:g}")
    print(f"found on clean inputs: {figures['found'] / total:.1%}")
    for name, values in figures["sensors"].items():
        line = (
            f"certified against any change of {name}: {values['certified'] / total:.1%}"
        )
        if args.check:
            line += (
                f"; found under attack: {values['found_attacked'] / total:.1%}, "
                f"certified objects hidden: {values['violations']}"
            )
        print(line)
    if args.json:
        used = {
            "config": args.config,
            "checkpoint": args.checkpoint,
            "checkpoint_sha256": sha256(local_file(args.checkpoint)),
            "frames": len(indices),
        }
        write_json(args.json, used | figures)


if __name__ == "__main__":
    run_tool(main)
