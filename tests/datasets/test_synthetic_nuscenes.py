"""The synthetic nuScenes set as the official development kit sees it."""

import hashlib
import os
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
from tool_runner import status_of

from perception.cli import create_data
from perception.core.structures import DataError
from perception.datasets.synthetic.nuscenes.tables import token
from perception.datasets.synthetic.nuscenes.writer import generate_nuscenes

devkit = pytest.importorskip("nuscenes.nuscenes", reason="nuscenes-devkit is missing")

VERSION, SAMPLES, SIZE = "v1.0-mini", 3, "128x72"
TOOL = ("synthetic", "--layout", "nuscenes", "--version", VERSION)
GIVEN = {"samples": SAMPLES, "size": SIZE, "seed": 3, "version": VERSION}
CHANNELS = {
    *(f"CAM_{s}{e}" for s in ("FRONT", "BACK") for e in ("", "_LEFT", "_RIGHT")),
    *("LIDAR_TOP", "RADAR_FRONT", "RADAR_FRONT_LEFT", "RADAR_FRONT_RIGHT"),
    *("RADAR_BACK_LEFT", "RADAR_BACK_RIGHT"),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory, repo_root):
    """One training and one validation scene, made by the tool with two jobs."""
    out = tmp_path_factory.mktemp("nuscenes") / "set"
    words = [*TOOL, "--out", out, "--size", SIZE, "--seed", 3, "--jobs", 2]
    words += ["--scenes", 1, "--val-scenes", 1, "--samples", SAMPLES]
    done = subprocess.run(
        [sys.executable, repo_root / "tools/create_data.py", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(repo_root)},
    )
    assert done.returncode == 0, done.stderr
    assert "1 training and 1 validation scenes" in done.stdout
    return out


@pytest.fixture(scope="module")
def kit(root):
    return devkit.NuScenes(VERSION, str(root), verbose=False)


def chain(kit, table, first):
    """Tokens from a record on, along next; prev must lead back."""
    tokens, before = [], ""
    while first:
        record = kit.get(table, first)
        assert record["prev"] == before
        tokens.append(first)
        before, first = first, record["next"]
    return tokens


def in_sensor_frame(kit, sample, channel):
    """A sensor's file and all boxes in its frame."""
    path, boxes, _ = kit.get_sample_data(sample["data"][channel])
    return path, boxes


def test_scenes_bear_names_of_the_splits(kit, capsys):
    from nuscenes.utils.splits import create_splits_scenes

    splits = create_splits_scenes()
    first, second = (scene["name"] for scene in kit.scene)
    assert first in splits["mini_train"] and second in splits["mini_val"]
    kit.list_scenes()
    assert "synthetic-street" in capsys.readouterr().out


def test_samples_follow_each_other_at_two_hertz(kit):
    for scene in kit.scene:
        tokens = chain(kit, "sample", scene["first_sample_token"])
        assert tokens[-1] == scene["last_sample_token"]
        assert len(tokens) == scene["nbr_samples"] == SAMPLES
        times = [kit.get("sample", token)["timestamp"] for token in tokens]
        assert set(np.diff(times)) == {500_000}


def test_each_sample_has_every_sensor_and_its_file(kit):
    for sample in kit.sample:
        assert set(sample["data"]) == CHANNELS
        for channel, data in sample["data"].items():
            path, _, intrinsic = kit.get_sample_data(data)
            assert os.path.getsize(path) > 0
            if channel.startswith("CAM"):
                assert cv2.imread(path).shape == (72, 128, 3)
                assert intrinsic[0][0] == pytest.approx(
                    128 * (0.506 if channel == "CAM_BACK" else 0.79)
                )


def test_sweeps_lead_to_the_key_frames(kit):
    from nuscenes.utils.data_classes import LidarPointCloud, RadarPointCloud

    sample = kit.sample[0]
    for channel, sweeps, cloud in (
        ("LIDAR_TOP", 1, LidarPointCloud),
        ("RADAR_FRONT", 2, RadarPointCloud),
    ):
        first = kit.get("sample_data", sample["data"][channel])
        while first["prev"]:
            first = kit.get("sample_data", first["prev"])
        assert len(chain(kit, "sample_data", first["token"])) == SAMPLES * (1 + sweeps)
        _, ages = cloud.from_file_multisweep(
            kit, kit.sample[1], channel, "LIDAR_TOP", nsweeps=1 + sweeps
        )
        delay = 0.007 if channel == "RADAR_FRONT" else 0.0
        expected = np.arange(1 + sweeps) * 0.075 - delay
        assert np.unique(ages) == pytest.approx(expected, abs=1e-5)


def test_point_counts_are_those_of_the_boxes(kit):
    from nuscenes.utils.data_classes import LidarPointCloud, RadarPointCloud
    from nuscenes.utils.geometry_utils import points_in_box

    everything = dict.fromkeys(("invalid_states", "dynprop_states", "ambig_states"))
    everything = {name: range(18) for name in everything}
    hit = 0
    for sample in kit.sample:
        path, boxes = in_sensor_frame(kit, sample, "LIDAR_TOP")
        points = LidarPointCloud.from_file(path).points[:3]
        for box in boxes:
            record = kit.get("sample_annotation", box.token)
            assert points_in_box(box, points).sum() == record["num_lidar_pts"]
            hit += record["num_lidar_pts"] > 0
        radar = dict.fromkeys(sample["anns"], 0)
        for channel in CHANNELS:
            if channel.startswith("RADAR"):
                path, boxes = in_sensor_frame(kit, sample, channel)
                returns = RadarPointCloud.from_file(path, **everything).points[:3]
                for box in boxes:
                    radar[box.token] += int(points_in_box(box, returns).sum())
        for annotation, count in radar.items():
            assert kit.get("sample_annotation", annotation)["num_radar_pts"] == count
    assert hit > 10


def test_velocity_agrees_with_the_attribute_and_is_constant(kit):
    moving = 0
    for instance in kit.instance:
        tokens = chain(kit, "sample_annotation", instance["first_annotation_token"])
        assert tokens[-1] == instance["last_annotation_token"]
        assert len(tokens) == instance["nbr_annotations"]
        if len(tokens) < 2:
            continue
        velocity = np.array([kit.box_velocity(token) for token in tokens])
        assert velocity == pytest.approx(
            np.tile(velocity[0], (len(tokens), 1)), abs=1e-4
        )
        record = kit.get("sample_annotation", tokens[0])
        attribute = kit.get("attribute", record["attribute_tokens"][0])["name"]
        if attribute.split(".")[1] in ("parked", "stopped", "standing"):
            assert velocity == pytest.approx(0 * velocity, abs=1e-6)
        else:
            moving += 1
            assert np.linalg.norm(velocity[0]) > 0.3
    assert moving > 0


def test_doppler_is_the_annotated_velocity_along_the_ray(kit):
    from nuscenes.utils.data_classes import RadarPointCloud
    from nuscenes.utils.geometry_utils import points_in_box
    from pyquaternion import Quaternion

    errors = []
    for sample in kit.sample:
        path, boxes = in_sensor_frame(kit, sample, "RADAR_FRONT")
        points = RadarPointCloud.from_file(path).points
        record = kit.get("sample_data", sample["data"]["RADAR_FRONT"])
        pose = kit.get("ego_pose", record["ego_pose_token"])
        mount = kit.get("calibrated_sensor", record["calibrated_sensor_token"])
        turn = Quaternion(pose["rotation"]) * Quaternion(mount["rotation"])
        for box in boxes:
            inside = points[:, points_in_box(box, points[:3])]
            velocity = turn.inverse.rotate(kit.box_velocity(box.token))[:2]
            line = inside[:2] / np.linalg.norm(inside[:2], axis=0)
            errors += list((inside[8:10] * line).sum(0) - velocity @ line)
    assert len(errors) > 10
    # The noise is 0.1 m/s; a ghost may lie in somebody's box.
    assert np.median(np.abs(errors)) < 0.15


def test_the_kit_renders_it(kit, tmp_path):
    kit.render_sample(
        kit.sample[1]["token"], out_path=str(tmp_path / "all.png"), verbose=False
    )
    assert cv2.imread(str(tmp_path / "all.png")).std() > 10
    for channel in ("CAM_BACK_LEFT", "RADAR_FRONT"):
        out = tmp_path / f"{channel}.png"
        data = kit.sample[2]["data"][channel]
        kit.render_sample_data(data, out_path=str(out), verbose=False)
        assert cv2.imread(str(out)).std() > 5


def test_the_kit_exports_it_to_kitti(root, kit, tmp_path, monkeypatch):
    export_kitti = pytest.importorskip("nuscenes.scripts.export_kitti")

    monkeypatch.setattr(export_kitti, "NuScenes", lambda version: kit)
    # The kit wants all scenes of a split to be there; here are two.
    logs = [record["logfile"] for record in kit.log]
    monkeypatch.setattr(export_kitti, "create_splits_logs", lambda *_: logs)
    export_kitti.KittiConverter(str(tmp_path), image_count=4).nuscenes_gt_to_kitti()
    names = sorted(path.stem for path in (tmp_path / "mini_train/label_2").iterdir())
    assert names == sorted(sample["token"] for sample in kit.sample[:4])
    for folder in ("calib", "image_2", "velodyne"):
        assert len(list((tmp_path / "mini_train" / folder).iterdir())) == 4


def test_same_files_from_one_job_and_after_an_interruption(root, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(root, again)
    (again / "scene_records/scene-0103.json").unlink()
    for path in (again / "samples").glob("*/*scene-0103*"):
        path.unlink()
    shutil.rmtree(again / VERSION)
    generate_nuscenes(again, scenes=1, val_scenes=1, jobs=1, progress=False, **GIVEN)
    first, second = (
        {
            str(path.relative_to(top)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in top.rglob("*")
            if path.is_file()
        }
        for top in (root, again)
    )
    assert first == second and len(first) > 2 * SAMPLES * len(CHANNELS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": "v2.0"}, "version must be v1.0-mini or v1.0-trainval"),
        ({"scenes": 9}, "v1.0-mini has 0 to 8 scenes in mini_train, got 9"),
        ({"scenes": 0}, "asked for no scene"),
        ({"samples": 0}, "samples must be at least 1"),
        ({"size": "large"}, "--size must be WIDTHxHEIGHT"),
    ],
)
def test_unusable_arguments(changes, message, tmp_path):
    with pytest.raises(DataError, match=message):
        generate_nuscenes(tmp_path, **{**GIVEN, "scenes": 1, **changes})


def test_another_recipe_in_the_folder_is_refused(root, capsys):
    words = (*TOOL, "--out", root, "--seed", 4, "--scenes", 1)
    assert status_of(create_data.main, *words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "holds what was made with" in error


def test_broken_scene_records_are_named(root, tmp_path):
    again = tmp_path / "again"
    (again / "scene_records").mkdir(parents=True)
    shutil.copy(root / "synthetic.json", again)
    (again / "scene_records/scene-0061.json").write_text('{"scene": [')
    with pytest.raises(DataError, match=r"scene-0061\.json: not the records"):
        generate_nuscenes(again, scenes=1, progress=False, **GIVEN)


def test_tokens_are_hashes_of_names():
    # md5 of "a/1"
    assert token("a", 1) == hashlib.md5(b"a/1").hexdigest()
