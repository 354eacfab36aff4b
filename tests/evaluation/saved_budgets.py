"""Violations of a budget in what ``tools/attack.py --save-data`` wrote: NumPy alone.

Nothing of the program is used: files are read, points drawn and budgets looked up
here, so that a fault of the program cannot hide itself.
"""

import json
import struct
import zlib
from pathlib import Path

import numpy as np

FOLDERS = {"camera": "image_2", "lidar": "velodyne", "depth": "depth_2"}
SUFFIX = {"camera": ".png", "lidar": ".bin", "depth": ".png"}


def read_png(path):
    """(H, W, C) or (H, W): 8-bit RGB or 16-bit grey, any filter, not interlaced."""
    data, position, packed = path.read_bytes(), 8, b""
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        name = data[position + 4 : position + 8]
        content = data[position + 8 : position + 8 + length]
        if name == b"IHDR":
            width, height, bits, colour = struct.unpack(">IIBB", content[:10])
        packed += content if name == b"IDAT" else b""
        position += 12 + length
    step = {(8, 2): 3, (16, 0): 2}[bits, colour]
    rows = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(height, -1)
    pixels = np.zeros((height + 1, width * step + step), np.int64)
    for y, row in enumerate(rows, start=1):
        for x in range(step, pixels.shape[1]):
            a, b, c = pixels[y, x - step], pixels[y - 1, x], pixels[y - 1, x - step]
            near = [abs(b - c), abs(a - c), abs(a + b - 2 * c)]
            guess = (0, a, b, (a + b) // 2, (a, b, c)[int(np.argmin(near))])[row[0]]
            pixels[y, x] = (row[x - step + 1] + guess) % 256
    pixels = pixels[1:, step:]
    if colour == 2:
        return pixels.reshape(height, width, 3)
    return (pixels[:, ::2] * 256 + pixels[:, 1::2]) / 256


def drawn(points, calib, size, far_m=80.0):
    """(H, W, 2): depth and reflectance of the nearest point of every pixel."""
    rows = dict(line.split(":") for line in calib.read_text().splitlines() if line)
    values = {key: np.array(text.split(), float) for key, text in rows.items()}
    raw_T_velo, cam_R_raw = np.eye(4), np.eye(4)
    raw_T_velo[:3] = values["Tr_velo_to_cam"].reshape(3, 4)
    cam_R_raw[:3, :3] = values["R0_rect"].reshape(3, 3)
    matrix = values["P2"].reshape(3, 4) @ cam_R_raw @ raw_T_velo
    # In float32, as sensors are drawn: else points at a pixel's edge change sides.
    x, y, z = points[:, :3].T.astype(np.float32)
    rows = matrix.astype(np.float32)
    u, v, depth = (x * r[0] + y * r[1] + z * r[2] + r[3] for r in rows)
    image = np.zeros((*size, 2))
    near = depth > 0.1 * (1 - 1e-6)
    ahead = np.where(near, depth, np.float32(1))
    column, row = (np.floor(x / ahead + np.float32(0.5)) for x in (u, v))
    inside = near & (depth <= far_m * (1 + 1e-6)) & (column >= 0) & (row >= 0)
    inside &= (column < size[1]) & (row < size[0])
    for i in sorted(np.flatnonzero(inside), key=lambda i: -depth[i]):
        image[int(row[i]), int(column[i])] = depth[i], points[i, 3]
    return image


def violations(saved, clean):
    """One line for every frame and sensor of ``saved`` that breaks its budget."""
    about = json.loads((saved / "about.json").read_text())
    threat = about["threat"]
    parts = threat.get("parts", [threat])
    attacked = {part["sensor"]: part for part in parts}
    if threat["type"] == "StereoThreat":
        attacked["depth"] = {"type": "any"}
    found = []
    for frame in (saved / "ImageSets" / "val.txt").read_text().split():
        for sensor, folder in FOLDERS.items():
            name = Path("training") / folder / f"{frame}{SUFFIX[sensor]}"
            if sensor not in attacked:
                if not _same(saved / name, clean / name):
                    found.append(f"{frame} {sensor}: changed, but not attacked")
                continue
            calib = clean / "training" / "calib" / f"{frame}.txt"
            part = attacked[sensor]
            for wrong in _violated(part, sensor, saved / name, clean / name, calib):
                found.append(f"{frame} {sensor} {part.get('name')}: {wrong}")
    return found


def _same(one, two):
    if one.suffix == ".png":
        return np.array_equal(read_png(one), read_png(two))
    return one.read_bytes() == two.read_bytes()


def _violated(part, sensor, now, before, calib):
    kind, eps = part["type"], part.get("eps")
    if sensor == "lidar":
        old, new = (np.fromfile(p, "<f4").reshape(-1, 4) for p in (before, now))
        if not np.isfinite(new).all():
            yield "not finite"
        if kind == "MapThreat":
            size = read_png(
                Path(
                    str(before).replace("velodyne/", "image_2/").replace(".bin", ".png")
                )
            ).shape[:2]
            one, two = drawn(old, calib, size), drawn(new, calib, size)
            yield from _map(two - one, part, ("depth_m", "reflectance"), 1e-3)
        elif kind == "PointShift":
            moved = np.linalg.norm((new - old)[:, :3].astype(float), axis=1)
            if moved.max() > part["radius_m"] + 1e-5 or (new[:, 3] != old[:, 3]).any():
                yield f"moved by {moved.max()} m"
        elif kind == "PointFeatures":
            limit = eps["reflectance"] if isinstance(eps, dict) else eps
            change = np.abs((new - old)[:, 3].astype(float)).max()
            off = (new[:, 3] < 0) | (new[:, 3] > 1)
            if change > limit + 1e-6 or (new[:, :3] != old[:, :3]).any() or off.any():
                yield f"reflectance changed by {change}"
        elif kind == "PointAdd":
            added = new[len(old) :]
            if (new[: len(old)] != old).any() or len(added) > part["count"]:
                yield f"{len(added)} points added"
            if len(added) and added[:, 2].min() < old[:, 2].min():
                yield f"a point at z = {added[:, 2].min()} m, below all returns"
            far = np.linalg.norm(added[:, :3], axis=1)
            if len(added) and (far.max() > part["range_m"][1] + 1e-3):
                yield f"a point {far.max()} m away"
        elif kind == "PointDrop":
            rows, kept = set(map(bytes, old)), list(map(bytes, new))
            if len(old) - len(new) > part["count"] or not rows >= set(kept):
                yield f"{len(old) - len(new)} points dropped"
        return
    one, two = read_png(before), read_png(now)
    if kind == "MapThreat" and part.get("disparity"):
        offset = _offset_px_m(calib)
        known = one > 0
        if ((two > 0) != known).any():
            yield "a return where there was none"
        disparity = [abs(offset) / np.where(known, x, 1) for x in (one, two)]
        # The farthest end is where depth is cut to the sensor's range.
        change = np.abs(disparity[1] - disparity[0])[known]
        if change.size and change.max() > eps + 1e-6:
            yield f"disparity changed by {change.max()} px"
    elif kind in ("MapThreat", "StereoThreat"):
        change = two - one
        yield from _map(np.atleast_3d(change), part, None, 1e-4)


def _map(change, part, names, slack):
    eps, channels = part["eps"], change.shape[-1]
    limits = (
        [eps.get(name, 0.0) for name in names]
        if isinstance(eps, dict)
        else [eps] * channels
    )
    limits = np.array(limits, float)
    if part.get("norm", "linf") == "linf":
        over = np.abs(change).reshape(-1, channels).max(axis=0) - limits
        if (over > slack).any():
            yield f"changed by {(over + limits).tolist()}, budget {limits.tolist()}"
    else:
        length = np.sqrt(((change / np.maximum(limits, 1e-9)) ** 2).sum())
        if length > 1 + slack * 10:
            yield f"changed by {length} times the L2 budget"


def _offset_px_m(calib):
    rows = dict(line.split(":") for line in calib.read_text().splitlines() if line)
    left, right = (np.array(rows[key].split(), float) for key in ("P2", "P3"))
    return right[3] - left[3]
