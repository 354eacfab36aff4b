"""tools/benchmark.py: what is compared is the same, and errors are one line."""

import pytest
from tool_runner import status_of

from perception.cli import benchmark as tool


def test_both_ways_to_rasterise_give_the_same_image(capsys):
    words = ("rasterize", "--points", 500, "--size", "96x32", "--repeats", 1)
    assert status_of(tool.main, *words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "500 points, all around, to 96x32; equal images: True"
    assert lines[3] == "500 points, all in view, to 96x32; equal images: True"
    assert [line.split()[0] for line in lines[1:3]] == ["numpy", "torch"]
    assert lines[1].endswith("1.000 x reference")


def test_necks_are_timed_forward_and_backward(capsys):
    words = ("fusion", "--necks", "mean", "--size", "96x32", "--batch-size", 2)
    assert status_of(tool.main, *words, "--repeats", 1) == 0
    lines = capsys.readouterr().out.splitlines()
    titles = [line for line in lines if line.endswith("1 thread(s)")]
    assert titles == [
        "forward, 2 frame(s) of 96x32, 1 thread(s)",
        "forward and backward to the weights, 2 frame(s) of 96x32, 1 thread(s)",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("rasterize", "--size", "big"), "error: --size must be WIDTHxHEIGHT"),
        (("fusion", "--necks", "no"), "no.py: no such config file"),
        (("fusion", "--batch-size", "0"), "must be at least 1, got 0"),
    ],
)
def test_bad_input(words, message, capsys):
    assert status_of(tool.main, *words) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", ["rasterize", "fusion", "attacks"])
def test_help_says_what_is_compared(command, capsys):
    assert status_of(tool.main, command, "--help") == 0
    assert "reference" in capsys.readouterr().out
