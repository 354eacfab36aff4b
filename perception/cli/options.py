"""What the command-line tools share: parser, options from dataclasses, errors."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import os
import re
import shlex
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from perception.core.structures import DataError
from perception.core.words import did_you_mean, one_line, value_of

Run = TypeVar("Run")
Options = argparse.ArgumentParser | argparse._ActionsContainer

STANDARD_ATTACKS = Path(__file__).parents[2] / "configs/_base_/attacks/standard.py"
DETECTOR = ("CONFIG", "CHECKPOINT")
UNTOLD = (None, False, True, "", (), [], argparse.SUPPRESS)  # defaults that go without saying


def run_tool(main: Callable[[], None]) -> None:
    """Run a tool; bad input ends it with one line and exit status 2."""
    # Idle OpenMP threads must sleep, not spin: with as many busy programs as cores,
    # spinning made a training step ten times slower. PyTorch, not imported yet, reads it.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        main()
    except DataError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


class Parser(argparse.ArgumentParser):
    """Keeps the line breaks of examples, and knows what a misspelt word may mean."""

    def __init__(self, **settings: Any) -> None:
        settings.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(**settings)

    def error(self, message: str) -> typing.NoReturn:
        """End with exit status 2 and one line that says what is wrong."""
        wrong = re.search(r"(?:choice: '|arguments: )([^\s'=]+)", message)
        if wrong is not None:
            message += did_you_mean(wrong[1], self._known(options=wrong[1][0] == "-"))
        super().error(message)

    def _known(self, *, options: bool) -> Iterable[str]:
        """Every option, or every choice, of this parser and its sub-commands."""
        for action in self._actions:
            choices = [] if action.choices is None else list(action.choices)
            yield from action.option_strings if options else map(str, choices)
            if isinstance(action, argparse._SubParsersAction):
                for command in action.choices.values():
                    yield from command._known(options=options)


# How fields are called and what they take on the command line, whatever their class;
# anything that ``add_argument`` takes. A tool may say more.
FIELDS: dict[str, dict[str, Any]] = {
    "config": {"help": "config file of the detector"},
    "checkpoint": {"help": ".pth or .safetensors file"},
    "threats": {"flag": "--threat", "metavar": "NAME"},
    "attacks_file": {
        "flag": "--attacks",
        "metavar": "FILE",
        "default": str(STANDARD_ATTACKS),
        "help": "file that defines attacks and suites (default: standard.py of "
        "configs/_base_/attacks)",
    },
    "source": {"nargs": 2, "metavar": DETECTOR, "action": "store"},
    "patch": {"metavar": "PNG"},
    "out": {"metavar": "DIR", "help": "folder for results"},
    "split": {"help": "name of a file in ImageSets, or a .txt file"},
    "frames": {"metavar": "ID", "help": "only these frames"},
    "num": {"help": "only so many, spread evenly over the split"},
    "seed": {"type": int},
    "resume": {"help": "go on with the results in DIR"},
    "device": {"default": "auto", "help": "auto, cpu, cuda, cuda:1, …"},
    "workers": {"help": "data loading processes"},
    "cfg_options": {
        "metavar": "KEY=VALUE",
        "help": "set entries of the config, e.g. data_root=data/kitti",
    },
    "processes": {
        "flag": "--jobs",
        "metavar": "JOBS",
        "help": "attacks done at a time, as processes",
    },
}


def add_options(
    group: Options, cls: type, *names: str, **more: Mapping[str, Any]
) -> None:
    """Options for fields of a dataclass: type, default and help are the field's own.

    A field without default is a positional argument, unless it has a flag. A bool is a
    flag (with a ``--no-`` form where it is True unless given), a literal its choices, a
    sequence takes several words, a sequence of pairs is repeated, a mapping takes
    KEY=VALUE words. Whole numbers are at least 1, or 0 where the default is. The help
    is what the class's docstring says of the field under "Attributes:".

    Args:
        group: The parser, or one of its groups.
        cls: The dataclass.
        names: Which fields, in this order.
        more: For a field what ``add_argument`` shall take instead, and ``flag``.
    """
    hints, docs = typing.get_type_hints(cls), attribute_docs(cls)
    defaults = {field.name: default_of(field) for field in dataclasses.fields(cls)}
    for name in names:
        settings = dict(FIELDS.get(name, {})) | dict(more.get(name, {}))
        default = settings.setdefault("default", defaults[name])
        settings.setdefault("help", re.sub(r"``(\w+)``", _as_typed, docs.get(name, "")))
        flag = settings.pop("flag", f"--{name.replace('_', '-')}")
        kind = _kind_of(hints[name], default)
        settings = kind | settings
        if default is dataclasses.MISSING:
            del settings["default"]
            if "required" not in settings:
                group.add_argument(name, **settings)
                continue
        elif default not in UNTOLD and "(default" not in settings["help"]:
            words = default if isinstance(default, tuple | list) else [default]
            settings["help"] += f" (default: {' '.join(map(str, words))})"
        settings.setdefault("dest", name)
        group.add_argument(flag, **settings)


def _as_typed(name: re.Match[str]) -> str:
    """A field's name in a docstring as the command line calls it."""
    return FIELDS.get(name[1], {}).get("flag", f"--{name[1].replace('_', '-')}")


def attribute_docs(cls: type) -> dict[str, str]:
    """What a class's docstring says of each attribute, as in ``{"out": "a folder"}``."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        _, _, text = (inspect.getdoc(base) or "").partition("Attributes:\n")
        for name, doc in re.findall(r"^    (\w+): (.*(?:\n     .*)*)", text, re.M):
            doc = " ".join(doc.split()).removesuffix(".")
            first = doc[:1].lower() if doc[1:2].islower() else doc[:1]
            docs[name] = (first + doc[1:]).replace("%", "%%")
    return docs


def default_of(field: dataclasses.Field) -> Any:
    """What a field is unless given; MISSING if it must be given."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory() or None
    return field.default


def _kind_of(hint: Any, default: Any) -> dict[str, Any]:
    """What ``add_argument`` takes for a type."""
    outer, inner = typing.get_origin(hint), typing.get_args(hint)
    if outer in (typing.Union, types.UnionType):
        return _kind_of(next(one for one in inner if one is not type(None)), default)
    if outer is Literal:
        return {"choices": inner}
    if hint is bool:
        no = argparse.BooleanOptionalAction
        return {"action": no if default is True else "store_true"}
    if hint is int:
        return {"type": non_negative if default == 0 else positive}
    if isinstance(outer, type) and issubclass(outer, Mapping):
        return {"nargs": "+", "action": Assignments}
    if isinstance(outer, type) and issubclass(outer, Sequence):
        if typing.get_origin(inner[0]) is tuple:
            count = len(typing.get_args(inner[0]))
            return {"nargs": count, "action": "append"}
        return {"nargs": "+", **_kind_of(inner[0], None)}
    return {} if hint is str else {"type": hint}


def from_args(cls: type[Run], args: argparse.Namespace, **more: Any) -> Run:
    """The value of a dataclass that the arguments are; ``more`` are further fields."""
    names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    given = {name: vars(args)[name] for name in names if name in vars(args)}
    return cls(**given | more)


class Assignments(argparse.Action):
    """``KEY=VALUE ...`` to a dictionary, to which a repeated option adds."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        before = getattr(namespace, self.dest) or {}
        form = str(self.metavar or "KEY=VALUE")
        added = assignments(str(option_string), values, form)
        setattr(namespace, self.dest, before | added)


def assignments(
    option: str, words: Iterable[str], form: str = "KEY=VALUE"
) -> dict[str, Any]:
    """``["a=1", "b=[x,y]"]`` as a config takes it: ``{"a": 1, "b": ["x", "y"]}``.

    Raises:
        DataError: If a word is not of this form, or its brackets do not match.
    """
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not (key and equals):
            raise DataError(f"{option} takes {form}, got {word!r}")
        try:
            found[key] = value_of(value)
        except ValueError as error:
            raise DataError(f"{option}: {error} in {word!r}") from error
    return found


def add_running(parser: Options, cls: type, **more: Mapping[str, Any]) -> Options:
    """Where and how a tool runs detectors: the last group of its help, returned.

    Batch size and workers change no result beyond rounding; a device of another kind
    rounds otherwise as well.
    """
    group = parser.add_argument_group("running")
    known = {field.name for field in dataclasses.fields(cls)}
    names = ("device", "batch_size", "workers", "cfg_options")
    add_options(group, cls, *(name for name in names if name in known), **more)
    return group


def positive(text: str) -> int:
    """A whole number above zero, for argparse."""
    return _at_least(1, text)


def non_negative(text: str) -> int:
    """A whole number, zero or above, for argparse."""
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"invalid number: {text!r}") from None
    if value < least:
        raise argparse.ArgumentTypeError(f"must be at least {least}, got {value}")
    return value


def pick_device(name: str) -> str:
    """``auto`` is the first CUDA device, if there is one; others must be usable."""
    import torch  # start-up

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"--device {name}: cannot be used ({reason})") from error
    return name


def command_line(tool: str, argv: Sequence[str] | None) -> str:
    """The command that started ``tools/<tool>``, for its results.

    Args:
        tool: The file's name, e.g. ``attack.py``.
        argv: The tool's arguments; None takes those of this process.
    """
    words = sys.argv[1:] if argv is None else argv
    return shlex.join(["python", f"tools/{tool}", *words])


def fail_on(problems: Sequence[str], where: object) -> None:
    """Print problems, one per line, and raise DataError if there are any."""
    if problems:
        print("\n".join(problems))
        raise DataError(f"{where}: {len(problems)} problem(s), listed above")


def add_runner_options(parser: argparse.ArgumentParser) -> None:
    """Options of the tools that hand a whole config to MMEngine's runner."""
    add = parser.add_argument
    what = "where logs and all else goes (default: work_dirs/<folder>_<config>)"
    add("--work-dir", metavar="DIR", help=what)
    what = "set entries of the config, e.g. max_epochs=2 data_root=data/kitti"
    form = "KEY=VALUE"
    add("--cfg-options", nargs="+", action=Assignments, metavar=form, help=what)
    what = "how several processes were started; pytorch is torchrun (default: none)"
    choices = ("none", "pytorch", "slurm")
    add("--launcher", choices=choices, default="none", help=what)
    # torchrun of some versions passes it; MMEngine reads the environment.
    rank = {"type": int, "default": 0, "help": argparse.SUPPRESS}
    add("--local_rank", "--local-rank", **rank)


def export_local_rank(rank: int) -> None:
    """Make the rank given as an argument known where MMEngine looks for it."""
    os.environ.setdefault("LOCAL_RANK", str(rank))
