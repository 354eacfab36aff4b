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
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from perception.core.parallel import end_with_parent
from perception.core.shards import WHOLE, Shard, torchrun_shard
from perception.core.structures import DataError
from perception.core.words import did_you_mean, one_line, value_of
from perception.evaluation.robustness.spec import DetectorSpec, Running

Run = TypeVar("Run")
Group = argparse._ActionsContainer  # a parser, or a group of its options

UNSET: Any = argparse.SUPPRESS  # the default of options that are known only if given
REPOSITORY = Path(__file__).resolve().parents[2]


def run_tool(main: Callable[[], None]) -> None:
    """Run a tool; bad input ends it with one line and exit status 2."""
    # Idle OpenMP threads must sleep, not spin: with as many busy programs as cores,
    # spinning made a training step ten times slower. PyTorch reads it when imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun's ranks end with it
        end_with_parent()
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
        """End with exit status 2 and a last line that says what is wrong."""
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


# What ``add_argument`` takes for fields of these names, whatever their class, and their
# ``flag``. A tool may say otherwise.
FIELDS: dict[str, dict[str, Any]] = {
    "config": dict(help="config file of the detector"),
    "checkpoint": dict(help=".pth or .safetensors file"),
    "threats": dict(flag="--threat", metavar="NAME"),
    "attacks_file": dict(
        flag="--attacks",
        metavar="FILE",
        default=str(REPOSITORY / "configs/_base_/attacks/standard.py"),
        help="file that defines attacks and suites (default: standard.py of "
        "configs/_base_/attacks)",
    ),
    "source": dict(
        metavar=("CONFIG", "CHECKPOINT"),
        help="detector on which transfer attacks are crafted (default: the file's)",
    ),
    "patch": dict(metavar="PNG"),
    "out": dict(flag="--out", metavar="DIR", help="folder for results"),
    "split": dict(help="name of a file in ImageSets, or a .txt file"),
    "frames": dict(metavar="ID"),
    "num": dict(help="only so many, spread evenly over the split"),
    "device": dict(default="auto", help="auto, cpu, cuda, cuda:1, …"),
    "workers": dict(help="data loading processes"),
    "cfg_options": dict(
        metavar="KEY=VALUE",
        help="set entries of the config, e.g. data_root=data/kitti",
    ),
    "names": dict(metavar="NAME"),
    "curve": dict(metavar="FACTOR"),
    "probe": dict(metavar="NAME"),
    "processes": dict(flag="--jobs", metavar="JOBS"),
    "rerun": dict(metavar="FILE.rrd"),
}


def add_options(
    group: Group, cls: type, *names: str, **more: str | Mapping[str, Any]
) -> None:
    """Options for fields of a dataclass: type, default and help are the field's own.

    A bool is a flag (with a ``--no-`` form where it is True unless given), a literal
    its choices; a sequence takes several words, a mapping KEY=VALUE words. Whole
    numbers are at least 1, or 0 where the default is. A field without default is a
    positional argument, unless it has a flag. The help is what the class says under
    "Attributes:".

    Args:
        group: The parser, or one of its groups.
        cls: The dataclass.
        names: Which fields, in this order.
        more: For a field its help, or what ``add_argument`` takes, and its ``flag``.
    """
    hints, docs = typing.get_type_hints(cls), attribute_docs(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for name in names:
        said = more.get(name, {})
        given = {"help": said} if isinstance(said, str) else dict(said)
        default: Any = fields[name].default
        if fields[name].default_factory is not dataclasses.MISSING:
            default = None
        settings: dict[str, Any] = {"help": docs.get(name, ""), "default": default}
        settings |= _kind_of(hints[name], default) | FIELDS.get(name, {}) | given
        told = default if settings["default"] == UNSET else settings["default"]
        if settings["default"] is dataclasses.MISSING:
            del settings["default"]
            if "flag" not in settings:
                group.add_argument(name, **settings)
                continue
            settings.setdefault("required", True)
        elif told and told is not True and "(default" not in settings["help"]:
            words = told if isinstance(told, tuple | list) else [told]
            settings["help"] += f" (default: {' '.join(map(str, words))})"
        flag = settings.pop("flag", flag_of(name))
        group.add_argument(flag, **{"dest": name} | settings)


def flag_of(name: str) -> str:
    """A field's name as the command line has it: ``--batch-size``."""
    return FIELDS.get(name, {}).get("flag", f"--{name.replace('_', '-')}")


def attribute_docs(cls: type) -> dict[str, str]:
    """What a class's docstring says of its attributes: ``{"out": "a folder"}``."""
    docs: dict[str, str] = {}
    _, _, text = (inspect.getdoc(cls) or "").partition("Attributes:\n")
    for name, doc in re.findall(r"^    (\w+): (.*(?:\n     .*)*)", text, re.MULTILINE):
        doc = " ".join(doc.split()).removesuffix(".").replace("%", "%%")
        doc = re.sub(r"``([a-z]\w+)``", lambda other: flag_of(other[1]), doc)
        docs[name] = (doc[0].lower() if doc[1:2].islower() else doc[0]) + doc[1:]
    return docs


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
    if outer is tuple and Ellipsis not in inner:
        return {"nargs": len(inner), **_kind_of(inner[0], None)}
    if isinstance(outer, type) and issubclass(outer, Mapping):
        return {"nargs": "+", "action": Assignments}
    if isinstance(outer, type) and issubclass(outer, Sequence):
        return {"nargs": "+", **_kind_of(inner[0], None)}
    return {} if hint is str else {"type": hint}


def from_args(cls: type[Run], args: argparse.Namespace, **more: Any) -> Run:
    """The value of a dataclass, and of those that it is composed of, from arguments.

    Args:
        cls: The dataclass.
        args: The arguments, by the fields' names.
        more: Fields, anywhere in it, that are something else.
    """
    hints, values = typing.get_type_hints(cls), vars(args) | more
    for name, hint in hints.items():
        if name not in more and isinstance(hint, type) and is_dataclass(hint):
            values[name] = from_args(hint, args, **more)
        elif isinstance(values.get(name), list):
            values[name] = tuple(values[name])
    return cls(**{name: values[name] for name in hints if name in values})


def option(
    group: Group, words: str, what: str, default: Any = None, **more: Any
) -> None:
    """An option that no dataclass has: ``option(parser, "--json FILE", "write …")``.

    Args:
        group: The parser, or one of its groups.
        words: The flag and what stands for its value; an option whose default is False
            takes none.
        what: The help; the default is added to it.
        default: What it is unless given; its type is the option's.
        more: See ``add_argument``.
    """
    flag, _, metavar = words.partition(" ")
    if default is False:
        more["action"] = "store_true"
    elif default is not None:
        more = {"type": type(default)} | more
        what += "" if "(default" in what else f" (default: {default})"
    if metavar:
        more["metavar"] = metavar
    group.add_argument(flag, help=what, default=default, **more)


class Assignments(argparse.Action):
    """``KEY=VALUE ...`` to a dictionary, to which a repeated option adds."""

    def __call__(self, parser, namespace, values, option_string=None):  # noqa: D102
        added = assignments(option_string, values, self.metavar)
        setattr(namespace, self.dest, (getattr(namespace, self.dest) or {}) | added)


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


def add_running(parser: Group, **more: str) -> Group:
    """Where and how a tool runs detectors: the last group of its help, returned.

    Batch size and workers change no result beyond rounding; a device of another kind
    rounds otherwise as well.
    """
    group = parser.add_argument_group("running")
    add_options(group, Running, "device", "batch_size", "workers", **more)
    add_options(group, DetectorSpec, "cfg_options", **more)
    return group


def add_shards(parser: Group) -> None:
    """``--shard`` and ``--merge``, a group of their own in the help."""
    group = parser.add_argument_group("larger than one machine")
    what = "do only the i-th of n shares of the work, 1/n … n/n, whose results others "
    what += "join; take over shares in the same folder whose process died"
    group.add_argument("--shard", type=_shard, metavar="i/n", help=what)
    what = "bring shares together, those in the folder of results and those in DIRs of "
    what += "other machines; do what is missing, then all the rest"
    group.add_argument("--merge", nargs="*", metavar="DIR", help=what)


def _shard(text: str) -> Shard:
    try:
        return Shard.parse(text)
    except DataError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def shard_of(args: argparse.Namespace) -> Shard | None:
    """The shard asked for, once it is known to go with everything else.

    Raises:
        DataError: If it does not.
    """
    shard: Shard | None = args.shard
    if shard is not None and args.merge is not None:
        raise DataError("--shard does a share, --merge the rest: give one of them")
    if shard is not None and torchrun_shard() != WHOLE:
        raise DataError("torchrun's ranks are shards by themselves: no --shard there")
    for folder in args.merge or ():
        if not Path(folder).is_dir():
            raise DataError(f"--merge {folder}: no such folder")
    return shard


def told_of_shard(shard: Shard, merge: str) -> str:
    """What a tool prints at the end of a shard."""
    return f"shard {shard} is done; {merge} instead of --shard brings all together"


def add_runner(parser: Group) -> None:
    """Options of the tools that hand a whole config to MMEngine's runner."""
    what = "where logs and all else goes (default: work_dirs/<folder>_<config>)"
    option(parser, "--work-dir DIR", what)
    what = "set entries of the config, e.g. max_epochs=2 data_root=data/kitti"
    add_options(parser, DetectorSpec, "cfg_options", cfg_options=what)
    what, how = "how processes were started; pytorch is torchrun", ("pytorch", "slurm")
    option(parser, "--launcher", what, "none", choices=("none", *how))
    # torchrun of some versions passes it; MMEngine reads the environment.
    rank = ("--local_rank", "--local-rank")
    parser.add_argument(*rank, type=int, default=0, help=argparse.SUPPRESS)


def positive(text: str) -> int:
    """A whole number above zero, for argparse."""
    return non_negative(text, least=1)


def non_negative(text: str, least: int = 0) -> int:
    """A whole number, zero or above, for argparse."""
    value = int(text)
    if value < least:
        raise argparse.ArgumentTypeError(f"must be at least {least}, got {value}")
    return value


def pick_device(name: str) -> str:
    """``auto`` is a CUDA device, if there is one; others must be usable.

    Under torchrun it is the one of this rank, else the first.
    """
    import torch

    if name == "auto":
        rank, count = os.environ.get("LOCAL_RANK"), torch.cuda.device_count()
        own = "cuda" if rank is None else f"cuda:{int(rank) % max(count, 1)}"
        return own if torch.cuda.is_available() else "cpu"
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
