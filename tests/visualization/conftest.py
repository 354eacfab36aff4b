"""A small scene with known geometry."""

from collections.abc import Callable

import numpy as np
import pytest

from perception.core.structures import Calibration, Frame, Objects

# Sensor x (forward) is cam z, sensor y (left) is -x, sensor z (up) is -y.
CAM_T_LIDAR = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])


def make_frame(
    size: tuple[int, int] = (48, 96), count: int = 2, seed: int = 0
) -> Frame:
    """Camera, LiDAR and depth of ``size`` (H, W), with ``count`` cars ahead."""
    rng = np.random.default_rng(seed)
    height, width = size
    focal = 0.6 * width
    image_P_cam = np.array(
        [[focal, 0, width / 2, 0], [0, focal, height / 2, 0], [0, 0, 1.0, 0]]
    )
    ahead = np.linspace(8, 30, count)
    edges = rng.uniform(0, 1, (count, 4)) * [width, height, width, height]
    boxes = np.hstack([np.sort(edges[:, 0::2]), np.sort(edges[:, 1::2])])
    objects = Objects(
        names=np.array(["Car", "DontCare"] * count, dtype=object)[:count],
        boxes_px=boxes[:, [0, 2, 1, 3]],
        truncation=np.zeros(count),
        occlusion=np.zeros(count, dtype=np.int64),
        alpha=np.zeros(count),
        dimensions_m=np.tile([1.5, 1.6, 4.0], (count, 1)),
        location_m=np.stack([np.zeros(count), np.full(count, 1.6), ahead], axis=1),
        rotation_y=np.linspace(-1, 1, count),
    )
    points = rng.uniform([2, -20, -2, 0], [60, 20, 2, 1], (400, 4))
    depth_m = rng.uniform(2, 90, size) * (rng.uniform(size=size) > 0.3)
    return Frame(
        frame_id="000007",
        sensors={
            "camera": rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
            "lidar": points.astype(np.float32),
            "depth": depth_m.astype(np.float32),
        },
        calibration=Calibration(image_P_cam, {"lidar": CAM_T_LIDAR}),
        image_size=size,
        objects=objects,
    )


@pytest.fixture(name="make_frame", scope="session")
def make_frame_fixture() -> Callable[..., Frame]:
    """The function ``make_frame``."""
    return make_frame
