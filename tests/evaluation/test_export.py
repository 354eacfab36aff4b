import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from attacked_project import make_project
from hypothesis import given
from hypothesis import strategies as st
from mmdet.structures import DetDataSample
from tiny_kitti import CALIBRATION

from perception.apis import build_dataset
from perception.attacks import AttackBatch, MapThreat, build_attack
from perception.attacks.base import Perturbed
from perception.core.structures import Channel, DataError, SensorSpec
from perception.datasets.kitti.reader import KittiFrames
from perception.evaluation.robustness.cell import run_batch
from perception.evaluation.robustness.export import (
    KittiSaver,
    in_sight,
    raster_points,
    round_within,
)
from perception.evaluation.robustness.spec import DetectorRun, DetectorSpec, Running
from perception.evaluation.robustness.subject import load_subject

GREY = SensorSpec("camera", "image", (Channel("grey", "grey levels", 0, 255),))
DEPTH = SensorSpec("depth", "depth", (Channel("depth_m", "m", 0, 80),))


def rounded(spec, clean, attacked, **threat):
    """What ``round_within`` makes of a row of values."""
    shape = (1, 1, 1, -1)
    clean = torch.tensor(clean, dtype=torch.float32).view(shape)
    attacked = torch.tensor(attacked, dtype=torch.float32).view(shape)
    sample = DetDataSample(metainfo={"img_shape": tuple(clean.shape[2:])})
    batch = AttackBatch(
        {spec.name: clean}, {spec.name: []}, [sample], {spec.name: spec}, [0]
    )
    model = MapThreat(name="test", sensor=spec.name, **threat)
    variable = model.project(attacked, batch)
    result = Perturbed({spec.name: variable}, None, None, variable)
    return round_within(model, spec.name, batch, result).flatten().tolist()


def test_grey_levels_stay_within_half_a_level():
    # 2.5 grey levels: 102.5 rounds to 102 (even), 97.5 to 98; 103 would be too much.
    got = rounded(GREY, [100, 100, 100, 100], [102.4, 102.6, 97.5, 101.2], eps=2.5)
    assert got == [102, 102, 98, 101]


def test_an_l2_budget_rounds_towards_the_clean_value():
    got = rounded(GREY, [100] * 4, [100.6, 100.6, 99.4, 100.6], norm="l2", eps=1.2)
    assert got == [100, 100, 100, 100]


def test_depth_steps_are_those_of_the_file():
    step = 1 / 256
    clean = [10.0, 10.0, 0.0, 10.0 + 0.3 * step]
    attacked = [10 + 0.6 * step, 10 - 0.4 * step, 0.7 * step, 10.0 + 0.9 * step]
    got = rounded(DEPTH, clean, attacked, eps=0.6 * step)
    # The last one has no step between clean and attacked: as if not attacked.
    assert got == [10.0, 10.0, 0.0, 10.0]


@given(
    st.lists(st.integers(0, 255), min_size=3, max_size=3),
    st.lists(st.floats(0, 255, width=32), min_size=3, max_size=3),
    st.floats(0, 20),
    st.sampled_from(["linf", "l2"]),
)
def test_rounding_never_leaves_the_budget(clean, attacked, eps, norm):
    got = rounded(GREY, clean, attacked, eps=eps, norm=norm)
    assert all(value == int(value) and 0 <= value <= 255 for value in got)
    change = np.array(got) - np.array(clean)
    size = np.abs(change).max() if norm == "linf" else np.linalg.norm(change)
    assert size <= eps + 1e-4


def test_points_of_a_map_project_to_its_pixels():
    channels = (Channel("depth_m", "m", 0, 80), Channel("reflectance", "1", 0, 1))
    columns = ("x", "y", "z", "reflectance", "ring")
    spec = SensorSpec("lidar", "points", channels, columns)
    raster = np.zeros((2, 32, 64), np.float32)
    raster[:, 4, 50] = 20.0, 0.25
    points = raster_points(raster, spec, CALIBRATION)
    # Pixel (50, 4) at 20 m: 18.5 px right of and 11.5 px above the centre, f = 40 px.
    expected = [20, -18.5 * 20 / 40, 11.5 * 20 / 40, 0.25, 0]
    np.testing.assert_allclose(points, [expected], atol=1e-5)
    flat = SensorSpec("lidar", "points", channels[1:], columns)
    with pytest.raises(DataError, match="without depth_m"):
        raster_points(raster[1:], flat, CALIBRATION)


def test_a_return_attacked_out_of_sight_is_drawn_again():
    from perception.models.rasterize import draw_points

    spec = SensorSpec(
        "lidar",
        "points",
        (Channel("depth_m", "m", 0, 80),),
        ("x", "y", "z", "reflectance"),
    )
    raster, clean = np.zeros((2, 1, 32, 64), np.float32)
    pixels = [4, 50], [9, 7], [30, 63], [2, 2], [16, 32]
    near, far, none, kept, gone = ((0, row, column) for row, column in pixels)
    clean[near], raster[near] = 5.0, 0.05
    clean[far], raster[far] = 79.0, 80.0
    clean[none], raster[none] = 0.0, 0.05
    clean[kept], raster[kept] = 20.0, 21.0
    clean[gone], raster[gone] = 3.0, 0.0
    drawn_map = in_sight(raster, clean, spec, keeps_returns=True)
    points = raster_points(drawn_map, spec, CALIBRATION)
    matrix = CALIBRATION.image_P_cam @ CALIBRATION.cam_T_sensor["lidar"]
    projection = torch.from_numpy(matrix).float()
    drawn = draw_points(torch.from_numpy(points), spec, projection, (32, 64)).numpy()
    values = [drawn[place] for place in (near, far, none, kept, gone)]
    assert values == pytest.approx([0.1, 80, 0, 21, 0.1], rel=1e-4)
    # A failed sensor may lose returns.
    assert in_sight(raster, clean, spec)[gone] == 0
    assert (drawn > 0).sum() == 4
    assert raster[near] == np.float32(0.05), "the exact map is stored as it is"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def subject(project):
    spec = DetectorSpec(config=str(project.config), checkpoint=str(project.checkpoint))
    return load_subject(DetectorRun(detector=spec))


def saved(subject, root, attack, indices=(0, 2)):
    """The attacked frames as a data set, and the attack's inputs for each."""
    inputs: dict = {}
    subject = replace(subject, indices=list(indices))
    saver = KittiSaver(root, subject)

    def save(attack, batch, result):
        saver(attack, batch, result)
        for n, sample in enumerate(batch.samples):
            inputs[sample.frame_id] = (
                {name: value[n] for name, value in batch.inputs.items()},
                {name: value[n] for name, value in result.inputs.items()},
            )

    batches = subject.batches(Running(batch_size=2))
    for batch in batches:
        run_batch(subject.target, attack, batch, save=save)
    return KittiFrames(root, "val"), inputs


def read_back(subject, root):
    """{frame id: model inputs} of a saved folder, through the detector's pipeline."""
    frames = subject.dataset
    again = type(frames)(
        frames=KittiFrames(root, "val"),
        classes=frames.metainfo["classes"],
        pipeline=[{"type": "PackFrame"}],
    )
    inputs = {}
    for packed in again:
        batch = {
            "inputs": {name: [value] for name, value in packed["inputs"].items()},
            "data_samples": [packed["data_samples"]],
        }
        packed_inputs = subject.target.detector.data_preprocessor(batch)["inputs"]
        frame_id = packed["data_samples"].frame_id
        inputs[frame_id] = {name: value[0] for name, value in packed_inputs.items()}
    return inputs


CASES = {
    "camera": (dict(eps=3.3), 0.5),
    "depth": (dict(eps=1.0), 1 / 256),
}


@pytest.mark.parametrize("sensor", CASES)
def test_saved_maps_keep_their_budget(subject, tmp_path, sensor):
    fields, step = CASES[sensor]
    threat = dict(type="MapThreat", sensor=sensor, steps=2, **fields)
    attack = build_attack("test", dict(type="PGD", threat=threat))
    stored, inputs = saved(subject, tmp_path, attack)
    assert list(stored.frame_ids) == ["000001", "000003"]
    for frame_id, read in read_back(subject, tmp_path).items():
        clean, attacked = inputs[frame_id]
        change = (read[sensor] - clean[sensor]).abs().max()
        assert 0 < change <= fields["eps"]
        assert (read[sensor] - attacked[sensor]).abs().max() <= 2 * step
        for other in set(clean) - {sensor}:
            assert torch.equal(read[other], clean[other]), other
    about = json.loads((tmp_path / "about.json").read_text())
    assert about["threat"]["eps"] == fields["eps"]


def test_a_saved_lidar_map_comes_back_from_points(subject, tmp_path):
    eps = dict(depth_m=2.0, reflectance=0.2)
    threat = dict(type="MapThreat", sensor="lidar", steps=2, eps=eps)
    attack = build_attack("test", dict(type="PGD", threat=threat))
    _, inputs = saved(subject, tmp_path, attack)
    for frame_id, read in read_back(subject, tmp_path).items():
        attacked = inputs[frame_id][1]["lidar"]
        file = tmp_path / "training" / "raster_lidar" / f"{frame_id}.npy"
        np.testing.assert_array_equal(np.load(file), attacked.numpy())
        seen = attacked[0] > 0.11  # nearer than the near plane is not drawn
        for channel in (0, 2):
            torch.testing.assert_close(
                read["lidar"][channel][seen],
                attacked[channel][seen],
                atol=1e-4,
                rtol=1e-4,
            )


def test_attacked_points_are_saved_as_they_are(subject, tmp_path):
    threat = dict(type="PointShift", sensor="lidar", radius_m=0.5, steps=1)
    attack = build_attack("test", dict(type="PGD", threat=threat))
    _, inputs = saved(subject, tmp_path, attack)
    assert not (tmp_path / "training" / "raster_lidar").exists()
    for frame_id, read in read_back(subject, tmp_path).items():
        clean, attacked = inputs[frame_id]
        assert not torch.equal(clean["lidar"], attacked["lidar"])
        torch.testing.assert_close(read["lidar"], attacked["lidar"])


def test_labels_and_calibration_are_scaled(subject, project, tmp_path):
    from perception.apis import as_config
    from perception.core.config import load_config

    config = as_config(load_config(project.config))
    config.test_dataloader.dataset.pipeline[0].size = (32, 16)
    frames = build_dataset(config, "test")
    threat = dict(type="MapThreat", sensor="camera", steps=1, eps=4.0)
    attack = build_attack("test", dict(type="PGD", threat=threat))
    stored, _ = saved(replace(subject, dataset=frames), tmp_path, attack, [1])
    before, after = frames.frames[1], stored[0]
    assert after.image_size == (16, 32)
    about = json.loads((tmp_path / "about.json").read_text())
    assert about["scale"] == 0.5
    heights = {d["name"]: d["min_height_px"] for d in about["difficulties"]}
    assert heights == {"easy": 20, "moderate": 12.5, "hard": 12.5}
    # Pixel centres are integers: u' = (u + 0.5) / 2 - 0.5.
    expected = (before.objects.boxes_px + 0.5) / 2 - 0.5
    np.testing.assert_allclose(after.objects.boxes_px, expected, atol=0.5)
    assert after.calibration.fx_px == pytest.approx(20)
    baseline_m = before.calibration.baseline_m
    assert after.calibration.baseline_m == pytest.approx(baseline_m)


def test_sensors_without_a_folder_are_refused(subject, tmp_path):
    saver = KittiSaver(tmp_path, subject)
    saver.sources = {"camera": saver.sources["camera"]}
    threat = dict(type="MapThreat", sensor="camera", steps=1, eps=4.0)
    attack = build_attack("test", dict(type="PGD", threat=threat))
    with pytest.raises(DataError, match=r"no folder for sensor\(s\).*lidar"):
        batch = next(subject.batches(Running()))
        run_batch(subject.target, attack, batch, save=saver)
