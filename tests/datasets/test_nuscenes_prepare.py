import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from nuscenes_makers import SCENE, VERSION, make_nuscenes
from tool_runner import status_of

from perception.core.structures import DataError
from perception.datasets.nuscenes import prepare as nuscenes_prepare
from perception.datasets.nuscenes.index import default_folder, load_scene
from perception.datasets.nuscenes.reader import NuScenesFrames

TOOL = Path(__file__).parents[2] / "tools/create_data.py"


@pytest.fixture(scope="module")
def create_data():
    spec = importlib.util.spec_from_file_location("create_data_tool", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture
def root(tmp_path):
    return make_nuscenes(tmp_path / "data")


def run(create_data, root, *options):
    return status_of(create_data, "nuscenes", "--root", root, *options)


def test_index_and_tables_give_the_same_frames(root, create_data, capsys):
    cameras = ("CAM_FRONT", "CAM_BACK")
    expected = NuScenesFrames(root, "mini_train", cameras=cameras)
    assert run(create_data, root) == 0
    found = NuScenesFrames(root, "mini_train", cameras=cameras)
    assert "index.json" in found.scenes.where
    assert found.frame_ids == expected.frame_ids
    for one, other in zip(found, expected, strict=True):
        for name in ("camera", "lidar", "radar"):
            np.testing.assert_array_equal(one.sensors[name], other.sensors[name])
        np.testing.assert_array_equal(one.objects.boxes_px, other.objects.boxes_px)


def test_what_is_missing_is_listed_and_left_out(root, create_data, capsys):
    next((root / "samples/LIDAR_TOP").glob("*__50000.pcd.bin")).unlink()
    next((root / "sweeps/RADAR_FRONT").iterdir()).unlink()
    assert run(create_data, root) == 0
    told = capsys.readouterr().out
    assert "1 scenes, 2 samples" in told
    assert "mini_train (1)" in told
    # The second sample misses it among its earlier sweeps.
    assert "LIDAR_TOP: incomplete in 2 of 2 samples, first in sample 0" in told
    assert "RADAR_FRONT: incomplete in 1 of 2 samples, first in sample 1" in told
    assert "CAM_FRONT_LEFT: incomplete in 2 of 2" in told
    # A sweep more or less does not matter, the sample's own readings do.
    frames = NuScenesFrames(root)
    assert frames.frame_ids == [f"{SCENE}-001-CAM_FRONT"]
    assert len(frames[0].sensors["radar"]) == 24


def test_index_elsewhere(root, create_data, tmp_path, capsys):
    out = tmp_path / "index"
    assert run(create_data, root, "--out", str(out)) == 0
    assert not default_folder(root, VERSION).exists()
    assert len(NuScenesFrames(root, index=out)) == 2
    index = json.loads((out / "index.json").read_text())
    assert (index["format"], index["version"]) == (1, VERSION)


def test_interrupted_run_goes_on(root, monkeypatch):
    folder = default_folder(root, VERSION)
    nuscenes_prepare.write_index(root, VERSION)
    path = folder / "scenes" / f"{SCENE}.json"
    before = path.read_bytes()
    (folder / "index.json").unlink()  # as if stopped before the end
    monkeypatch.setattr(nuscenes_prepare, "describe_scene", None)
    nuscenes_prepare.write_index(root, VERSION)
    assert path.read_bytes() == before
    # A finished index is made anew: files may have come or gone.
    with pytest.raises(TypeError):
        nuscenes_prepare.write_index(root, VERSION)


def test_the_index_does_not_depend_on_the_number_of_jobs(root, tmp_path):
    for jobs in (1, 3):
        nuscenes_prepare.write_index(root, VERSION, tmp_path / str(jobs), jobs=jobs)
    for name in ("index.json", f"scenes/{SCENE}.json"):
        contents = [(tmp_path / str(jobs) / name).read_bytes() for jobs in (1, 3)]
        assert contents[0] == contents[1]


def test_check_reads_every_file(root, create_data, capsys):
    assert run(create_data, root, "--check") == 0
    assert "every file can be read" in capsys.readouterr().out
    path = next((root / "sweeps/LIDAR_TOP").iterdir())
    path.write_bytes(path.read_bytes()[:-3])
    assert run(create_data, root, "--check") == 2
    told = capsys.readouterr()
    assert f"{path}: expected a multiple of 20 bytes" in told.out
    assert "\nerror: " in told.err and "1 problem(s)" in told.err


def test_wrong_version_is_one_line(root, create_data, capsys):
    assert run(create_data, root, "--version", "v1.0-test") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "has v1.0-mini" in error
    assert "\n" not in error.strip()


def test_an_index_of_other_tables_is_refused(root):
    nuscenes_prepare.write_index(root, VERSION)
    table = root / VERSION / "sample_annotation.json"
    table.write_text(table.read_text() + "\n")
    with pytest.raises(DataError, match=r"have changed; make it again with tools/"):
        NuScenesFrames(root)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"format": 0}, "not an index of format 1"), ({"version": "x"}, "made from x")],
    ids=["format", "version"],
)
def test_an_index_of_another_kind_is_refused(root, change, message):
    nuscenes_prepare.write_index(root, VERSION)
    path = default_folder(root, VERSION) / "index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=message):
        NuScenesFrames(root)


def test_a_damaged_scene_file_is_named(root):
    nuscenes_prepare.write_index(root, VERSION)
    path = default_folder(root, VERSION) / "scenes" / f"{SCENE}.json"
    path.write_text("{")
    load_scene.cache_clear()
    with pytest.raises(DataError, match=rf"{SCENE}\.json: cannot read .* not JSON"):
        NuScenesFrames(root)[0]


@pytest.mark.parametrize("name", ["../../outside", "a/b", "", ".hidden", None])
def test_a_scenes_name_is_no_path(root, tmp_path, name):
    table = root / VERSION / "scene.json"
    rows = json.loads(table.read_text())
    rows[0]["name"] = name
    table.write_text(json.dumps(rows))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError, match=r"scene\.json: .*becomes a file's name"):
        nuscenes_prepare.write_index(root, VERSION)
    assert sorted(tmp_path.rglob("*")) == before


def test_samples_that_follow_themselves_end(root):
    table = root / VERSION / "sample.json"
    rows = json.loads(table.read_text())
    rows[1]["next"] = rows[0]["token"]
    table.write_text(json.dumps(rows))
    with pytest.raises(DataError, match="comes after itself"):
        nuscenes_prepare.write_index(root, VERSION)


@pytest.mark.parametrize(
    ("change", "entry"),
    [
        ({"file": "../../etc/passwd"}, "becomes a file's name"),
        ({"rotation": [0, 0, 0, 0]}, "quaternion of length 1"),
        ({"translation": [1e300, 0, 0]}, "translation"),
        ({"time_us": "1"}, "time_us"),
        ({"calibration": "other"}, "no usable calibration 'other'"),
    ],
)
def test_a_damaged_entry_of_a_scene_is_named(root, change, entry):
    nuscenes_prepare.write_index(root, VERSION)
    path = default_folder(root, VERSION) / "scenes" / f"{SCENE}.json"
    scene = json.loads(path.read_text())
    scene["samples"][0]["data"]["CAM_FRONT"][0] |= change
    path.write_text(json.dumps(scene))
    load_scene.cache_clear()
    with pytest.raises(DataError, match=rf"{SCENE}\.json: damaged .*{entry}"):
        NuScenesFrames(root)[0]


def test_a_calibration_of_another_channel_is_refused(root):
    nuscenes_prepare.write_index(root, VERSION)
    path = default_folder(root, VERSION) / "scenes" / f"{SCENE}.json"
    scene = json.loads(path.read_text())
    token = scene["samples"][0]["data"]["CAM_FRONT"][0]["calibration"]
    scene["calibrations"][token]["channel"] = "CAM_BACK"
    path.write_text(json.dumps(scene))
    load_scene.cache_clear()
    with pytest.raises(DataError, match=rf"CAM_FRONT: no usable calibration '{token}'"):
        NuScenesFrames(root)[0]
