"""Options of the command-line tools that attack: which attacks, and what to change."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perception.cli.options import assignments
from perception.core.structures import DataError


def add_attacks_file(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup,
) -> None:
    """``--attacks``: the file that defines attacks by name, ours unless given."""
    standard = Path(__file__).parents[2] / "configs/_base_/attacks/standard.py"
    parser.add_argument(
        "--attacks",
        default=str(standard),
        metavar="FILE",
        help="file that defines attacks and suites",
    )


def add_threat_changes(parser: argparse.ArgumentParser) -> None:
    """Options that replace fields of the threat models."""
    group = parser.add_argument_group(
        "changes to the threat models",
        "A changed threat model tells it in its name: camera_pgd@eps=4,steps=40.",
    )
    group.add_argument("--sensor", help="attack this sensor instead")
    group.add_argument(
        "--eps",
        nargs="+",
        metavar="EPS",
        help="budget: a number in the sensor's unit, or CHANNEL=NUMBER for each "
        "channel that may change",
    )
    group.add_argument("--steps", type=int, help="steps or queries per restart")
    group.add_argument("--restarts", type=int, help="independent tries")
    group.add_argument("--goal", help="detection, hide, create, class:NAME, …")
    group.add_argument("--seed", type=int, help="seed of every random draw")
    group.add_argument(
        "--set",
        nargs="+",
        metavar="FIELD=VALUE",
        help="any other field, e.g. count=50 or radius_m=0.3",
    )


def threat_changes(args: argparse.Namespace) -> dict[str, Any]:
    """Fields of the threat models that the command line replaces."""
    names = ("sensor", "steps", "restarts", "goal", "seed")
    changes = {name: getattr(args, name) for name in names}
    changes = {name: value for name, value in changes.items() if value is not None}
    if args.eps is not None:
        changes["eps"] = budget(args.eps)
    return changes | assignments("--set", args.set or (), form="FIELD=VALUE")


def budget(words: Sequence[str] | None) -> float | dict[str, float] | None:
    """``["4"]`` is 4; ``["depth_m=1", "height_m=0.1"]`` a budget per channel."""
    if words is None:
        return None
    try:
        if len(words) == 1 and "=" not in words[0]:
            return float(words[0])
        pairs = [word.split("=", 1) for word in words]
        return {channel: float(value) for channel, value in pairs}
    except ValueError as error:
        raise DataError(
            f"--eps takes one number or CHANNEL=NUMBER ..., got {' '.join(words)!r}"
        ) from error
