"""What the command-line tools share."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from perception.core.structures import DataError

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


def fail_on(problems: Sequence[str], where: object) -> None:
    """Print problems, one per line, and raise DataError if there are any."""
    if problems:
        print("\n".join(problems))
        raise DataError(f"{where}: {len(problems)} problem(s), listed above")


def one_line(error: DataError) -> str:
    """The message alone, also of an error that comes from a data loader's worker.

    PyTorch puts the worker's traceback, which ends with the message, in its place.
    """
    message = str(error).strip().splitlines()[-1]
    return message.removeprefix(f"{DataError.__module__}.DataError: ")


def command_line(tool: str, argv: Sequence[str] | None) -> str:
    """The command that started ``tools/<tool>``, for its results.

    Args:
        tool: The file's name, e.g. ``attack.py``.
        argv: The tool's arguments; None takes those of this process.
    """
    words = sys.argv[1:] if argv is None else argv
    return shlex.join(["python", f"tools/{tool}", *words])


def assignments(
    option: str, words: Iterable[str], form: str = "KEY=VALUE"
) -> dict[str, Any]:
    """``["a=1", "b=[x,y]"]`` as a config takes it: ``{"a": 1, "b": ["x", "y"]}``.

    Args:
        option: What the words were given to, for errors.
        words: The words.
        form: What they are called in the help.

    Raises:
        DataError: If one is not of this form, or its brackets do not match.
    """
    from mmengine.config import DictAction

    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not (key and equals):
            raise DataError(f"{option} takes {form}, got {word!r}")
        try:
            found[key] = DictAction._parse_iterable(value)
        except AssertionError as error:
            raise DataError(f"{option}: brackets do not match in {word!r}") from error
    return found


class _ConfigOptions(argparse.Action):
    """``KEY=VALUE ...`` to a dictionary, to which a repeated option adds."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        before = getattr(namespace, self.dest) or {}
        added = assignments("--cfg-options", values)
        setattr(namespace, self.dest, before | added)


def add_config_options(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup, of: str
) -> None:
    """``--cfg-options``; ``of`` says whose entries it sets, with an example."""
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=_ConfigOptions,
        metavar="KEY=VALUE",
        help=f"set entries of {of}",
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


def add_device(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """``--device``, for :func:`pick_device`."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, …")


def add_running_options(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup, batch: str, of: str
) -> None:
    """Where and how a tool runs detectors, and ``--cfg-options``.

    Batch size and workers change no result beyond rounding; a device of another kind
    rounds otherwise as well.

    Args:
        parser: What to add them to.
        batch: What happens to a batch, e.g. ``frames attacked``.
        of: See :func:`add_config_options`.
    """
    add_device(parser)
    parser.add_argument(
        "--batch-size", type=positive, default=8, help=f"{batch} at a time"
    )
    parser.add_argument(
        "--workers", type=non_negative, default=0, help="data loading processes"
    )
    add_config_options(parser, of)


def add_split_options(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup,
) -> None:
    """``--split`` and ``--num``: which test frames of a config, by default all."""
    parser.add_argument("--split", help="name of a file in ImageSets, or a .txt file")
    parser.add_argument(
        "--num", type=positive, help="only so many frames, spread evenly over the split"
    )


def add_score_threshold(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup, what: str
) -> None:
    """``--score-threshold``; ``what`` says what becomes of detections below it."""
    parser.add_argument("--score-threshold", type=float, default=0.3, help=what)


def export_local_rank(rank: int) -> None:
    """Make the rank given as an argument known where MMEngine looks for it."""
    os.environ.setdefault("LOCAL_RANK", str(rank))


def positive(text: str) -> int:
    """A whole number above zero, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def non_negative(text: str) -> int:
    """A whole number, zero or above, for argparse."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be at least 0, got {value}")
    return value


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
