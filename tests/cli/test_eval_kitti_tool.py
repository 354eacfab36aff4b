import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from tool_runner import status_of

from perception.cli import eval_kitti as tool

REPOSITORY = Path(__file__).parents[2]
CAR = "Car 0.00 0 1.20 100.00 100.00 180.00 160.00 1.5 1.6 4.0 2.0 1.6 20.0 1.3"
CYCLIST = "Cyclist 0.00 0 0.3 300.00 90.00 340.00 170.00 1.7 0.6 1.8 9.0 1.6 15.0 0.5"
REGION = "DontCare -1 -1 -10 500.00 90.00 540.00 170.00 -1 -1 -1 -1000 -1000 -1000 -10"


@pytest.fixture
def run_tool(capsys):
    """The tool in this process: its status and what it said."""

    def run(*words):
        capsys.readouterr()
        status, said = status_of(tool.main, *words), capsys.readouterr()
        return SimpleNamespace(returncode=status, stdout=said.out, stderr=said.err)

    return run


@pytest.fixture
def folders(tmp_path):
    """Labels of 41 frames and the same as results with a score."""
    labels, results = tmp_path / "label_2", tmp_path / "results"
    labels.mkdir()
    results.mkdir()
    for i in range(41):
        lines = [CAR, CYCLIST, REGION]
        (labels / f"{i:06d}.txt").write_text("".join(f"{x}\n" for x in lines))
        (results / f"{i:06d}.txt").write_text("".join(f"{x} 0.5\n" for x in lines))
    return labels, results


def test_labels_against_themselves_give_100(run_tool, folders, tmp_path):
    done = run_tool(*folders, "--json", tmp_path / "out" / "ap.json", "--intervals")
    assert (done.returncode, done.stderr) == (0, "")
    got = json.loads((tmp_path / "out" / "ap.json").read_text())
    kinds = ["detection", "orientation", "detection_ground", "detection_3d"]
    names = ["car", "pedestrian", "cyclist"]
    assert set(got) == {f"{name}_{kind}" for name in names for kind in kinds}
    hundred = {"R11": 100, "R40": 100}
    for kind in kinds:
        assert list(got[f"car_{kind}"]) == ["easy", "moderate", "hard"]
        assert got[f"car_{kind}"]["easy"] == hundred
        assert got[f"cyclist_{kind}"]["hard"] == hundred
    lines = done.stdout.splitlines()
    assert any(x.startswith("Car") and "100.00" in x for x in lines)
    assert any(x.startswith("Pedestrian") and "n/a" in x for x in lines)
    sure = ", ".join(f"{x} 100.00 … 100.00" for x in ("easy", "moderate", "hard"))
    for metric in ("2d", "bev", "3d"):  # all frames are alike
        assert f"Car {metric} > 0.70, R40, 95 %: {sure}" in lines


def test_split_metrics_and_empty_results(run_tool, folders, tmp_path):
    labels, results = folders
    for path in results.iterdir():
        path.write_text("")
    split = tmp_path / "val.txt"
    split.write_text("000003\n")
    done = run_tool(labels, results, "--split", split, "--metrics", "2d", "3d")
    assert done.returncode == 0
    assert [x.split()[1] for x in done.stdout.splitlines()[2:4]] == ["2d", "3d"]
    assert "1/1/1" in done.stdout
    assert "fewer than 41 objects" in done.stdout


def break_result(results: Path, text: str) -> None:
    (results / "000007.txt").write_text(text)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(
            lambda labels, results, split: break_result(results, f"{CAR} 1\n{CAR}\n"),
            "000007.txt, line 2: expected 16 columns",
            id="no score",
        ),
        pytest.param(
            lambda labels, results, split: break_result(results, f"{CAR} high\n"),
            "000007.txt, line 1: expected numbers",
            id="no number",
        ),
        pytest.param(
            lambda labels, results, split: (results / "000007.txt").unlink(),
            "000007.txt: no result file for frame 000007",
            id="missing result",
        ),
        pytest.param(
            lambda labels, results, split: (labels / "000007.txt").unlink(),
            "000007.txt: no label file for frame 000007",
            id="missing label",
        ),
        pytest.param(
            lambda labels, results, split: split.write_text("\n"),
            "val.txt: the split has no frames",
            id="empty split",
        ),
        pytest.param(
            lambda labels, results, split: split.unlink(),
            "val.txt: cannot read: No such file",
            id="missing split",
        ),
        pytest.param(
            lambda labels, results, split: labels.rename(labels.with_name("gone")),
            "label_2: no such folder",
            id="missing folder",
        ),
    ],
)
def test_bad_input_is_one_clear_line(run_tool, folders, tmp_path, spoil, message):
    split = tmp_path / "val.txt"
    split.write_text("".join(f"{i:06d}\n" for i in range(41)))
    spoil(*folders, split)
    done = run_tool(*folders, "--split", split)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_folder_without_results(run_tool, folders, tmp_path):
    (tmp_path / "empty").mkdir()
    done = run_tool(folders[0], tmp_path / "empty")
    assert done.returncode == 2
    assert "empty: expected result files (*.txt), found none" in done.stderr


def test_runs_without_torch(folders, tmp_path):
    code = (
        "import sys"
        "; sys.modules.update(torch=None, mmcv=None, mmdet=None, mmengine=None)"
        f"; sys.path.insert(0, {str(REPOSITORY)!r})"
        "; sys.argv[0] = 'tools/eval_kitti.py'"
        "; import runpy; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, folders)],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0, done.stderr
    assert "100.00" in done.stdout


def test_help_teaches(run_tool):
    done = run_tool("--help")
    assert done.returncode == 0
    assert "examples:" in done.stdout


def test_a_frame_that_is_listed_twice_is_refused(run_tool, folders, tmp_path):
    """It would count twice."""
    (tmp_path / "val.txt").write_text("000003\n000003\n")
    done = run_tool(*folders, "--split", tmp_path / "val.txt")
    assert done.returncode == 2
    assert "val.txt: repeated frame ids: 000003" in done.stderr


def test_what_attack_saved_is_scored_as_it_was(run_tool, folders, tmp_path):
    """Pictures of half the size, with half the heights to find, at their overlaps."""
    labels, results = folders
    half = "Car 0.00 0 1.20 50.00 50.00 90.00 80.00 1.5 1.6 4.0 2.0 1.6 20.0 -10"
    near = half.replace("50.00 50.00", "50.00 42.00")  # overlap 30 / 38 = 0.79
    for i in range(41):
        (labels / f"{i:06d}.txt").write_text(f"{half}\n".replace(" 1.20 ", " -10 "))
        (results / f"{i:06d}.txt").write_text(f"{near} 0.5\n")
        (results / f"._{i:06d}.txt").write_bytes(b"a Mac's companion")
    level = dict(name="small", min_height_px=12.5, max_occlusion=1, max_truncation=0.3)
    about = {"difficulties": [level], "overlaps": {"Car": 0.5}}
    (tmp_path / "about.json").write_text(json.dumps(about))
    words = [*folders, "--metrics", "2d", "aos", "--about", tmp_path / "about.json"]
    done = run_tool(*words)
    assert done.returncode == 0, done.stderr
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("Car")]
    assert row.split()[1:] == ["2d", "0.50", "100.00", "100.00", "41"]
    assert "no aos: labels without orientation (alpha is -10)" in done.stdout
    stricter = run_tool(*words, "--overlap", "car=0.8", "Truck=0.5").stdout
    (row,) = [line for line in stricter.splitlines() if line.startswith("car")]
    assert row.split()[2:] == ["0.80", "0.00", "0.00", "41"]
    assert "no label is called Truck; labels are called Car" in stricter
    (tmp_path / "about.json").write_text("{}")
    done = run_tool(*words)
    assert done.returncode == 2 and "about.json: damaged about.json" in done.stderr
    assert "overlaps: Field required" in done.stderr
