"""What attacks save keeps its budget, says a reader that shares no code with them."""

import cv2
import numpy as np
import pytest
from attacked_project import make_project
from saved_budgets import read_png, violations
from tiny_kitti import make_frame

from perception.cli import attack as tool
from perception.core.images import write_depth, write_image
from perception.datasets.kitti.files import read_points, write_points

THREATS = (
    *("camera_pgd", "lidar_pgd", "depth_pgd", "depth_pgd_px", "camera_pgd_l2"),
    *("lidar_pgd_l2", "depth_pgd_l2", "lidar_hide", "lidar_noise", "lidar_shift"),
    *("lidar_shift_3d", "lidar_add", "lidar_drop", "lidar_reflectance", "all_pgd"),
)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with near returns, which a budget of metres brings to the sensor."""
    made = make_project(tmp_path_factory.mktemp("project"))
    for path in (made.data / "training" / "velodyne").iterdir():
        points = read_points(path)
        points[::3, :3] *= np.float32(0.2)
        write_points(path, points)
    return made


def test_all_threats_keep_their_budgets(project, tmp_path):
    words = [project.config, project.checkpoint, "--out", tmp_path, "--save-data"]
    words += ["--steps", 2, "--num", 2, "--threat", *THREATS]
    tool.main([str(word) for word in words])
    folders = sorted(tmp_path.glob("*/data"))
    assert len(folders) == len(THREATS)
    found = [(f.parent.name, *violations(f, project.data)) for f in folders]
    assert [one for one in found if len(one) > 1] == []


def test_the_reader_of_pictures(tmp_path):
    frame = make_frame()
    write_image(tmp_path / "a.png", frame.sensors["camera"])
    write_depth(tmp_path / "b.png", frame.sensors["depth"])
    np.testing.assert_array_equal(read_png(tmp_path / "a.png"), frame.sensors["camera"])
    np.testing.assert_array_equal(read_png(tmp_path / "b.png"), frame.sensors["depth"])


def test_a_value_beyond_its_budget_is_found(project, tmp_path):
    words = [project.config, project.checkpoint, "--out", tmp_path, "--save-data"]
    words += ["--steps", 1, "--num", 1, "--threat", "camera_pgd"]
    tool.main([str(word) for word in words])
    (folder,) = tmp_path.glob("*/data")
    (path,) = (folder / "training" / "image_2").iterdir()
    picture = cv2.imread(str(path))
    picture[3, 5, 1] = 255 if picture[3, 5, 1] < 128 else 0
    cv2.imwrite(str(path), picture)
    (path,) = (folder / "training" / "velodyne").iterdir()
    path.write_bytes(path.read_bytes()[:-16])
    found = violations(folder, project.data)
    assert ["camera" in found[0], "lidar: changed" in found[1]] == [True, True]
