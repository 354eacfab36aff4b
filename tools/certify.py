"""Count the objects that no attack on one sensor can hide.

For detectors with MedianFusion or what is built on it (agreement, consensus). Whatever
a single sensor delivers, every output lies between what the others alone predict; from
clean frames the tool computes which objects stay detected under any such change. No
attack is needed for that; --check runs one without any budget on each sensor and counts
certified objects that it hid (none, or the certificate is wrong).
"""

import argparse

from perception.cli.options import (
    HelpFormatter,
    add_running_options,
    add_score_threshold,
    add_split_options,
    command_line,
    non_negative,
    pick_device,
    run_tool,
)

EXAMPLES = """examples:
  python tools/certify.py configs/synthetic/median.py \\
      work_dirs/synthetic_median/epoch_10.pth --json certificate.json
  python tools/certify.py CONFIG CHECKPOINT --score-threshold 0.1 --num 40 --check 20
  python tools/certify.py CONFIG CHECKPOINT --cfg-options model.fusion.margin=0
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=HelpFormatter
    )
    parser.add_argument("config", help="config file of the detector")
    parser.add_argument("checkpoint", help=".pth or .safetensors file")
    add_score_threshold(parser, "score that a detection must exceed")
    parser.add_argument(
        "--check",
        type=non_negative,
        default=0,
        metavar="STEPS",
        help="attack every sensor over its whole range with so many steps",
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write the figures and how to reproduce them"
    )
    add_split_options(parser.add_argument_group("frames (default: all test frames)"))
    running = parser.add_argument_group("running")
    add_running_options(running, "frames", "the config, e.g. model.fusion.margin=0")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Certify and print one line per sensor."""
    args = parse_args(argv)
    from perception.core.files import write_json
    from perception.core.structures import DataError
    from perception.evaluation.certified_run import certify
    from perception.evaluation.robustness.old_results import settings_of, versions
    from perception.evaluation.robustness.prepare import AttackRun, load_subject

    run = AttackRun(
        config=args.config,
        checkpoint=args.checkpoint,
        cfg_options=args.cfg_options,
        split=args.split,
        num=args.num,
        score_threshold=args.score_threshold,
        device=pick_device(args.device),
    )
    ready = load_subject(run)
    try:
        figures = certify(
            ready.detector,
            ready.dataset,
            ready.indices,
            overlaps=ready.scoring.overlaps,
            threshold=args.score_threshold,
            check_steps=args.check,
            batch_size=args.batch_size,
            workers=args.workers,
        )
    except ValueError as error:
        raise DataError(str(error)) from error
    if not figures["objects"]:
        raise DataError(f"{args.config}: its test frames hold no object to certify")
    _print(figures, len(ready.indices))
    if args.json:
        settings = settings_of(
            ready.config, args.config, args.checkpoint, ready.dataset, ready.indices
        )
        used = {
            "command": command_line("certify.py", argv),
            "cfg_options": args.cfg_options or {},
            "checkpoint": args.checkpoint,
            **settings,
            "frames": len(ready.indices),
            "device": run.device,
            "versions": versions(),
        }
        write_json(args.json, used | figures)


def _print(figures: dict, frames: int) -> None:
    total = figures["objects"]
    print(f"{frames} frames, {total} objects, score > {figures['threshold']:g}")
    print(f"found on clean inputs: {figures['found'] / total:.1%}")
    for name, values in figures["sensors"].items():
        line = (
            f"certified against any change of {name}: {values['certified'] / total:.1%}"
        )
        if figures["check_steps"]:
            line += (
                f"; found under attack: {values['found_attacked'] / total:.1%}, "
                f"certified objects hidden: {values['violations']}"
            )
        print(line)


if __name__ == "__main__":
    run_tool(main)
