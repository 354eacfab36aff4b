"""What the command-line tools share: options, errors, the command for the record."""

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from perception.cli.options import (
    Parser,
    add_options,
    add_running,
    assignments,
    command_line,
    fail_on,
    from_args,
)
from perception.core.structures import DataError
from perception.core.words import value_of
from perception.evaluation.robustness.spec import DetectorSpec


def options_of(*words):
    parser = argparse.ArgumentParser()
    add_options(parser, DetectorSpec, "cfg_options")
    return parser.parse_args(words).cfg_options


def test_config_options_are_values_and_add_up():
    assert options_of() is None
    assert options_of("--cfg-options", "a.b=1", "c=[x,2.5]", "d=a=b") == {
        "a.b": 1,
        "c": ["x", 2.5],
        "d": "a=b",
    }
    again = options_of("--cfg-options", "a=1", "b=1", "--cfg-options", "b=2")
    assert again == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("foo", "--cfg-options takes KEY=VALUE, got 'foo'"),
        ("=1", "--cfg-options takes KEY=VALUE, got '=1'"),
        ("a=[(1,2]", "--cfg-options: brackets do not match in 'a=[(1,2]'"),
    ],
)
def test_config_options_of_another_form(word, message):
    with pytest.raises(DataError) as error:
        options_of("--cfg-options", word)
    assert str(error.value) == message


def test_assignments_name_their_option():
    assert assignments("--set", ["count=50"]) == {"count": 50}
    with pytest.raises(DataError, match="--set takes FIELD=VALUE, got 'x'"):
        assignments("--set", ["x"], form="FIELD=VALUE")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--workers", "-1"), "must be at least 0, got -1"),
        (("--batch-size", "0"), "must be at least 1, got 0"),
        (("--workers", "many"), "invalid non_negative value: 'many'"),
    ],
)
def test_numbers_out_of_range_are_usage_errors(words, message, capsys):
    parser = argparse.ArgumentParser()
    add_running(parser)
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args(words)
    assert message in capsys.readouterr().err


def test_the_command_is_quoted_and_taken_from_the_process(monkeypatch):
    assert command_line("x.py", ["a b", "c"]) == "python tools/x.py 'a b' c"
    monkeypatch.setattr(sys, "argv", ["/anywhere/x.py", "--num", "1"])
    assert command_line("x.py", None) == "python tools/x.py --num 1"


def test_problems_are_listed_and_counted(capsys):
    fail_on([], "here")
    with pytest.raises(DataError, match=r"^here: 2 problem\(s\), listed above$"):
        fail_on(["one", "two"], "here")
    assert capsys.readouterr().out == "one\ntwo\n"


@dataclass(frozen=True)
class Part:
    """Half of it.

    Attributes:
        size: How large, 5 % at least.
    """

    size: float = 2.5


@dataclass(frozen=True)
class Whole:
    """All of it.

    Attributes:
        name: Its name.
        count: How many; see ``kept``.
        least: None at all is possible,
            as this line says.
        kept: Keep it.
        lost: Lose it.
        colour: Which.
        words: Several.
        pair: Two.
        more: Anything.
        part: A half.
    """

    name: str
    count: int | None = None
    least: int = 0
    kept: bool = True
    lost: bool = False
    colour: Literal["red", "blue"] = "red"
    words: Sequence[str] = ()
    pair: tuple[str, str] | None = None
    more: Mapping[str, Any] = field(default_factory=dict)
    part: Part = Part()


def whole_of(*words):
    parser = Parser()
    names = ("name", "count", "least", "kept", "lost", "colour", "words", "pair")
    add_options(parser, Whole, *names, "more", more={"metavar": "KEY=VALUE"})
    add_options(parser, Part, "size", size="an extent")
    args = parser.parse_args(words)
    return from_args(Whole, args, more=args.more or {}), parser.format_help()


def test_options_are_the_fields_of_a_dataclass():
    assert whole_of("a")[0] == Whole("a")
    words = "a --count 2 --no-kept --lost --colour blue --words x y --pair p q --size 3"
    found, text = whole_of(*words.split(), "--more", "a=1", "b=c d")
    more = {"a": 1, "b": "c d"}
    expected = Whole(
        "a", 2, 0, False, True, "blue", ("x", "y"), ("p", "q"), more, Part(3.0)
    )
    assert found == expected
    text = " ".join(text.split())
    for part in (
        "how many; see --kept",
        "none at all is possible, as this line says",
        "which (default: red)",
        "an extent (default: 2.5)",
        "--no-kept",
    ):
        assert part in text, part


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("a --count 0", "must be at least 1, got 0"),
        ("a --least -1", "must be at least 0, got -1"),
        ("a --colour bleu", "did you mean blue?"),
        ("a --word-s x", "did you mean --words?"),
    ],
)
def test_wrong_words_are_told_what_was_meant(words, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        whole_of(*words.split())
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("my kitti", "my kitti"),
        ("'my, kitti'", "my, kitti"),
        ("my (kitti", "my (kitti"),
        ("it's", "it's"),
        ("'1'", "1"),
        ("-1e-3", -1e-3),
        ("TRUE", True),
        ("None", None),
        ("a,2", ["a", 2]),
        ("['a b', (1, 2.5)]", ["a b", (1, 2.5)]),
        ("[]", []),
    ],
)
def test_values_of_words(text, value):
    assert value_of(text) == value


@pytest.mark.parametrize("tool", sorted(Path("tools").glob("*.py"), key=str))
def test_help_is_quick(tool, repo_root):
    """Nothing heavy is imported before the arguments are parsed."""
    code = f"import sys, runpy; sys.argv = ['{tool.name}', '--help']\n"
    code += f"try: runpy.run_path({str(repo_root / tool)!r}, run_name='__main__')\n"
    code += "except SystemExit: print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "False", done.stderr
