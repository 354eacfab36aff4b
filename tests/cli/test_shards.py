"""Shares of the work, done anywhere and in any order, are one machine's to the byte."""

import json
import os
import shutil
import subprocess
import sys
import time

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
from perception.core import locks
from perception.core.checkpoints import save_weights
from perception.core.shards import WHOLE, Shard, at_work, shares
from perception.core.structures import DataError
from perception.datasets.synthetic import generate
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


def test_who_is_at_work_keeps_others_out_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "_PATIENCE_S", 0.1)
    out = tmp_path / "out"
    with at_work(out, "x", Shard(0, 3)):
        with at_work(out, "x", Shard(1, 3)):
            pass
        for other in (Shard(0, 3), None):
            refused = pytest.raises(DataError, match=r"1-of-3: another program")
            with refused, at_work(out, "x", other):
                pass
        (out / ".shards" / "2-of-3").mkdir()  # as a killed one leaves it
        assert list(shares(out, Shard(0, 3))) == [Shard(0, 3), Shard(1, 3)]
        assert list(shares(out, Shard(0, 3))) == [Shard(0, 3)]
    refused = pytest.raises(DataError, match="another program")
    with at_work(out, "x"), refused, at_work(out, "x", Shard(0, 3)):
        pass
    assert not list(out.rglob("*"))


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A detector with a gate, its weights and attacks on four frames."""
    folder = tmp_path_factory.mktemp("project")
    gate = make_project(folder)
    (folder / "attacks.py").write_text(ATTACKS)
    shared = [gate.config, gate.checkpoint, "--attacks", folder / "attacks.py"]
    return [*map(str, shared), "--batch-size", "1"]


@pytest.fixture(scope="module")
def grid(words):
    return [*words, "--suite", "all", "--names", "gate", "--out"]


@pytest.fixture(scope="module")
def alone(grid, tmp_path_factory):
    out = tmp_path_factory.mktemp("alone")
    assert status_of(robustness.main, *grid, out) == 0
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
            text = [x for x in text.splitlines() if b"Reproduce" not in x]
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


def test_a_killed_shard_is_taken_over_and_all_is_one_machines(grid, alone, tmp_path):
    out = tmp_path / "common"
    third = start("robustness.py", *grid, out, "--shard", "3/3")
    own = out / "gate" / "camera_pgd" / "frames.3-of-3.jsonl"
    while third.poll() is None and not (own.exists() and own.stat().st_size):
        time.sleep(0.01)
    third.kill()
    third.communicate()
    with own.open("ab") as file:  # in the midst of a line
        file.write(b'{"frame_id": "000')
    assert (out / ".shards" / "3-of-3").is_dir()
    assert status_of(robustness.main, *grid, out, "--shard", "2/3") == 0
    assert not (out / ".shards").exists()
    assert not (out / "robustness.json").exists()
    assert not (out / "gate" / "lidar_pgd" / "frames.1-of-3.jsonl").exists()
    done = [
        {json.loads(line)["frame_id"] for line in path.read_bytes().splitlines()[:2]}
        for path in (out / "gate").glob("lidar_pgd/frames.[23]-of-3.jsonl")
    ]
    assert len(set().union(*done)) >= 2  # its own and the third's
    assert status_of(robustness.main, *grid, out, "--shard", "1/3") == 0
    assert status_of(robustness.main, *grid, out, "--merge") == 0
    assert content(out) == content(alone)


def test_folders_of_other_machines_are_brought_together(grid, alone, tmp_path, capsys):
    for number in (2, 1):  # the third machine never came
        of_it = (tmp_path / str(number), "--shard", f"{number}/3")
        assert status_of(robustness.main, *grid, *of_it) == 0
    out, others = tmp_path / "all", [tmp_path / "2", tmp_path / "1"]
    assert status_of(robustness.main, *grid, out, "--merge", *others) == 0
    assert content(out) == content(alone)
    told = capsys.readouterr()
    assert f"{others[1]}: 4 records that were not here" in told.out + told.err
    assert status_of(robustness.main, *grid, out, "--merge", tmp_path) == 2
    assert "holds nothing of what this" in capsys.readouterr().err
    assert status_of(robustness.main, *grid, out, "--merge", tmp_path / "no") == 2
    assert "no such folder" in capsys.readouterr().err
    assert status_of(robustness.main, *grid, out, "--merge", "--shard", "1/2") == 2
    assert "give one of them" in capsys.readouterr().err


def test_records_of_other_settings_are_not_taken(tmp_path):
    FrameStore(tmp_path / "a", {"eps": 1})
    with pytest.raises(DataError, match="eps was 1 and is 2 now"):
        FrameStore(tmp_path / "b", {"eps": 2}).take(tmp_path / "a")


def test_attack_tool_with_its_data(words, tmp_path):
    more = (*words, "--threat", "camera_pgd", "lidar_pgd", "--save-data", "--out")
    assert status_of(attack.main, *more, tmp_path / "one") == 0
    for number in (2, 1):
        words = (tmp_path / f"m{number}", "--shard", f"{number}/2")
        assert status_of(attack.main, *more, *words) == 0
    others = ("--merge", tmp_path / "m1")
    assert status_of(attack.main, *more, tmp_path / "m2", *others) == 0
    one = content(tmp_path / "one")
    assert sum(name.startswith("camera_pgd/data/training") for name in one) == 4 * 5
    assert content(tmp_path / "m2") == one


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
    where = "--out" if tool is certify else "--work-dir"
    more = ("--batch-size", 2) if tool is certify else ("--dump-kitti", "results")
    one, joined = tmp_path / "one.json", tmp_path / "joined.json"

    def run(*words):
        own = [str(word).replace("results", str(words[-1])) for word in more]
        return status_of(tool.main, *median, *own, "--json", *words)

    assert run(one, where, tmp_path / "0") == 0
    assert run(joined, "--shard", "2/2", where, tmp_path / "a") == 0
    assert run(joined, "--shard", "1/2", where, tmp_path / "b") == 0
    assert not joined.exists()
    assert run(joined, "--merge", tmp_path / "b", where, tmp_path / "a") == 0
    first, second = (lasting(json.loads(x.read_text())) for x in (one, joined))
    assert first == second
    if tool is certify:
        assert first["objects"] == 10
    else:
        found = [
            {x.name: x.read_bytes() for x in (tmp_path / d).glob("*.txt")} for d in "0a"
        ]
        assert found[0] == found[1] and len(found[0]) == 5 and all(found[0].values())


def test_ranks_of_torchrun_say_what_one_process_says(grid, alone, median, tmp_path):
    """Records, figures and results, through each tool that shares its frames."""
    certified = (*map(str, median), "--batch-size", "2", "--out")
    scored = (*map(str, median), "--dump-kitti")

    def runs(folder):
        yield "robustness", [*grid, str(folder / "grid")]
        yield "certify", [*certified, str(folder / "certified")]
        words = [*scored, str(folder / "kitti"), "--work-dir", str(folder / "scored")]
        yield "test", [*words, "--json", str(folder / "scored.json")]

    for tool, words in list(runs(tmp_path / "one"))[1:]:
        assert status_of({"certify": certify, "test": score}[tool].main, *words) == 0
    two = [[2, *one] for one in runs(tmp_path / "two")]
    known = {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "tests" / "ranks.py"), json.dumps(two)],
        env=os.environ | known,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert content(tmp_path / "two" / "grid") == content(alone)
    for name in ("certified", "kitti"):
        one = content(tmp_path / "one" / name)
        assert one and content(tmp_path / "two" / name) == one
    figures = [
        lasting(json.loads((tmp_path / folder / "scored.json").read_text()))
        for folder in ("one", "two")
    ]
    assert figures[0] == figures[1]


def test_certificates_need_a_folder(median, capsys):
    assert status_of(certify.main, *median, "--shard", "1/2") == 2
    assert "need --out" in capsys.readouterr().err


@pytest.mark.parametrize(
    "layout",
    [
        ("--frames", 2, "--val-frames", 1, "--size", "96x32"),
        ("--layout", "nuscenes", "--scenes", 1, "--val-scenes", 1)
        + ("--samples", 1, "--size", "96x54"),
    ],
    ids=["kitti", "nuscenes"],
)
def test_synthetic_data(layout, tmp_path, monkeypatch):
    def here(make, names, **_):
        for name in names:
            make(name)

    monkeypatch.setattr(generate, "run_jobs", here)
    words = ("synthetic", *layout, "--out")
    assert status_of(create_data.main, *words, tmp_path / "one") == 0
    for number in (2, 1):
        own = (tmp_path / f"m{number}", "--shard", f"{number}/2")
        assert status_of(create_data.main, *words, *own) == 0
        assert not [*own[0].glob("ImageSets/*"), *own[0].glob("v1.0-*/*")]
    joined = (tmp_path / "m1", "--merge", tmp_path / "m2")
    assert status_of(create_data.main, *words, *joined) == 0
    one = content(tmp_path / "one")
    assert one == content(tmp_path / "m1")
    monkeypatch.setattr(generate, "run_jobs", None)  # nothing is left to do
    more = (*words, tmp_path / "one", "--seed", 1, "--merge", tmp_path / "m2")
    assert status_of(create_data.main, *more) == 2


SBATCH = """#!{python}
import os, pathlib, random, subprocess, sys
words = sys.argv[1:]
given = []
while words[0].startswith("--"):
    given.append(words.pop(0))
script = pathlib.Path(words[0]).read_text().splitlines()
assert script[0] == "#!/bin/bash" and script[1].startswith("#SBATCH --")
array = [word.partition("=")[2] for word in given if word.startswith("--array=")]
job = "8" if array else "9"
if not array:
    assert given == ["--dependency=afterany:8"], given
first, last = map(int, array[0].split("-")) if array else (0, 0)
tasks = list(range(first, last + 1))
random.shuffle(tasks)
print(f"{{job}};cluster" if "--parsable" in given else f"Submitted batch job {{job}}")
for task in tasks:
    own = dict(os.environ, SLURM_JOB_ID=str(int(job) + task))
    own |= dict(SLURM_ARRAY_TASK_ID=str(task)) if array else {{}}
    if task != 2:  # that node was lost
        subprocess.run(["bash", *words], env=own, check=True, stdout=sys.stderr)
"""


def test_a_slurm_array(tmp_path):
    root = write_kitti(tmp_path / "kitti", train=2, val=3) / "training"
    shutil.copytree(root / "image_2", root / "image_3")
    expected = {}
    for name in ("one", "cluster"):
        words = ["kitti", "--root", tmp_path / "kitti", "--depth", "--jobs", 1]
        words += ["--depth-dir", tmp_path / name]
        if name == "one":
            assert status_of(create_data.main, *words) == 0
            expected = content(tmp_path / name)
            continue
        stub = tmp_path / "bin" / "sbatch"
        stub.parent.mkdir()
        stub.write_text(SBATCH.format(python=sys.executable))
        stub.chmod(0o755)
        path = f"{stub.parent}{os.pathsep}{os.environ['PATH']}"
        known = {"PATH": path, "PYTHON": sys.executable, "PYTHONPATH": str(REPOSITORY)}
        script = ["bash", "tools/shards.sbatch", "3", "tools/create_data.py"]
        done = subprocess.run(
            [*script, *map(str, words)],
            cwd=REPOSITORY,
            env=os.environ | known,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "Submitted batch job 9" in done.stdout
        assert done.stderr.count("depth is in") == 3  # two tasks, then the last job
    assert len(expected) == 5
    assert content(tmp_path / "cluster") == expected
