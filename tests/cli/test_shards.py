"""Shares of the work, done anywhere and in any order, are one machine's to the byte."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from attacked_project import EXTRAS, REPOSITORY, make_project
from hypothesis import given
from hypothesis import strategies as st
from tiny_kitti import write_config, write_kitti
from tool_runner import status_of

from perception.apis import load_detector
from perception.cli import attack, certify, create_data, robustness
from perception.cli import test as score
from perception.core.checkpoints import save_weights
from perception.core.shards import WHOLE, Shard, at_work, shares
from perception.core.structures import DataError
from perception.evaluation.robustness.store import FrameStore

ATTACKS = """
camera = dict(type="MapThreat", sensor="camera", eps=16.0, steps=1)
lidar = dict(type="MapThreat", sensor="lidar", eps=dict(depth_m=5.0), steps=1)
attacks = dict(
    camera_pgd=dict(type="PGD", threat=camera),
    lidar_pgd=dict(type="PGD", threat=lidar),
    blackout=dict(type="Corruption", sensor="camera", kind="blackout", severity=5),
)
suites = dict(all=list(attacks))
"""
CHANGING = ("run", "seconds", "seconds_per_frame", "command", "wall_s", "finished")


@given(st.integers(0, 40), st.integers(1, 7), st.integers(1, 9), st.integers(0, 5))
def test_shards_are_disjoint_and_complete(count, size, shards, turn):
    parts = [Shard(i, shards).frames(count, size, turn=turn) for i in range(shards)]
    blocks = sorted((b for part in parts for b in part), key=lambda b: b.start)
    assert blocks == WHOLE.frames(count, size)
    assert [i for block in blocks for i in block] == list(range(count))


def test_a_block_that_is_not_quite_done_is_done_as_a_whole():
    names = list("abcdefgh")
    assert Shard(1, 2).missing(names, 2, {"c", "g", "h"}) == (4, [2, 3])
    assert Shard(0, 2).missing(names, 3, {"a", "b", "c"}, turn=1) == (3, [3, 4, 5])


@pytest.mark.parametrize("text", ["0/3", "4/3", "1/0", "1", "a/b", "-1/2", "1/2/3", ""])
def test_what_is_no_shard_is_refused(text, capsys):
    with pytest.raises(DataError, match="shard is"):
        Shard.parse(text)
    words = ["synthetic", "--out", "x", f"--shard={text}"]
    assert status_of(create_data.main, *words) == 2
    assert "argument --shard: a shard is" in capsys.readouterr().err.splitlines()[-1]


def test_who_is_at_work_keeps_others_out_and_leaves_nothing(tmp_path):
    out = tmp_path / "out"
    with at_work(out, "x", Shard(0, 3)):
        with at_work(out, "x", Shard(1, 3)):
            pass
        for other in (Shard(0, 3), None):
            with pytest.raises(DataError, match=r"1-of-3: another program"):
                with at_work(out, "x", other):
                    pass
        (out / ".shards" / "2-of-3").mkdir()  # as a killed one leaves it
        assert list(shares(out, Shard(0, 3))) == [Shard(0, 3), Shard(1, 3)]
        assert list(shares(out, Shard(0, 3))) == [Shard(0, 3)]
    with at_work(out, "x"), pytest.raises(DataError, match="another program"):
        with at_work(out, "x", Shard(0, 3)):
            pass
    assert not list(out.rglob("*"))


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A detector with a gate, weights and attacks on four frames, in three batches."""
    folder = tmp_path_factory.mktemp("project")
    gate = make_project(folder)
    (folder / "attacks.py").write_text(ATTACKS)
    shared = [gate.config, gate.checkpoint, "--attacks", folder / "attacks.py"]
    return [*map(str, shared), "--batch-size", "1"]


@pytest.fixture(scope="module")
def alone(words, tmp_path_factory):
    out = tmp_path_factory.mktemp("alone")
    assert status_of(robustness.main, *words, "--suite", "all", "--out", out) == 0
    return out


def lasting(value):
    """All that must be the same at every run."""
    if isinstance(value, list):
        return [lasting(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {k: lasting(one) for k, one in value.items() if k not in CHANGING}


def content(folder):
    """Every file by its name, without the time that it took."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        text = path.read_bytes()
        if path.suffix == ".jsonl":
            text = [lasting(json.loads(line)) for line in text.splitlines()]
        elif path.suffix == ".json":
            text = lasting(json.loads(text))
        elif path.suffix == ".md":
            text = [x for x in text.splitlines() if b"s/frame" not in x]
        found[str(path.relative_to(folder))] = text
    return found


def start(tool, *words, **environment):
    """A process of its own."""
    known = {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, str(REPOSITORY / "tools" / tool), *map(str, words)],
        env=os.environ | known | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process):
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    return said


def test_a_killed_shard_is_taken_over_and_all_is_one_machines(words, alone, tmp_path):
    out = tmp_path / "common"
    more = (*words, "--suite", "all", "--out", out)
    third = start("robustness.py", *more, "--shard", "3/3")
    own = out / "config" / "camera_pgd" / "frames.3-of-3.jsonl"
    while third.poll() is None and not (own.exists() and own.stat().st_size):
        time.sleep(0.01)
    third.send_signal(signal.SIGKILL)
    third.communicate()
    with own.open("ab") as file:  # in the midst of a line
        file.write(b'{"frame_id": "000')
    assert (out / ".shards" / "3-of-3").is_dir()
    second = start("robustness.py", *more, "--shard", "2/3")
    assert "shard 3/3 died: 2/3 takes it over" in ended(second)
    assert not (out / ".shards").exists()
    assert not (out / "robustness.json").exists()
    assert status_of(robustness.main, *more, "--shard", "1/3") == 0
    before = {path: path.stat().st_size for path in out.rglob("frames*.jsonl")}
    assert len(before) == 3 * 3
    assert status_of(robustness.main, *more, "--merge") == 0
    assert content(out) == content(alone)


def test_folders_of_other_machines_are_brought_together(words, alone, tmp_path, capsys):
    more = (*words, "--suite", "all", "--out")
    for number in (2, 1):  # the third machine never came
        words_of_it = (*more, tmp_path / str(number), "--shard", f"{number}/3")
        assert status_of(robustness.main, *words_of_it) == 0
    out, others = tmp_path / "all", [tmp_path / "2", tmp_path / "1"]
    assert status_of(robustness.main, *more, out, "--merge", *others) == 0
    assert content(out) == content(alone)
    told = capsys.readouterr()
    assert f"{others[1]}: 4 records that were not here" in told.out + told.err
    assert status_of(robustness.main, *more, out, "--merge", tmp_path) == 2
    assert "holds nothing of what this" in capsys.readouterr().err
    assert status_of(robustness.main, *more, out, "--merge", tmp_path / "no") == 2
    assert "no such folder" in capsys.readouterr().err
    assert status_of(robustness.main, *more, out, "--merge", "--shard", "1/2") == 2
    assert "give one of them" in capsys.readouterr().err


def test_records_of_other_settings_are_not_taken(tmp_path):
    FrameStore(tmp_path / "a", {"eps": 1})
    with pytest.raises(DataError, match="eps was 1 and is 2 now"):
        FrameStore(tmp_path / "b", {"eps": 2}).take(tmp_path / "a")


def test_attack_tool_with_its_data(words, tmp_path):
    more = (*words, "--threat", "camera_pgd", "lidar_pgd", "--save-data", "--out")
    assert status_of(attack.main, *more, tmp_path / "one") == 0
    for number in (2, 1):
        shard = ("--shard", f"{number}/2")
        assert status_of(attack.main, *more, tmp_path / "common", *shard) == 0
        assert status_of(attack.main, *more, tmp_path / f"m{number}", *shard) == 0
    assert status_of(attack.main, *more, tmp_path / "common", "--merge") == 0
    others = ("--merge", tmp_path / "m1", tmp_path / "m2")
    assert status_of(attack.main, *more, tmp_path / "joined", *others) == 0
    one = content(tmp_path / "one")
    assert len(one) == 2 * (3 + 3 + 6 * 4) - 2 * 4 + 1 or len(one) > 40
    assert content(tmp_path / "common") == one == content(tmp_path / "joined")


@pytest.fixture(scope="module")
def median(tmp_path_factory):
    """A config with its frames, and a checkpoint that detects at every location."""
    folder = tmp_path_factory.mktemp("median")
    base = REPOSITORY / "configs" / "synthetic" / "median.py"
    config = write_config(folder / "median.py", write_kitti(folder / "k", val=5), base)
    config.write_text(config.read_text() + EXTRAS)
    torch.manual_seed(0)
    save_weights(folder / "w.safetensors", load_detector(config).state_dict())
    return config, folder / "w.safetensors"


@pytest.mark.parametrize("tool", [certify, score])
def test_certificates_and_scores(median, tmp_path, tool):
    more = (*median, "--json")
    where = "--out" if tool is certify else "--work-dir"
    more = (*median, *(("--batch-size", 2) if tool is certify else ()), "--json")
    assert status_of(tool.main, *more, tmp_path / "one.json", where, tmp_path / "0") == 0
    for number in (3, 1, 2):
        words = (tmp_path / "no.json", where, tmp_path / "c", "--shard", f"{number}/3")
        assert status_of(tool.main, *more, *words) == 0
    assert not (tmp_path / "no.json").exists()
    words = (tmp_path / "c.json", where, tmp_path / "c", "--merge")
    assert status_of(tool.main, *more, *words) == 0
    words = (tmp_path / "m.json", where, tmp_path / "m", "--merge", tmp_path / "c")
    assert status_of(tool.main, *more, *words) == 0
    one, *others = (
        lasting(json.loads((tmp_path / f"{name}.json").read_text()))
        for name in ("one", "c", "m")
    )
    assert one == others[0] == others[1]
    assert (one.get("figures") or one)["objects" if tool is certify else "kitti/mAP"]


def test_certificates_need_a_folder(median, capsys):
    assert status_of(certify.main, *median, "--shard", "1/2") == 2
    assert "need --out" in capsys.readouterr().err


@pytest.mark.parametrize(
    "layout",
    [
        ("--frames", 4, "--val-frames", 1, "--size", "96x32"),
        ("--layout", "nuscenes", "--scenes", 2, "--val-scenes", 1)
        + ("--samples", 1, "--size", "96x54"),
    ],
    ids=["kitti", "nuscenes"],
)
def test_synthetic_data(layout, tmp_path):
    words = ("synthetic", *layout, "--out")
    assert status_of(create_data.main, *words, tmp_path / "one") == 0
    for number in (2, 1):
        shard = ("--shard", f"{number}/2")
        assert status_of(create_data.main, *words, tmp_path / "common", *shard) == 0
        own = tmp_path / f"m{number}"
        assert status_of(create_data.main, *words, own, *shard) == 0
        assert not list(own.glob("ImageSets/*")) + list(own.glob("v1.0-*/*"))
    others = (tmp_path / "m1", tmp_path / "m2")
    joined = (tmp_path / "joined", "--merge", *others)
    assert status_of(create_data.main, *words, *joined) == 0
    one, common = content(tmp_path / "one"), content(tmp_path / "common")
    assert one == common == content(tmp_path / "joined")
    shutil.rmtree(tmp_path / "one")


SBATCH = """#!{python}
import os, random, subprocess, sys
words = sys.argv[1:]
options = [w for w in words if w.startswith("--")][: words.index(script)] if 0 else []
"""
