"""What the command-line tools share: options, errors, the command for the record."""

import argparse
import sys

import pytest

from perception.cli.options import (
    add_config_options,
    add_running_options,
    assignments,
    command_line,
    fail_on,
)
from perception.core.structures import DataError


def options_of(*words):
    parser = argparse.ArgumentParser()
    add_config_options(parser, "the config")
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
    add_running_options(parser, "frames", "the config")
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
