"""What the command-line tools share."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from perception.structures import DataError

# Idle OpenMP threads must sleep, not spin: with as many busy programs as cores,
# spinning made a training step ten times slower. Read when PyTorch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


class HelpFormatter(
    argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter
):
    """Shows defaults and keeps the line breaks of examples."""


def run_tool(main: Callable[[], None]) -> None:
    """Run a tool; bad input ends it with one line and exit status 2."""
    try:
        main()
    except DataError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def one_line(error: DataError) -> str:
    """The message alone, also of an error that comes from a data loader's worker.

    PyTorch puts the worker's traceback, which ends with the message, in its place.
    """
    message = str(error).strip().splitlines()[-1]
    return message.removeprefix(f"{DataError.__module__}.DataError: ")


def add_config_options(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup, of: str
) -> None:
    """``--cfg-options``; ``of`` says whose entries it sets, with an example."""
    from mmengine.config import DictAction

    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=DictAction,
        metavar="KEY=VALUE",
        help=f"set entries of {of}",
    )


def add_attacks_file(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup,
) -> None:
    """``--attacks``: the file that defines attacks by name, ours unless given."""
    standard = Path(__file__).parents[1] / "configs/_base_/attacks/standard.py"
    parser.add_argument(
        "--attacks",
        default=str(standard),
        metavar="FILE",
        help="file that defines attacks and suites",
    )


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of every tool that runs a config."""
    add_config_options(parser, "the config, e.g. train_cfg.max_epochs=2")
    parser.add_argument(
        "--launcher",
        choices=("none", "pytorch", "slurm"),
        default="none",
        help="how several processes were started; pytorch is torchrun",
    )
    # torchrun of some versions passes it; MMEngine reads the environment.
    parser.add_argument(
        "--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS
    )


def add_running_options(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup, batch: str, of: str
) -> None:
    """What changes no result of a tool that runs detectors, and ``--cfg-options``.

    Args:
        parser: What to add them to.
        batch: What happens to a batch, e.g. ``frames attacked``.
        of: See :func:`add_config_options`.
    """
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, …")
    parser.add_argument(
        "--batch-size", type=positive, default=8, help=f"{batch} at a time"
    )
    parser.add_argument("--workers", type=int, default=0, help="data loading processes")
    add_config_options(parser, of)


def export_local_rank(rank: int) -> None:
    """Make the rank given as an argument known where MMEngine looks for it."""
    os.environ.setdefault("LOCAL_RANK", str(rank))


def positive(text: str) -> int:
    """A whole number above zero, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


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


def pick_device(name: str) -> str:
    """``auto`` is the first CUDA device, if there is one; others must be usable."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"--device {name}: cannot be used ({reason})") from error
    return name
