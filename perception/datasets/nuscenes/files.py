"""Reading nuScenes' point files: LiDAR ``.pcd.bin`` and radar ``.pcd``.

The values are those of the devkit's ``LidarPointCloud`` and ``RadarPointCloud`` with
its default filters. Read here, a damaged file raises ``DataError``, and processes that
load data need not import the devkit, which takes seconds.

Format: Caesar et al., "nuScenes: a multimodal dataset for autonomous driving" (CVPR
2020), and the devkit's ``data_classes.py``.

Shape letter: P points.
"""

from __future__ import annotations

import os

import numpy as np

from perception.core.files import read_bytes
from perception.core.structures import DataError
from perception.datasets.reader import check_finite

LIDAR_COLUMNS = ("x", "y", "z", "reflectance", "ring")
RADAR_COLUMNS = ("x", "y", "z", "velocity_mps", "rcs_dbsm")

# What the devkit keeps by default: valid clusters, any known motion, and a radial
# velocity that is not ambiguous.
_KEPT_STATES = {"invalid_state": (0,), "dyn_prop": range(7), "ambig_state": (3,)}
_FIELDS = ("x", "y", "z", "rcs", "vx_comp", "vy_comp", *_KEPT_STATES)
_TYPES = {"F": "f", "I": "i", "U": "u"}


def read_lidar(path: str | os.PathLike) -> np.ndarray:
    """Read a LiDAR sweep: (P, 5) float32 with ``LIDAR_COLUMNS``.

    Coordinates are metres in the sensor's own frame, the reflectance is nuScenes'
    intensity (0 … 255) divided by 255.

    Raises:
        DataError: If the size is no multiple of a point's, or a value not finite.
    """
    data = read_bytes(path)
    if len(data) % 20:
        raise DataError(
            f"{path}: expected a multiple of 20 bytes (x, y, z, intensity, ring as "
            f"float32), got {len(data)}"
        )
    points = np.frombuffer(data, dtype="<f4").reshape(-1, 5).astype(np.float32)
    points[:, 3] /= 255
    return check_finite(path, points)


def read_radar(path: str | os.PathLike) -> np.ndarray:
    """Read a radar sweep: (P, 5) float32 with ``RADAR_COLUMNS``.

    Coordinates are metres in the radar's own frame (z is 0: it measures no height).
    The velocity is radial, in m/s over ground (compensated for the vehicle's own
    motion) and positive when the target moves away; the radar cross-section is in
    dB m².

    Raises:
        DataError: If the file is no binary PCD with nuScenes' fields, is cut off, or
            holds a value that is not finite.
    """
    table = _pcd_table(path)
    if len(table) == 0 or any(np.isnan(float(value)) for value in table[0].item()):
        return np.zeros((0, len(RADAR_COLUMNS)), dtype=np.float32)
    keep = np.ones(len(table), dtype=bool)
    for name, states in _KEPT_STATES.items():
        keep &= np.isin(table[name], list(states))
    table = table[keep]
    x, y, z = (table[name].astype(np.float64) for name in "xyz")
    range_m = np.maximum(np.hypot(x, y), 1e-6)
    velocity_mps = (table["vx_comp"] * x + table["vy_comp"] * y) / range_m
    columns = [x, y, z, velocity_mps, table["rcs"]]
    return check_finite(path, np.stack(columns, axis=1).astype(np.float32))


def _pcd_table(path: str | os.PathLike) -> np.ndarray:
    """The structured array (P,) of a binary PCD file."""
    data = read_bytes(path)
    head, mark, rest = data.partition(b"\nDATA binary\n")
    if not mark:
        raise DataError(f"{path}: expected a PCD file with binary data")
    lines = (line.split() for line in head.decode("latin-1").splitlines())
    header = {words[0]: words[1:] for words in lines if words}
    try:
        kinds = zip(header["TYPE"], header["SIZE"], strict=True)
        formats = [f"<{_TYPES[kind]}{size}" for kind, size in kinds]
        dtype = np.dtype(list(zip(header["FIELDS"], formats, strict=True)))
        width, height = int(header["WIDTH"][0]), int(header["HEIGHT"][0])
        if min(width, height) < 0:
            raise ValueError(f"{width} x {height} points")
        count = width * height
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise DataError(f"{path}: broken PCD header ({error!r})") from error
    if missing := [name for name in _FIELDS if name not in (dtype.names or ())]:
        raise DataError(f"{path}: not a nuScenes radar file: no fields {missing}")
    if len(rest) < count * dtype.itemsize:
        raise DataError(
            f"{path}: expected {count} points of {dtype.itemsize} bytes, the file "
            f"holds {len(rest)} bytes of data"
        )
    return np.frombuffer(rest, dtype=dtype, count=count)
