"""nuScenes' sample files: JPEG pictures, LiDAR .pcd.bin, radar .pcd, map masks."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from perception.core.files import replacing
from perception.core.images import write_image
from perception.datasets.synthetic.nuscenes.radar import POINT
from perception.datasets.synthetic.world.street import BACK_M, FAR_M, Layout

SUFFIXES = {"camera": "jpg", "lidar": "pcd.bin", "radar": "pcd"}
MAP_SIDE_M = 240.0
# The development kit reads masks at this resolution.
MAP_PIXELS_PER_M = 10
_PCD_TYPES = {"f": "F", "i": "I"}


def write_sample_file(path: Path, modality: str, data: np.ndarray) -> None:
    """Write one sensor's reading.

    Args:
        path: The file.
        modality: ``camera``, ``lidar`` or ``radar``.
        data: (H, W, 3) uint8 RGB, (P, 5) float32 points, or (P,) radar returns.

    Raises:
        DataError: If the file cannot be written.
    """
    if modality == "camera":
        write_image(path, data)
    elif modality == "lidar":
        with replacing(path) as temporary:
            data.astype("<f4").tofile(temporary)
    else:
        with replacing(path) as temporary:
            temporary.write_bytes(radar_pcd(data))


def radar_pcd(returns: np.ndarray) -> bytes:
    """A binary PCD v0.7 file of (P,) returns, as nuScenes writes them."""
    if not len(returns):
        # The format knows no empty cloud: NaN in the only point stands for one.
        returns = np.zeros(1, POINT)
        for axis in ("x", "y", "z"):
            returns[axis] = np.nan
    assert POINT.names is not None
    kinds = [POINT[name] for name in POINT.names]
    header = (
        "# .PCD v0.7 - Point Cloud Data file format",
        "VERSION 0.7",
        "FIELDS " + " ".join(POINT.names),
        "SIZE " + " ".join(str(kind.itemsize) for kind in kinds),
        "TYPE " + " ".join(_PCD_TYPES[kind.kind] for kind in kinds),
        "COUNT " + " ".join("1" for _ in kinds),
        f"WIDTH {len(returns)}",
        "HEIGHT 1",
        "VIEWPOINT 0 0 0 1 0 0 0",
        f"POINTS {len(returns)}",
        "DATA binary",
    )
    # The development kit wants at least one byte after the last point.
    return "\n".join(header).encode() + b"\n" + returns.tobytes() + b"\n"


def write_map_mask(path: Path, layout: Layout, global_T_world: np.ndarray) -> None:
    """Draw roads and sidewalks white on black, 0.1 m to the pixel, y upwards.

    Raises:
        DataError: If the file cannot be written.
    """
    right, left = layout.kerbs_m
    areas = [(BACK_M, FAR_M, right - layout.sidewalk_m, left + layout.sidewalk_m)]
    if layout.junction_m is not None:
        areas.append((*layout.junction_m, -80.0, 80.0))
    side = round(MAP_SIDE_M * MAP_PIXELS_PER_M)
    mask = np.zeros((side, side), np.uint8)
    for x0, x1, y0, y1 in areas:
        corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
        place = corners @ global_T_world[:2, :2].T + global_T_world[:2, 3]
        pixels = place * [MAP_PIXELS_PER_M, -MAP_PIXELS_PER_M] + [0, side]
        cv2.fillConvexPoly(mask, np.round(pixels).astype(np.int32), (255,))
    done, data = cv2.imencode(".png", mask)
    assert done, "OpenCV cannot encode PNG"
    with replacing(path) as temporary:
        temporary.write_bytes(data.tobytes())
