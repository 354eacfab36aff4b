"""Attacked frames in KITTI's layout, for any other detector to read.

    root/ImageSets/<split>.txt
    root/training/{image_2,velodyne,depth_2,calib,label_2}/<frame id>.*
    root/training/raster_<sensor>/<frame id>.npy
    root/about.json

Everything is at the detector's input resolution: calibration and labels are scaled
with the picture, and so must KITTI's least heights of objects be for the AP to be the
attack's: ``difficulties`` in ``about.json``, which ``tools/eval_kitti.py --about``
reads. Pictures are 8-bit, depth maps 16-bit (1/256 m); what does not fit is rounded so
that the threat model's budget still holds.

Attacked points are written as they are. An attacked LiDAR *map* has no point cloud: one
point per pixel with a return is placed on the pixel's ray at the attacked depth. Its
height is then implied by depth and pixel, whatever the attack wrote in the height
channel, and returns at the rasteriser's limits are moved just inside; the exact map
(C, H, W) is stored beside it as ``raster_<sensor>``.

Shape letters: N frames, C channels, H, W input size in pixels, P points.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from perception.attacks.base import Attack, Perturbation, Perturbed
from perception.attacks.batch import AttackBatch
from perception.attacks.threats.base import ThreatModel
from perception.attacks.threats.maps import MapThreat
from perception.attacks.threats.points import PointThreat
from perception.core.files import replacing, write_json
from perception.core.geometry import inverse_transform, unproject_to_cam
from perception.core.images import DEPTH_UNITS_PER_M, write_depth, write_image
from perception.core.structures import (
    Calibration,
    Channel,
    DataError,
    Frame,
    SensorSpec,
)
from perception.corruptions import Corruption
from perception.datasets.kitti.files import (
    require_words,
    write_calib,
    write_objects,
    write_points,
)
from perception.datasets.kitti.reader import KITTI_SOURCES, SensorSource
from perception.datasets.splits import write_split
from perception.datasets.transforms import resize_transform, warp_frame
from perception.evaluation.detection.rules import KITTI_DIFFICULTIES, Scoring
from perception.evaluation.robustness.attack_file import plain
from perception.evaluation.robustness.subject import Subject
from perception.models.rasterize import NEAR_PLANE_M

_MARGIN = 1e-5  # relative; projecting float32 points back rounds by less
_STEP = {"image": 1.0, "depth": 1 / DEPTH_UNITS_PER_M}


def _about(
    attack: Perturbation, batch: AttackBatch, scoring: Scoring
) -> dict[str, object]:
    """The threat; overlaps, and KITTI's difficulties for pictures so much smaller."""
    scale = batch.samples[0].scale_factor[1]
    levels = [
        replace(level, min_height_px=level.min_height_px * scale)
        for level in KITTI_DIFFICULTIES
    ]
    threat = attack.threat if isinstance(attack, Attack) else attack
    return {
        "threat": plain(threat),
        "scale": scale,
        "difficulties": plain(levels),
        "overlaps": plain(scoring.overlaps),
    }


class KittiSaver:
    """Writes attacked batches as a KITTI folder; a ``Saver`` of ``fill``.

    Args:
        root: The folder to write.
        subject: Whose frames will be written; its pipeline may resize, nothing else.

    Raises:
        DataError: If KITTI's layout has no place for a sensor.
    """

    def __init__(self, root: str | os.PathLike, subject: Subject) -> None:
        self.root, self.base = Path(root), Path(root) / "training"
        self.frames, self.scoring = subject.dataset.frames, subject.scoring
        require_words(subject.target.classes, root)  # before hours of work
        self.sources: Mapping[str, SensorSource] = getattr(
            self.frames, "sources", KITTI_SOURCES
        )
        split = self.root / "ImageSets" / f"{subject.settings['split']}.txt"
        write_split(split, subject.frame_ids)

    def __call__(
        self, attack: Perturbation, batch: AttackBatch, result: Perturbed
    ) -> None:
        """Write the N frames of a batch."""
        threat = attack.threat if isinstance(attack, Attack) else None
        if unknown := [name for name in batch.sensors if name not in self.sources]:
            raise DataError(
                f"{self.root}: KITTI's layout has no folder for sensor(s) {unknown}"
            )
        write_json(self.root / "about.json", _about(attack, batch, self.scoring))
        kept = {
            name: round_within(threat, name, batch, result)
            for name in attack.touched
            if batch.sensors[name].kind in _STEP
        }
        points = attacked_points(attack, result, batch)
        for n in range(len(batch)):
            frame = self._resized(batch, n)
            height, width = frame.image_size
            sensors = dict(frame.sensors)
            for name, values in kept.items():
                sensors[name] = _as_array(values[n, :, :height, :width])
            for name, clouds in points.items():
                sensors[name] = clouds[n].detach().cpu().numpy()
            for name in set(attack.touched) - set(kept) - set(points):
                raster = result.inputs[name][n, :, :height, :width].cpu().numpy()
                spec = batch.sensors[name]
                clean = batch.inputs[name][n, :, :height, :width].cpu().numpy()
                keeps = _keeps_returns(threat, name)
                drawn = in_sight(raster, clean, spec, keeps_returns=keeps)
                sensors[name] = raster_points(drawn, spec, frame.calibration)
                self._write_raster(name, frame.frame_id, raster)
            self._write(replace(frame, sensors=sensors))

    def _resized(self, batch: AttackBatch, n: int) -> Frame:
        """The clean frame at the detector's input resolution."""
        frame = self.frames[batch.ids[n]]
        size = tuple(batch.samples[n].img_shape[:2])
        matrix = resize_transform(frame.image_size, size)
        resized = warp_frame(frame, matrix, size)
        calibration = resized.calibration
        for name, projection in batch.samples[n].projections.items():
            ours = calibration.image_P_cam @ calibration.cam_T_sensor[name]
            if not np.allclose(ours, projection, rtol=1e-4, atol=1e-3):
                raise DataError(
                    f"{self.root}: frame {frame.frame_id}: only frames that the data "
                    "pipeline resizes, and nothing else, can be saved"
                )
        return resized

    def _write(self, frame: Frame) -> None:
        name = frame.frame_id
        if not any(self.sources[s].kind == "image" for s in frame.sensors):
            raise DataError(
                f"{self.root}: frame {name}: KITTI's layout needs the camera's picture"
            )
        for sensor, value in frame.sensors.items():
            source = self.sources[sensor]
            folder = self.base / Path(source.folder).name
            if source.kind == "points":
                write_points(folder / f"{name}.bin", value)
            elif source.kind == "depth":
                write_depth(folder / f"{name}.png", value)
            else:
                write_image(folder / f"{name}.png", value)
        calibration, points = frame.calibration, [*frame.calibration.cam_T_sensor]
        if not points:
            calibration = replace(calibration, cam_T_sensor={"lidar": np.eye(4)})
        write_calib(
            self.base / "calib" / f"{name}.txt",
            calibration,
            points_sensor=points[0] if points else "lidar",
        )
        if frame.objects is not None:
            write_objects(self.base / "label_2" / f"{name}.txt", frame.objects)

    def _write_raster(self, sensor: str, frame_id: str, raster: np.ndarray) -> None:
        path = self.base / f"raster_{sensor}" / f"{frame_id}.npy"
        with replacing(path) as temporary:
            np.save(temporary, raster, allow_pickle=False)


def round_within(
    threat: ThreatModel | None, sensor: str, batch: AttackBatch, result: Perturbed
) -> Tensor:
    """Attacked values (N, C, H, W) that a file can hold, still within the budget.

    Values are rounded to the nearest step of the file format; where that leaves the
    budget, and everywhere if the budget is not one of the map's values, towards the
    clean value. A clean value that is no step itself is rounded as an unattacked
    file would round it if no step lies between it and the attacked value.
    """
    step = _STEP[batch.sensors[sensor].kind]
    clean = batch.inputs[sensor].double() / step
    attacked = result.inputs[sensor].double() / step
    towards = torch.where(attacked >= clean, attacked.floor(), attacked.ceil())
    overshot = torch.where(attacked >= clean, towards < clean, towards > clean)
    towards = torch.where(overshot, clean.round(), towards)
    variable = result.variable
    if threat is None or variable is None:
        return towards * step
    if not torch.equal(variable, result.inputs[sensor]):
        return towards * step
    nearest = attacked.round()
    allowed = threat.project((nearest * step).to(variable), batch)
    fits = allowed.double() == nearest * step
    return torch.where(fits, nearest, towards) * step


def attacked_points(
    attack: Perturbation, result: Perturbed, batch: AttackBatch
) -> dict[str, list[Tensor]]:
    """{sensor: N clouds (P, 3 + F)} where the points themselves were changed.

    A failed sensor's points count as well, unless what is wrong is where they are
    projected to, which only the map shows.
    """
    if isinstance(attack, Corruption):
        clouds = attack.clouds(batch)
        return {} if clouds is None else {attack.sensor: clouds}
    threat = attack.threat if isinstance(attack, Attack) else None
    if not isinstance(threat, PointThreat) or result.variable is None:
        return {}
    return {threat.sensor: threat.points(result.variable, batch)}


def _keeps_returns(threat: ThreatModel | None, sensor: str) -> bool:
    """Whether a threat changes a sensor's map, so that no return can vanish."""
    parts = getattr(threat, "parts", (threat,))
    return any(isinstance(part, MapThreat) and part.sensor == sensor for part in parts)


def in_sight(
    raster: np.ndarray,
    clean: np.ndarray,
    spec: SensorSpec,
    *,
    keeps_returns: bool = False,
) -> np.ndarray:
    """The map with depths that the rasteriser would not draw moved just inside.

    Otherwise a return attacked from 5 m to 0.05 m, or from 79 m to 80 m, would be none
    at all when its point is read again, a change far beyond the budget. Moving it
    brings it nearer to the clean one. Where that has no return and the attack put one
    before the near plane, there stays none.

    Args:
        raster: (C, H, W) attacked model input of a points sensor, in physical units.
        clean: (C, H, W) what it was.
        spec: What the channels hold; ``depth_m`` must be one of them.
        keeps_returns: What the clean map has is a return whatever its depth became:
            without its point all its channels would change by more than the budget.

    Raises:
        DataError: If the map has no depth.
    """
    channel = _depth_of(spec)
    index = spec.channels.index(channel)
    depth_m, near_m = raster[index], NEAR_PLANE_M * (1 + _MARGIN)
    moved = depth_m.clip(near_m, channel.high * (1 - _MARGIN))
    none = (depth_m < near_m) & (clean[index] <= 0)
    if not keeps_returns:
        none |= depth_m <= 0
    result = raster.copy()
    result[index] = np.where(none, 0, moved)
    return result


def raster_points(
    raster: np.ndarray, spec: SensorSpec, calibration: Calibration
) -> np.ndarray:
    """One point per return of a (C, H, W) map: (P, 3 + F) float32.

    Args:
        raster: Model input of a points sensor, in physical units.
        spec: What its channels hold; ``depth_m`` must be one of them.
        calibration: Of the map's resolution.

    Raises:
        DataError: If the map has no depth.
    """
    channels = {c.name: raster[i] for i, c in enumerate(spec.channels)}
    depth_m = channels[_depth_of(spec).name].astype(np.float64)
    rows, columns = np.nonzero(depth_m > 0)
    pixels = np.stack([columns, rows], axis=-1).astype(np.float64)
    cam = unproject_to_cam(calibration.image_P_cam, pixels, depth_m[rows, columns])
    sensor_T_cam = inverse_transform(calibration.cam_T_sensor[spec.name])
    xyz = cam @ sensor_T_cam[:3, :3].T + sensor_T_cam[:3, 3]
    features = [
        channels[name][rows, columns] if name in channels else np.zeros(len(rows))
        for name in spec.columns[3:]
    ]
    return np.column_stack([xyz, *features]).astype(np.float32)


def _depth_of(spec: SensorSpec) -> Channel:
    for channel in spec.channels:
        if channel.name == "depth_m":
            return channel
    raise DataError(f"sensor {spec.name!r}: a map without depth_m has no points")


def _as_array(values: Tensor) -> np.ndarray:
    """(C, H, W) values to what the writers take: (H, W, 3) uint8 or (H, W) metres."""
    array = values.detach().cpu().numpy()
    if len(array) == 1:
        return array[0]
    return np.rint(array).clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
