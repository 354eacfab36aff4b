"""Check a system of your own: what it can do, and whether it can be believed.

A target may predict and nothing else, or give losses, scores, a gate. The tool says
which attacks that opens, and tries what attacks and tables take for granted:
predictions are well formed, repeatable, find labelled objects, and of a frame by itself
are those of the frame in a batch; losses are each frame's own; gradients arrive and
agree with finite differences; other sensors stay as they are to the bit; corruptions
change something, and so does the sensor. Then the audit tries attacks
(tools/attack.py --audit). Each line is PASS or FAIL; exit status 1 on a FAIL.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from perception.cli.attacking import add_detector, add_frames, one_detector, run_of
from perception.cli.options import Parser, add_running, option
from perception.evaluation.robustness.spec import DetectorRun

EXAMPLES = """\
examples:
  python tools/check_target.py --target my_target:build --data CONFIG
  python tools/check_target.py --target my_config.py --num 8 --no-audit
  python tools/check_target.py CONFIG CHECKPOINT
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = Parser(description=__doc__, epilog=EXAMPLES)
    add_detector(parser, own=True)
    option(parser, "--no-audit", "leave out the audit, which takes minutes", False)
    frames = add_frames(parser, "frames", by_name=True)
    frames.set_defaults(num=4)
    add_running(parser, batch_size="frames at a time; at least 2 are needed")
    args = parser.parse_args(argv)
    args.detector = one_detector(parser, args)
    if args.batch_size < 2:
        parser.error("--batch-size must be at least 2: frames are compared")
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    from perception.evaluation.audit.target_run import check_files

    run = run_of(DetectorRun, args, "check_target.py", argv, detector=args.detector)
    failed, count = check_files(
        run, audited=not args.no_audit, tell=lambda line: print(line, flush=True)
    )
    print(f"{count - failed} checks passed, {failed} failed")
    sys.exit(1 if failed else 0)
