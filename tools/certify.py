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
    from perception.core.provenance import versions
    from perception.core.structures import DataError
    from perception.evaluation.certified_run import certify
    from perception.evaluation.robustness.spec import (
        CertifyRun,
        DetectorSpec,
        FramesSpec,
        Running,
    )
    from perception.evaluation.robustness.subject import load_subject

    detector = DetectorSpec(
        config=args.config, checkpoint=args.checkpoint, cfg_options=args.cfg_options
    )
    run = CertifyRun(
        detector=detector,
        frames=FramesSpec(split=args.split, num=args.num),
        running=Running(
            batch_size=args.batch_size,
            workers=args.workers,
            device=pick_device(args.device),
            command=command_line("certify.py", argv),
        ),
        score_threshold=args.score_threshold,
        check_steps=args.check,
    )
    subject = load_subject(
        run.detector,
        run.frames,
        device=run.running.device,
        score_threshold=run.score_threshold,
    )
    try:
        figures = certify(subject, run.running, check_steps=run.check_steps)
    except ValueError as error:
        raise DataError(str(error)) from error
    if not figures["objects"]:
        raise DataError(f"{args.config}: its test frames hold no object to certify")
    _print(figures, len(subject.indices))
    if args.json:
        used = {
            "command": run.running.command,
            "cfg_options": args.cfg_options or {},
            "checkpoint": args.checkpoint,
            **subject.settings,
            "frames": len(subject.indices),
            "device": run.running.device,
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
