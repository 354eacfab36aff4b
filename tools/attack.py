"""Attack a detector's sensors and report what is left of its AP."""

from __future__ import annotations

import argparse
import sys

from perception.cli.attack_options import (
    add_attacks_file,
    add_threat_changes,
    threat_changes,
)
from perception.cli.options import (
    HelpFormatter,
    add_running_options,
    add_score_threshold,
    command_line,
    pick_device,
    positive,
    run_tool,
)

DESCRIPTION = """\
Attack a detector's sensors and report what is left of its AP.

Each threat model has a name, see --list. For each one the tool runs the attack over
the config's test frames and writes into DIR:

  results.json         AP clean and attacked (this task's overlaps and KITTI's), gate
                       decisions, success and damage per frame, every threat model in
                       full, and what is needed to reproduce it all
  NAME/frames.jsonl    labels and detections of every frame, clean and attacked; each
                       batch is added when it is done, so --resume loses at most one
  NAME/data            with --save-data: the attacked frames in KITTI's layout, as
                       small as the detector sees them; about.json has KITTI's least
                       heights for them, without which AP is that of other objects
"""

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
  python tools/test.py CONFIG CHECKPOINT \\
      --cfg-options data_root=work_dirs/attack/camera_pgd/data \\
      "test_evaluator.difficulties=[(easy,20,0,.15),(moderate,12.5,1,.3),(hard,12.5,2,.5)]"
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=DESCRIPTION, epilog=EXAMPLES, formatter_class=HelpFormatter
    )
    parser.add_argument("config", nargs="?", help="config file of the detector")
    parser.add_argument("checkpoint", nargs="?", help=".pth or .safetensors file")
    parser.add_argument(
        "--threat", nargs="+", metavar="NAME", help="threat models or suites to run"
    )
    parser.add_argument(
        "--out", default="work_dirs/attack", metavar="DIR", help="folder for results"
    )
    add_attacks_file(parser)
    parser.add_argument(
        "--list", action="store_true", help="list the names and what they mean"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with the results in DIR"
    )
    parser.add_argument(
        "--save-data",
        action="store_true",
        help="write the attacked frames in KITTI's layout at the detector's input "
        "resolution, rounded within the budget",
    )
    parser.add_argument(
        "--audit",
        action="store_true",
        help="instead of reporting AP, check that the detector does not fool the "
        "attacks (attacks of one type on maps; eight frames are a start): PASS or FAIL "
        "with figures, audit.json, exit status 1 on a failure",
    )
    parser.add_argument(
        "--source",
        nargs=2,
        metavar=("CONFIG", "CHECKPOINT"),
        help="detector on which transfer attacks are crafted",
    )
    parser.add_argument(
        "--patch",
        metavar="PNG",
        help="patch threats show this trained patch (tools/train_patch.py) instead of "
        "searching for one in each frame",
    )
    add_threat_changes(parser)
    _add_frames(parser)
    group = parser.add_argument_group("running")
    add_running_options(
        group, "frames attacked", "the config, e.g. data_root=data/kitti"
    )
    args = parser.parse_args(argv)
    if not args.list and not (args.config and args.checkpoint and args.threat):
        parser.error("CONFIG, CHECKPOINT and --threat are needed (or --list)")
    if args.audit and (args.resume or args.save_data):
        parser.error("--audit takes neither --resume nor --save-data")
    return args


def _add_frames(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("frames (default: all test frames)")
    group.add_argument("--split", help="name of a file in ImageSets, or a .txt file")
    which = group.add_mutually_exclusive_group()
    which.add_argument("--frames", nargs="+", metavar="ID", help="only these frames")
    which.add_argument(
        "--num", type=positive, help="only so many, spread evenly over the split"
    )
    add_score_threshold(group, "detections below it do not count for per-frame success")


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    from perception.evaluation.audit.run import audit_detector
    from perception.evaluation.robustness.attack import run_attacks
    from perception.evaluation.robustness.attack_file import AttackFile
    from perception.evaluation.robustness.spec import (
        AttackRun,
        AttacksSpec,
        AuditRun,
        DetectorSpec,
        FramesSpec,
        Running,
    )
    from perception.evaluation.robustness.tables import attack_table

    if args.list:
        print(AttackFile(args.attacks).listing())
        return
    detector = DetectorSpec(
        config=args.config, checkpoint=args.checkpoint, cfg_options=args.cfg_options
    )
    attacks = AttacksSpec(
        threats=args.threat,
        attacks_file=args.attacks,
        source=args.source and (args.source[0], args.source[1]),
    )
    frames = FramesSpec(split=args.split, frames=args.frames, num=args.num)
    running = Running(
        batch_size=args.batch_size,
        workers=args.workers,
        device=pick_device(args.device),
        command=command_line("attack.py", argv),
    )
    if args.audit:
        report = audit_detector(
            AuditRun(
                detector=detector,
                attacks=attacks,
                out=args.out,
                frames=frames,
                running=running,
                changes=threat_changes(args),
            ),
            lambda check: print(check.line(), flush=True),
        )
        print(
            f"{len(report.checks) - len(report.failed())} checks passed, "
            f"{len(report.failed())} failed; {args.out}/audit.json"
        )
        sys.exit(0 if report.passed else 1)
    run = AttackRun(
        detector=detector,
        attacks=attacks,
        out=args.out,
        frames=frames,
        running=running,
        changes=threat_changes(args),
        patch=args.patch,
        resume=args.resume,
        save_data=args.save_data,
        score_threshold=args.score_threshold,
    )
    print(attack_table(run_attacks(run)))
    print(f"{args.out}/results.json")


if __name__ == "__main__":
    run_tool(main)
