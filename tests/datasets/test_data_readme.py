"""The code that data/README.md shows for one's own recordings runs."""

import json
from pathlib import Path

import numpy as np
import pytest
from data_readme import block
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from perception.core.images import write_image
from perception.core.structures import DataError
from perception.datasets import frame_dataset, transforms  # noqa: F401 (registered)
from perception.datasets.kitti.reader import KittiFrames
from perception.models.preprocessor import MultiModalPreprocessor

README = Path(__file__).parents[2] / "data/README.md"


@pytest.fixture
def harbour(tmp_path):
    folder = tmp_path / "data/harbour/pier-1"
    folder.mkdir(parents=True)
    write_image(folder / "picture.jpg", np.full((96, 320, 3), 90, np.uint8))
    # A boat 50 m ahead that comes nearer at 3 m/s; the radar hangs at the camera.
    np.save(folder / "radar.npy", np.array([[50.0, 0.0, 0.0, -3.0]]))
    known = {
        "image_P_cam": [[300, 0, 160, 0], [0, 300, 48, 0], [0, 0, 1, 0]],
        "cam_T_radar": [[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]],
    }
    (folder / "calibration.json").write_text(json.dumps(known))
    boxes = [{"name": "Boat", "box_px": [150, 30, 175, 60]}]
    (folder / "boxes.json").write_text(json.dumps(boxes))
    (folder.parent / "train.txt").write_text("pier-1\n")
    return tmp_path


def test_ones_own_reader(harbour, monkeypatch):
    init_default_scope("mmdet")
    monkeypatch.chdir(harbour)
    monkeypatch.syspath_prepend(harbour)
    monkeypatch.delitem(DATASETS.module_dict, "MyFrames", raising=False)
    (harbour / "my_frames.py").write_text(block("own-reader"))
    (harbour / "config.py").write_text(block("own-config"))
    config = Config.fromfile("config.py")  # imports my_frames, which registers itself
    dataset = DATASETS.build(config.dataset)
    packed = frame_dataset.collate_frames([dataset[0]])
    assert dataset.frames.frame_ids == ["pier-1"]
    assert packed["data_samples"][0].gt_instances.labels.tolist() == [0]
    radar = MultiModalPreprocessor(config.sensors)(packed)["inputs"]["radar"][0]
    # From 3 m above the radar to 2 m below: 18 px up, 12 px down, at the 50 m column.
    rows, columns = radar[0].nonzero(as_tuple=True)
    assert set(columns.tolist()) == {160}
    assert rows.tolist() == list(range(30, 61))
    np.testing.assert_allclose(radar[:, 48, 160], [50.0, -3.0])
    np.save("data/harbour/pier-1/radar.npy", np.zeros((1, 3)))
    with pytest.raises(DataError, match=r"radar\.npy: expected \(P, 4\)"):
        dataset[0]


def test_ones_own_recordings_in_kittis_layout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block("own-kitti-layout"), "data/README.md", "exec"), {})
    (frame,) = KittiFrames("data/mine", "train", optional_sensors=("depth",))
    assert frame.objects.names.tolist() == ["Car"]
    assert frame.sensors["lidar"].shape == (1, 4)
    lidar = frame.calibration.cam_T_sensor["lidar"] @ [10, 0, -1, 1]
    np.testing.assert_allclose(lidar, [0, 0.92, 10, 1])
