"""tools/benchmark.py: what is compared is the same, and errors are one line."""

import json
import time

import pytest
import torch
from tool_runner import status_of

from perception.cli import benchmark as tool
from perception.evaluation.benchmarks import growth, timing


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


def test_all_ratios_in_one_file(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(tool, "README_NECKS", ("concat", "odd_one_out"))
    file = tmp_path / "all.json"
    assert status_of(tool.main, "all", "--quick", "--repeats", 1, "--json", file) == 0
    content = json.loads(file.read_text())
    title = "forward, 1 frame of 320x96"
    figures = content["figures"][title]
    assert title in capsys.readouterr().out
    assert list(figures) == ["concat", "odd_one_out"]
    assert figures["concat"]["ratio"] == 1
    assert figures["odd_one_out"]["median_ms"] > 0
    assert figures["odd_one_out"]["peak_mb"] > figures["concat"]["peak_mb"] > 1
    assert content["environment"]["threads"] == 1
    assert content["clock"] == "process_time"


def test_peak_memory_is_of_what_lives_at_a_time():
    def call():
        for _ in range(3):
            torch.zeros(2**20)

    assert timing.peak_mb(call, "cpu") == pytest.approx(4, abs=0.1)


def test_what_others_take_of_a_busy_machine_does_not_count():
    waits = {"wait": lambda: time.sleep(0.05)}
    assert timing.interleaved(waits, 1, time.process_time)["wait"] < 0.04
    assert timing.interleaved(waits, 1)["wait"] >= 0.05


def test_growth_is_over_frames_sizes_sensors_and_points():
    config = tool.CONFIGS / "consensus.py"
    groups = dict(growth.compare_growth({"consensus": config}))
    assert [list(calls) for calls in groups.values()] == [
        ["1", "2", "4"],
        ["320x96", "640x192", "1248x384"],
        ["3", "4", "5", "6"],
        ["30000", "100000", "300000"],
    ]
    sensors = groups["consensus: sensors, 1 frame of 320x96"]
    assert len(sensors["5"].args[0].sensors) == 5
    assert sensors["3"]()


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
