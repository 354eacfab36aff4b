"""What a picture of an attack shows, as values: no detector, no file, no drawing.

Everything is at the resolution of the detector's input, except boxes and labels, which
are in pixels of the original image, as data sets and results have them.

Shape letters: S sensors; C, H, W model input; P points; h, w gate map.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from perception.core.geometry import inverse_transform, unproject_to_cam
from perception.core.structures import Calibration, Objects, SensorSpec
from perception.visualization.changes import PointChanges, point_changes


@dataclass(frozen=True)
class View:
    """What a detector was given and what it made of it.

    Attributes:
        inputs: For each sensor (C, H, W) in physical units, without padding.
        points: For each point sensor its cloud (P, 3 + F).
        detections: In pixels of the original image, with scores.
        gate: (S + 1,) probabilities, None for a detector without a gate.
        gate_map: (S + 1, H, W) or (S + 1, h, w) over the image, None if it is not
            spatial.
        doubt: Above 0 if the fusion is sure that some sensor lies, whether or not the
            gate tells which; None for a detector without such a state.
        loss: Detection loss, None where there are no labels.
    """

    inputs: Mapping[str, np.ndarray]
    points: Mapping[str, np.ndarray]
    detections: Objects
    gate: np.ndarray | None = None
    gate_map: np.ndarray | None = None
    doubt: float | None = None
    loss: float | None = None


@dataclass(frozen=True)
class Scene:
    """One frame seen by one detector, clean and, if there was an attack, attacked.

    Attributes:
        frame_id: Name of the frame.
        sensors: The detector's sensors, in the order of its gate.
        calibration: Fits the model inputs.
        image_size: (H, W) of the model inputs without padding.
        original_size: (H, W) of the image that boxes are measured in.
        truth: Labels, None where there are none.
        clean: On the frame as it is.
        attacked: On the attacked frame, None without an attack.
        touched: Names of the sensors that the attacker may change.
        picture: (H, W, 3) uint8 RGB for a detector without a camera of its own.
        detector: What to call the detector.
        attack: What to call the attack.
        facts: Further (name, value) pairs to tell about the attack.
    """

    frame_id: str
    sensors: Mapping[str, SensorSpec]
    calibration: Calibration
    image_size: tuple[int, int]
    original_size: tuple[int, int]
    truth: Objects | None
    clean: View
    attacked: View | None = None
    touched: tuple[str, ...] = ()
    picture: np.ndarray | None = None
    detector: str = ""
    attack: str = ""
    facts: tuple[tuple[str, str], ...] = ()

    @property
    def last(self) -> View:
        """The attacked view, or the clean one where there was no attack."""
        return self.attacked or self.clean

    def backdrop(self, view: View) -> np.ndarray | None:
        """(H, W, C) picture to draw boxes on, in 0 … 255; None without a camera."""
        for name, spec in self.sensors.items():
            if spec.kind == "image":
                return view.inputs[name].transpose(1, 2, 0)
        return self.picture

    def changed_points(self) -> dict[str, PointChanges]:
        """What the attack did to each touched point sensor, in its own frame."""
        if self.attacked is None:
            return {}
        changes = {}
        for name in self.touched:
            spec = self.sensors[name]
            if spec.kind != "points":
                continue
            before, after = self.clean.points[name], self.attacked.points[name]
            if before is not after:
                changes[name] = point_changes(before, after)
            elif any(channel.name == "depth_m" for channel in spec.channels):
                changes[name] = raster_changes(
                    self.clean.inputs[name],
                    self.attacked.inputs[name],
                    spec,
                    self.calibration,
                )
        return changes


def raster_changes(
    clean: np.ndarray, attacked: np.ndarray, spec: SensorSpec, calibration: Calibration
) -> PointChanges:
    """What an attack on a map of points would mean in space.

    A pixel whose depth changed is a point that moved on the pixel's ray; one that
    gained or lost its return is a point added or removed.

    Args:
        clean: (C, H, W) model input with a channel ``depth_m``.
        attacked: Likewise.
        spec: Of the point sensor.
        calibration: Fits the model input.
    """
    index = [channel.name for channel in spec.channels].index("depth_m")
    before, after = clean[index], attacked[index]
    image_P_cam = calibration.image_P_cam
    sensor_T_cam = inverse_transform(calibration.cam_T_sensor[spec.name])

    def located(depth_m: np.ndarray, where: np.ndarray) -> np.ndarray:
        rows, columns = np.nonzero(where)
        pixels = np.stack([columns, rows], axis=-1).astype(np.float64)
        cam = unproject_to_cam(image_P_cam, pixels, depth_m[rows, columns])
        return cam @ sensor_T_cam[:3, :3].T + sensor_T_cam[:3, 3]

    moved = (before > 0) & (after > 0) & (before != after)
    return PointChanges(
        moved_from=located(before, moved),
        moved_to=located(after, moved),
        added=located(after, (before <= 0) & (after > 0)),
        removed=located(before, (before > 0) & (after <= 0)),
    )
