"""What the tools that attack share: options that change threat models, and the run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from perception.cli.options import (
    Options,
    add_options,
    assignments,
    command_line,
    from_args,
    pick_device,
)
from perception.core.structures import DataError
from perception.evaluation.robustness.spec import AttackRun

CHANGES: dict[str, dict[str, Any]] = {
    "sensor": {"help": "attack this sensor instead"},
    "eps": {
        "nargs": "+",
        "metavar": "EPS",
        "help": "budget: a number in the sensor's unit, or CHANNEL=NUMBER for each "
        "channel that may change",
    },
    "steps": {"type": int, "help": "steps or queries per restart"},
    "restarts": {"type": int, "help": "independent tries"},
    "goal": {"help": "detection, hide, create, class:NAME, …"},
    "seed": {"type": int, "help": "seed of every random draw"},
    "set": {
        "nargs": "+",
        "metavar": "FIELD=VALUE",
        "help": "any other field, e.g. count=50 or radius_m=0.3",
    },
}


def add_detector(parser: Options, **more: Any) -> None:
    """Config and checkpoint; ``more`` is for both."""
    add_options(parser, AttackRun, "config", "checkpoint", config=more, checkpoint=more)


def add_frames(parser: Options, *names: str, **more: Any) -> argparse._ArgumentGroup:
    """``--split`` and others that say which frames, by default all of the test."""
    group = parser.add_argument_group("frames (default: all test frames)")
    add_options(group, AttackRun, *names, **more)
    return group


def add_threat_changes(parser: argparse.ArgumentParser) -> None:
    """Options that replace fields of the threat models."""
    group = parser.add_argument_group(
        "changes to the threat models",
        "A changed threat model tells it in its name: camera_pgd@eps=4,steps=40.",
    )
    for name, settings in CHANGES.items():
        group.add_argument(f"--{name}", **settings)


def threat_changes(
    args: argparse.Namespace,
    names: Sequence[str] = ("sensor", "steps", "restarts", "goal", "seed", "eps"),
) -> dict[str, Any]:
    """Fields of the threat models that the command line replaces, in this order."""
    given = {name: vars(args)[name] for name in names if vars(args)[name] is not None}
    if "eps" in given:
        given["eps"] = budget(given["eps"])
    more = getattr(args, "set", None) or ()
    return given | assignments("--set", more, form="FIELD=VALUE")


def budget(words: Sequence[str]) -> float | dict[str, float]:
    """``["4"]`` is 4; ``["depth_m=1", "height_m=0.1"]`` a budget per channel."""
    try:
        if len(words) == 1 and "=" not in words[0]:
            return float(words[0])
        pairs = [word.split("=", 1) for word in words]
        return {channel: float(value) for channel, value in pairs}
    except ValueError as error:
        raise DataError(
            f"--eps takes one number or CHANNEL=NUMBER ..., got {' '.join(words)!r}"
        ) from error


def attack_run(
    args: argparse.Namespace, tool: str, argv: Sequence[str] | None, **more: Any
) -> AttackRun:
    """The run that the arguments of ``tools/<tool>`` ask for."""
    if source := getattr(args, "source", None):
        more["source"] = {"config": source[0], "checkpoint": source[1]}
    if "set" in vars(args):
        more["changes"] = threat_changes(args)
    more.setdefault("device", pick_device(args.device))
    return from_args(AttackRun, args, command=command_line(tool, argv), **more)
