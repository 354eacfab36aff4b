"""Attack several detectors with every threat model and compare what is left."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from perception.cli.attack_options import add_attacks_file
from perception.cli.options import (
    HelpFormatter,
    add_running_options,
    add_split_options,
    command_line,
    pick_device,
    positive,
    run_tool,
)
from perception.core.structures import DataError

DESCRIPTION = """\
Attack several detectors with every threat model and compare what is left.

Names of attacks and suites are those of `tools/attack.py --list`. An attack that does
not fit a detector (LiDAR points, and there is no LiDAR) is listed as "does not apply";
one that fails is listed as failed, the others go on, and the exit status is 1.
DIR receives

  robustness.json      per detector: AP clean and under each attack, worst case per
                       sensor and overall, differences to the baseline, the oracle (a
                       fusion that is told which sensor lies), whom the gate blames,
                       AUROC and detection delay, mCE and mRR of failures, audit flags;
                       mean and spread where a config comes with several checkpoints
  robustness.md        the same as tables
  DETECTOR/            every frame: results.json as tools/attack.py writes it, and one
                       folder per attack

Each batch of frames is on disk as soon as it is attacked: started again with the same
words, the tool goes on where it stopped; with further attacks or detectors beside the
earlier ones, it adds them. Words that leave out something that DIR has are refused.
Results are the same whatever --jobs, since each attack runs on one CPU thread.
"""

EXAMPLES = """\
examples:
  # two detectors, three attacks, four frames: does everything work?
  python tools/robustness.py configs/synthetic/concat.py concat.pth \\
      configs/synthetic/odd_one_out.py robust.pth \\
      --suite quick --num 4 --out work_dirs/robustness_trial

  # the real thing: all test frames, adaptive attacks, points, patches; two processes
  python tools/robustness.py CONFIG_A A.pth CONFIG_B B.pth --suite standard --jobs 2 \\
      --out work_dirs/robustness

  # failures alone, for mCE (relative to the first detector) and mRR
  python tools/robustness.py CONFIG_A A.pth CONFIG_B B.pth --suite failures --out DIR

  # three trainings of one config: mean ± standard deviation
  python tools/robustness.py CONFIG seed0.pth CONFIG seed1.pth CONFIG seed2.pth \\
      --names s0 s1 s2 --suite quick --out DIR

  # AP over the budget, and an audit of each detector
  python tools/robustness.py CONFIG CHECKPOINT --suite quick --curve 0.25 0.5 1 2 \\
      --audit --out DIR

  # on several machines or GPUs: each rank takes every n-th attack; without the "--"
  # torchrun takes our --num for one of its own options
  torchrun --nproc-per-node 4 -- tools/robustness.py CONFIG CHECKPOINT \\
      --suite full --out DIR
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=DESCRIPTION, epilog=EXAMPLES, formatter_class=HelpFormatter
    )
    parser.add_argument(
        "detectors",
        nargs="+",
        metavar="CONFIG CHECKPOINT",
        help="config file and weights (.pth or .safetensors) of each detector",
    )
    parser.add_argument(
        "--suite",
        nargs="+",
        default=None,
        metavar="SUITE",
        help="quick, quiet, standard, full, failures, … of the attacks file (default: "
        "quick and quiet, unless --threat is given)",
    )
    parser.add_argument(
        "--threat", nargs="+", default=[], metavar="NAME", help="single attacks"
    )
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="folder for the results"
    )
    parser.add_argument(
        "--names",
        nargs="+",
        default=[],
        metavar="NAME",
        help="names of the detectors (default: from the configs' paths)",
    )
    parser.add_argument(
        "--baseline",
        metavar="NAME",
        help="detector that others are compared with (default: the first)",
    )
    add_attacks_file(parser)
    parser.add_argument(
        "--source",
        nargs=2,
        metavar=("CONFIG", "CHECKPOINT"),
        help="detector on which transfer attacks are crafted (default: the file's)",
    )
    _add_more(parser)
    _add_running(parser)
    args = parser.parse_args(argv)
    if len(args.detectors) % 2:
        parser.error("every CONFIG needs its CHECKPOINT")
    return args


def _add_more(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("frames and further figures")
    add_split_options(group)
    group.add_argument(
        "--curve",
        nargs="+",
        type=_factor,
        default=[],
        metavar="FACTOR",
        help="also try these multiples of the budget of each of --probe",
    )
    group.add_argument(
        "--audit",
        nargs="?",
        const="",
        metavar="DIR",
        help="audit each detector with --probe, as tools/attack.py --audit does; with "
        "DIR: take the audit.json files below it that are about these weights",
    )
    group.add_argument(
        "--audit-num", type=positive, default=8, help="frames of an audit"
    )
    group.add_argument(
        "--probe",
        nargs="+",
        default=["quick"],
        metavar="NAME",
        help="attacks or suites that --curve and --audit work with",
    )


def _add_running(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("running")
    group.add_argument(
        "--jobs", type=positive, default=1, help="attacks done at a time, as processes"
    )
    group.add_argument(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="go on with the results in DIR",
    )
    add_running_options(
        group, "frames attacked", "every config, e.g. data_root=data/kitti"
    )


def _factor(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above zero, got {text}")
    return value


def _device(name: str) -> str:
    """The device asked for; under torchrun ``auto`` is each rank's own GPU."""
    import torch

    device = pick_device(name)
    rank = os.environ.get("LOCAL_RANK")
    if device == "cuda" and rank is not None:
        return f"cuda:{int(rank) % torch.cuda.device_count()}"
    return device


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    from perception.evaluation.robustness.attack_file import AttackFile
    from perception.evaluation.robustness.grid import run_robustness
    from perception.evaluation.robustness.old_spec import RobustnessRun
    from perception.evaluation.robustness.prepare import AttackRun
    from perception.evaluation.robustness.tables import markdown

    suites = args.suite
    if suites is None:
        known = [] if args.threat else AttackFile(args.attacks).suites
        suites = [name for name in ("quick", "quiet") if name in known]
    if args.audit and not Path(args.audit).is_dir():
        raise DataError(f"--audit {args.audit}: no such folder")
    common = AttackRun(
        config="",
        checkpoint="",
        out=args.out,
        attacks_file=args.attacks,
        source=args.source and {"config": args.source[0], "checkpoint": args.source[1]},
        cfg_options=args.cfg_options,
        split=args.split,
        num=args.num,
        resume=args.resume,
        batch_size=args.batch_size,
        workers=args.workers,
        device=_device(args.device),
        command=command_line("robustness.py", argv),
    )
    results = run_robustness(
        RobustnessRun(
            detectors=list(zip(args.detectors[::2], args.detectors[1::2], strict=True)),
            threats=[*suites, *args.threat],
            common=common,
            names=args.names,
            baseline=args.baseline,
            curve=args.curve,
            probe=args.probe,
            audit=args.audit == "",
            audit_dir=args.audit or None,
            audit_num=args.audit_num,
            processes=args.jobs,
        )
    )
    if results is None:  # a rank of torchrun that only helped
        return
    print(markdown(results))
    print(f"{args.out}/robustness.json")
    if any(detector["failed"] for detector in results["detectors"]):
        sys.exit(1)


if __name__ == "__main__":
    run_tool(main)
