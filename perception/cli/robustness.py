"""Attack several detectors with every threat model and compare what is left.

Names of attacks and suites are those of `tools/attack.py --list`. An attack that does
not fit a detector (LiDAR points, and there is no LiDAR) is listed as "does not apply";
one that fails is listed as failed, the others go on, and the exit status is 1.
DIR receives

  robustness.json      per detector: AP clean and under each attack, worst case per
                       sensor and overall, differences to the baseline, the oracle (a
                       fusion that is told which sensor is compromised), whom the gate
                       attributes alarms to, AUROC and detection delay, mCE and mRR of
                       failures, audit flags; mean and spread where a config comes with
                       several checkpoints
  robustness.md        the same as tables
  DETECTOR/            every frame: results.json as tools/attack.py writes it, and one
                       folder per attack

Each batch of frames is on disk as soon as it is attacked: started again with the same
words, the tool goes on where it stopped; with further attacks or detectors beside the
earlier ones, it adds them. Words that leave out something that DIR has are refused.
Results are the same whatever --jobs, since each attack runs on one CPU thread.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from perception.cli.attacking import (
    add_attacks,
    add_frames,
    add_target,
    detectors_of,
    run_of,
)
from perception.cli.options import (
    Parser,
    add_options,
    add_running,
    add_shards,
    option,
    shard_of,
    told_of_shard,
)
from perception.core.shards import at_work
from perception.core.structures import DataError
from perception.evaluation.robustness.spec import RobustnessRun

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

  # a system of your own beside one of ours
  python tools/robustness.py CONFIG CHECKPOINT --target my_target:build \\
      --data CONFIG --suite quick --out DIR

  # on several machines with a common folder: this on the second of four, then with
  # --merge instead on one of them; folders of their own: --merge DIR DIR DIR DIR
  python tools/robustness.py CONFIG CHECKPOINT --suite full --out DIR --shard 2/4

  # on several GPUs: each rank takes every n-th batch; without the "--" torchrun takes
  # our --num for one of its own options
  torchrun --nproc-per-node 4 -- tools/robustness.py CONFIG CHECKPOINT \\
      --suite full --out DIR
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = Parser(description=__doc__, epilog=EXAMPLES)
    parser.add_argument(
        "detectors",
        nargs="*",
        metavar="CONFIG CHECKPOINT",
        help="config file and weights (.pth or .safetensors) of each detector",
    )
    add_target(parser, nargs="+")
    what = "quick, quiet, standard, full, failures, … of the attacks file (default: "
    what += "quick and quiet, unless --threat is given)"
    option(parser, "--suite SUITE", what, nargs="+")
    add_attacks(parser, "threats", default=[], help="single attacks")
    more = {
        "names": "names of the detectors (default: from the configs' paths)",
        "baseline": "name of the one to compare with (default: the first)",
    }
    add_options(parser, RobustnessRun, "out", "names", "baseline", **more)
    add_attacks(parser, "attacks_file", "source")
    group = add_frames(parser, "frames and further figures")
    what = (
        "audit each detector with --probe, as tools/attack.py --audit does; with DIR: "
    )
    what += "take the audit.json files below it that are about these weights"
    option(group, "--audit DIR", what, nargs="?", const="")
    curve = {"type": _factor}
    add_options(group, RobustnessRun, "audit_num", "curve", "probe", curve=curve)
    running = add_running(parser, batch_size="frames attacked at a time")
    add_options(running, RobustnessRun, "processes", "resume")
    add_shards(parser)
    args = parser.parse_args(argv)
    args.detectors = detectors_of(parser, args, args.detectors)
    return args


def _factor(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above zero, got {text}")
    return value


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    if args.audit and not Path(args.audit).is_dir():
        raise DataError(f"--audit {args.audit}: no such folder")
    shard = shard_of(args)
    from perception.evaluation.robustness.attack_file import AttackFile
    from perception.evaluation.robustness.grid import run_robustness
    from perception.evaluation.robustness.tables import markdown

    suites = args.suite
    if suites is None:
        known = [] if args.threats else AttackFile(args.attacks_file).suites
        suites = [name for name in ("quick", "quiet") if name in known]
    run = run_of(
        RobustnessRun,
        args,
        *("robustness.py", argv),
        detectors=args.detectors,
        threats=[*suites, *args.threats],
        audit=args.audit == "",
        audit_dir=args.audit or None,
    )
    with at_work(args.out, "attacks", shard):
        results = run_robustness(run)
    if shard is not None:
        print(told_of_shard(shard, "--merge"))
    if results is None:  # a shard, or a rank of torchrun that only helped
        return
    print(markdown(results))
    print(f"{args.out}/robustness.json")
    if any(detector.failed for detector in results.detectors):
        sys.exit(1)
