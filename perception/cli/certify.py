"""Count what no attack on one sensor can hide, and where it can make nothing up.

For detectors with an aggregator (median, agreement, consensus). Whatever a single
sensor delivers, every output lies between what the others alone predict; from clean
frames the tool computes which objects stay detected under any such change, and above
which score no ghost can appear, a detection where no such object is. No attack is
needed for that. --check attacks every object by itself through every sensor, and tries
to make one up: the share of objects that survive stands beside the share that is
certified, and what contradicts the certificate is counted (nothing, or it is wrong).
--worst-case tells how far the bounds themselves reach: an attack that leaves about as
much AP is at its end.

For boxes in metres it also tells which objects stay within 2 and 4 m of their true
centre on the ground; --check then tries to move them, too. Brackets are 95 % intervals
over frames.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from perception.cli.attacking import add_detector, add_frames, run_of
from perception.cli.options import (
    Parser,
    add_options,
    add_running,
    add_shards,
    option,
    shard_of,
    told_of_shard,
)
from perception.core.files import write_json
from perception.core.shards import WHOLE, at_work, torchrun_shard
from perception.core.structures import DataError
from perception.evaluation.robustness.spec import CertifyRun

_OUT = "folder for a record of every frame, with which a run goes on where it was"
EXAMPLES = """\
examples:
  python tools/certify.py configs/synthetic/median.py \\
      work_dirs/synthetic_median/epoch_10.pth --json certificate.json
  python tools/certify.py CONFIG CHECKPOINT --score-threshold 0.1 --num 40 --check 20
  python tools/certify.py CONFIG CHECKPOINT --cfg-options model.aggregator.margin=0
  python tools/certify.py CONFIG CHECKPOINT --check 40 --check-share 0.0627 --num 24
  python tools/certify.py CONFIG CHECKPOINT --check 20 --out DIR --shard 2/4
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = Parser(description=__doc__, epilog=EXAMPLES)
    add_detector(parser)
    check = "attack every object by itself through every sensor, with so many steps"
    steps = {"flag": "--check", "metavar": "STEPS", "help": check}
    share = "how much of each channel's range they may change; 0.0627 is 16/255"
    names = ("score_threshold", "check_steps", "check_share", "out")
    add_options(
        parser, CertifyRun, *names, check_steps=steps, check_share=share, out=_OUT
    )
    what = "also estimate the AP left where every output takes its worst end"
    option(parser, "--worst-case", what, default=False)
    what = "write the figures and how to reproduce them"
    option(parser, "--json FILE", what)
    add_frames(parser)
    add_running(parser)
    add_shards(parser)
    args = parser.parse_args(argv)
    if args.out is None and (args.shard is not None or args.merge is not None):
        parser.error("--shard and --merge need --out, a folder for records of frames")
    if args.worst_case and args.shard is not None:
        parser.error("--worst-case needs all frames: give it with --merge")
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Certify and print one line per sensor."""
    args = parse_args(argv)
    from perception.core.provenance import versions
    from perception.evaluation.certificate.attackers import Attackers
    from perception.evaluation.certificate.corner import worst_case_ap
    from perception.evaluation.certificate.run import certify, certify_recorded
    from perception.evaluation.robustness.subject import load_subject

    shard = shard_of(args)
    if args.out is None and torchrun_shard() != WHOLE:
        raise DataError("several ranks of torchrun need --out, a folder for records")
    run = run_of(CertifyRun, args, "certify.py", argv)
    subject = load_subject(run)
    subject.require_boxes("the certificate is")
    try:
        if run.out is None:
            attackers = Attackers(run.check_steps, run.check_share)
            figures = certify(subject, run.running, attackers=attackers)
        else:
            with at_work(run.out, "certifying", shard):
                recorded = certify_recorded(run, subject, Path(run.out))
            if shard is not None:
                print(told_of_shard(shard, "--merge"))
            if recorded is None:  # a shard, or a rank of torchrun that only helped
                return
            figures = recorded
        if args.worst_case:
            figures |= {"worst_case": worst_case_ap(subject, run.running)}
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
    objects, sensors = figures["objects"], figures["sensors"]
    print(f"{frames} frames, {objects} objects, score > {figures['threshold']:g}")
    print(
        f"clean inputs: {figures['found'] / objects:.1%} found, no ghost in "
        f"{figures['ghost_free'] / frames:.1%} of the frames"
    )
    for name, values in sensors.items():
        line = (
            f"any change of {name}: {values['certified'] / objects:.1%} certified, no "
            f"ghost in {values['ghost_free'] / frames:.1%} of the frames"
        )
        if figures["check_steps"]:
            line += (
                f"; attacked one by one {values['survived'] / objects:.1%} survive, no "
                f"ghost was made up in {values['not_fooled'] / frames:.1%}; "
                f"certificates contradicted: {values['violations']}"
            )
        print(line)
    if "within" in figures:
        _print_within(figures)
    for name, one in figures.get("worst_case", {}).items():
        low, high = one["interval"] or (math.nan, math.nan)
        print(
            f"any change of {name}: mean AP about {one['mean_ap']:.1f} "
            f"[{low:.1f}, {high:.1f}] where every output is at its worst (an estimate)"
        )
    for threshold in next(iter(sensors.values()))["at"]:
        at = [values["at"][threshold] for values in sensors.values()]
        found = " / ".join(f"{one['certified'] / objects:.1%}" for one in at)
        free = " / ".join(f"{one['ghost_free'] / frames:.1%}" for one in at)
        print(f"score > {threshold}: certified {found}, no ghost {free}")


def _print_within(figures: dict) -> None:
    """Shares of objects whose best detection is so near, and stays so."""
    objects = figures["objects"]

    def told(within: dict) -> str:
        shares = []
        for limit, one in within.items():
            share = f"{one['objects'] / objects:.1%}"
            if one["interval"]:
                low, high = one["interval"]
                share += f" [{low:.1%}, {high:.1%}]"
            shares.append(f"{share} within {limit} m")
        return ", ".join(shares)

    print(f"clean inputs: {told(figures['within'])} of the object's centre")
    for name, values in figures["sensors"].items():
        within = values["within"]
        line = f"any change of {name}: certified {told(within['certified'])}"
        if within["attacked"]:
            line += f"; under attack {told(within['attacked'])}"
        print(line)
