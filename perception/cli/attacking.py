"""What the tools that attack share: options that change threat models, and the run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from perception.cli.options import (
    Group,
    Run,
    add_options,
    assignments,
    command_line,
    from_args,
    option,
    pick_device,
)
from perception.core.structures import DataError
from perception.evaluation.robustness.spec import (
    AttacksSpec,
    DetectorSpec,
    FramesSpec,
)

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
    "goal": {"help": "detection, hide, create, class:NAME, displace, …"},
    "seed": {"type": int, "help": "seed of every random draw"},
    "set": {
        "nargs": "+",
        "metavar": "FIELD=VALUE",
        "help": "any other field, e.g. count=50 or radius_m=0.3",
    },
}

_TARGET = (
    "a system of your own instead of CONFIG CHECKPOINT: module:function that makes "
)
_TARGET += "a target (with --data), or a config with target=dict(type=...)"


def add_detector(parser: Group, *, own: bool = False, **more: Any) -> None:
    """Config and checkpoint, or (``own``) a target instead; ``more`` is for both."""
    names = ("config", "checkpoint")
    more = {"nargs": "?"} | more if own else more
    add_options(parser, DetectorSpec, *names, **dict.fromkeys(names, more))
    if own:
        add_target(parser)


def add_target(parser: Group, **more: Any) -> None:
    """``--target`` and ``--data``; ``more`` is for the first."""
    option(parser, "--target TARGET", _TARGET, **more)
    option(parser, "--data CONFIG", "config whose test frames such a function gets")


def detectors_of(
    parser: argparse.ArgumentParser, args: argparse.Namespace, pairs: Sequence[str]
) -> list[DetectorSpec]:
    """What CONFIG CHECKPOINT ... and --target say; ends with an error if neither does.

    Args:
        parser: Says what is wrong.
        args: With ``target``, ``data`` and ``cfg_options``.
        pairs: Configs and checkpoints by turns.
    """
    if len(pairs) % 2:
        parser.error("every CONFIG needs its CHECKPOINT (or use --target)")
    said = [args.target] if isinstance(args.target, str) else args.target or []
    fields: list[dict[str, Any]] = [
        {"config": config, "checkpoint": checkpoint}
        for config, checkpoint in zip(pairs[::2], pairs[1::2], strict=True)
    ]
    for target in said:
        is_config = target.endswith((".py", ".json"))
        if is_config:
            fields.append({"config": target, "checkpoint": ""})
        elif args.data is None:
            parser.error(f"--target {target} needs --data, a config with frames")
        else:
            fields.append({"config": args.data, "checkpoint": "", "target": target})
    if args.data is not None and all("target" not in one for one in fields):
        parser.error("--data goes with --target module:function")
    if not fields:
        parser.error(
            "CONFIG and CHECKPOINT, or --target, are needed; they come before options "
            "that take several words, such as --threat"
        )
    return [DetectorSpec(cfg_options=args.cfg_options, **one) for one in fields]


def one_detector(
    parser: argparse.ArgumentParser, args: argparse.Namespace
) -> DetectorSpec:
    """As :func:`detectors_of`, of ``config`` and ``checkpoint``; exactly one."""
    pair = [one for one in (args.config, args.checkpoint) if one is not None]
    if pair and args.target:
        parser.error("give CONFIG and CHECKPOINT or --target, not both")
    (detector,) = detectors_of(parser, args, pair)
    return detector


def add_attacks(parser: Group, *names: str, **threats: Any) -> None:
    """``--threat`` and ``--attacks``, or others; ``threats`` is for the first."""
    names = names or ("threats", "attacks_file")
    add_options(parser, AttacksSpec, *names, threats=threats)


def add_frames(
    parser: argparse.ArgumentParser,
    title: str = "frames (default: all test frames)",
    *,
    by_name: bool = False,
) -> argparse._ArgumentGroup:
    """``--split``, ``--num`` and, ``by_name``, ``--frames``; returns their group."""
    group = parser.add_argument_group(title)
    add_options(group, FramesSpec, "split")
    which = group.add_mutually_exclusive_group()
    add_options(which, FramesSpec, "num", *(("frames",) if by_name else ()))
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


def run_of(
    cls: type[Run],
    args: argparse.Namespace,
    tool: str,
    argv: Sequence[str] | None,
    **more: Any,
) -> Run:
    """The run that the arguments of ``tools/<tool>`` ask for; ``more`` as below.

    See :func:`from_args`.
    """
    if "set" in vars(args):
        more["changes"] = threat_changes(args)
    device = more.pop("device", None) or pick_device(args.device)
    return from_args(cls, args, command=command_line(tool, argv), device=device, **more)
