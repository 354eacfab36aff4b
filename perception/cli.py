"""What the command-line tools share."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

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


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of every tool that runs a config."""
    from mmengine.config import DictAction

    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=DictAction,
        metavar="KEY=VALUE",
        help="set entries of the config, e.g. train_cfg.max_epochs=2",
    )
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


def export_local_rank(rank: int) -> None:
    """Make the rank given as an argument known where MMEngine looks for it."""
    os.environ.setdefault("LOCAL_RANK", str(rank))
