"""Attack a detector's sensors and report what is left of its AP.

Each threat model has a name, see --list. For each one the tool runs the attack over
the config's test frames and writes into DIR:

  results.json         AP clean and attacked (this task's overlaps and KITTI's), gate
                       decisions, success and detection loss per frame, every threat
                       model in full, and what is needed to reproduce it all
  NAME/frames.jsonl    labels and detections of every frame, clean and attacked; each
                       batch is added when it is done, so --resume loses at most one
  NAME/data            with --save-data: the attacked frames in KITTI's layout, as
                       small as the detector sees them; about.json has KITTI's least
                       heights for them, without which AP is that of other objects

A goal may go around a gate: detection|none*0.1 (the gate shall keep quiet, weight 0.1),
|attribute:SENSOR*0.1 (it shall name that sensor), |expert:SENSOR or |expert:none (as if
it had named that one, or nobody), |branch (what the attacked sensor says alone), |fused
or |parts (before the fusion bounds it, or all that it chooses from).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tqdm import tqdm

from perception.cli.attacking import (
    add_attacks,
    add_detector,
    add_frames,
    add_threat_changes,
    one_detector,
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
from perception.core.locks import sole_user
from perception.core.shards import at_work
from perception.evaluation.robustness.spec import AttackRun, AttacksSpec, AuditRun

EXAMPLES = """\
examples:
  python tools/attack.py --list
  python tools/attack.py configs/synthetic/concat.py CHECKPOINT \\
      --threat camera_pgd lidar_pgd depth_pgd --num 24 --out work_dirs/attack
  python tools/attack.py CONFIG CHECKPOINT --threat camera_pgd --eps 4 --steps 40
  python tools/attack.py CONFIG CHECKPOINT --threat lidar_pgd \\
      --eps depth_m=1 reflectance=0.1 --goal hide
  python tools/attack.py CONFIG CHECKPOINT --threat standard --resume
  python tools/attack.py CONFIG CHECKPOINT --threat quick --num 8 --audit
  python tools/attack.py CONFIG CHECKPOINT --threat camera_pgd --save-data
  python tools/attack.py --target my_target:build --data configs/synthetic/concat.py \\
      --threat camera_pgd camera_square_predictions --num 24
  python tools/test.py CONFIG CHECKPOINT \\
      --cfg-options data_root=work_dirs/attack/camera_pgd/data \\
      "test_evaluator.difficulties=[(easy,20,0,.15),(moderate,12.5,1,.3),(hard,12.5,2,.5)]"
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = Parser(description=__doc__, epilog=EXAMPLES)
    add_detector(parser, own=True)
    what = "threat models or suites to run"
    add_attacks(parser, "threats", "attacks_file", default=None, help=what)
    add_options(parser, AttackRun, "out", out={"default": "work_dirs/attack"})
    option(parser, "--list", "list the names and what they mean", False)
    what = "instead of reporting AP, check that the detector does not fool the attacks "
    what += (
        "(attacks of one type on maps; eight frames are a start): PASS or FAIL with "
    )
    what += "figures, audit.json, exit status 1 on a failure"
    option(parser, "--audit", what, False)
    save = "write the attacked frames in KITTI's layout at the detector's input "
    save += "resolution, rounded within the budget"
    add_options(parser, AttackRun, "resume", "save_data", save_data=save)
    add_attacks(parser, "source")
    patch = "patch threats show this trained patch (tools/train_patch.py) instead of "
    patch += "searching for one in each frame"
    add_options(parser, AttacksSpec, "patch", patch=patch)
    add_threat_changes(parser)
    add_options(add_frames(parser, by_name=True), AttackRun, "score_threshold")
    add_running(parser, batch_size="frames attacked at a time")
    add_shards(parser)
    args = parser.parse_args(argv)
    if args.list:
        return args
    if not args.threats:
        parser.error("CONFIG, CHECKPOINT and --threat are needed (or --list)")
    args.detector = one_detector(parser, args)
    if args.audit and (args.resume or args.save_data):
        parser.error("--audit takes neither --resume nor --save-data")
    if args.audit and (args.shard is not None or args.merge is not None):
        parser.error("--audit takes neither --shard nor --merge")
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    from perception.evaluation.audit.run import audit_detector
    from perception.evaluation.robustness.attack import run_attacks
    from perception.evaluation.robustness.attack_file import AttackFile
    from perception.evaluation.robustness.tables import attack_table

    if args.list:
        print(AttackFile(args.attacks_file).listing())
        return
    if args.audit:
        run = run_of(AuditRun, args, "attack.py", argv, detector=args.detector)
        with sole_user(args.out, "an audit"):
            report = audit_detector(run, lambda check: tqdm.write(check.line()))
        print(
            f"{len(report.checks) - len(report.failed())} checks passed, "
            f"{len(report.failed())} failed; {args.out}/audit.json"
        )
        sys.exit(0 if report.passed else 1)
    shard = shard_of(args)
    asked = run_of(AttackRun, args, "attack.py", argv, detector=args.detector)
    with at_work(args.out, "attacks", shard):
        results = run_attacks(asked)
    if shard is not None:
        print(told_of_shard(shard, "--merge"))
    if results is None:  # a shard, or a rank of torchrun that only helped
        return
    print(attack_table(results))
    print(f"{args.out}/results.json")
