"""Scenes of 96 x 48 pixels, in memory, clean or attacked."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from perception.core.structures import Calibration, Objects, SensorSpec
from perception.visualization.scene import Scene, View
from perception.visualization.sheet import Area, Sheet

GREY = tuple((name, "grey levels", 0.0, 255.0) for name in ("red", "green", "blue"))
SENSORS = {
    "camera": SensorSpec.from_config("camera", {"kind": "image", "channels": GREY}),
    "lidar": SensorSpec.from_config(
        "lidar",
        {
            "kind": "points",
            "columns": ("x", "y", "z", "reflectance"),
            "channels": [("depth_m", "m", 0.0, 80.0), ("reflectance", "1", 0.0, 1.0)],
        },
    ),
    "depth": SensorSpec.from_config(
        "depth", {"kind": "depth", "channels": [("depth_m", "m", 0.0, 80.0)]}
    ),
}
SIZE = (48, 96)
CALIBRATION = Calibration(
    np.array([[60.0, 0, 48, 0], [0, 60, 24, 0], [0, 0, 1, 0]]),
    {"lidar": np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])},
)


def make_truth() -> Objects:
    """A near car, a pedestrian, and a region to disregard."""
    names = np.array(["Car", "Pedestrian", "DontCare"], dtype=object)
    boxes = np.array([[20.0, 20, 80, 90], [110, 10, 140, 90], [150, 0, 190, 30]])
    return replace(
        Objects.from_boxes(names, boxes),
        truncation=np.array([0.0, 0, -1]),
        occlusion=np.array([0, 0, -1]),
        dimensions_m=np.array([[1.5, 1.6, 4], [1.7, 0.6, 0.8], [-1, -1, -1]]),
        location_m=np.array([[-2.0, 1.6, 12], [3, 1.6, 10], [-1000] * 3]),
        rotation_y=np.array([0.1, 1.5, -10]),
    )


def make_view(seed: int = 0, *, detections: Objects | None = None) -> View:
    """A view whose detections find the car and invent a pedestrian."""
    rng = np.random.default_rng(seed)
    depth_m = rng.uniform(3, 60, (1, *SIZE)) * (rng.random((1, *SIZE)) > 0.4)
    if detections is None:
        detections = Objects.from_boxes(
            np.array(["Car", "Pedestrian", "Car"], dtype=object),
            np.array([[21.0, 21, 80, 90], [30, 5, 60, 60], [100, 5, 130, 60]]),
            np.array([0.9, 0.6, 0.1]),
        )
    return View(
        inputs={
            "camera": rng.uniform(0, 255, (3, *SIZE)).astype(np.float32),
            "lidar": np.concatenate([depth_m, depth_m / 80]).astype(np.float32),
            "depth": depth_m.astype(np.float32),
        },
        points={"lidar": rng.uniform([2, -9, -2, 0], [40, 9, 2, 1], (300, 4))},
        detections=detections,
        gate=np.array([0.1, 0.7, 0.1, 0.1]),
        gate_map=np.full((4, 3, 6), 0.25),
        loss=1.5,
    )


def make_scene(*, attacked: str | None = None, **changes: object) -> Scene:
    """A scene; ``attacked`` names the sensor whose input differs."""
    clean, view = make_view(), None
    if attacked is not None:
        inputs = dict(clean.inputs)
        inputs[attacked] = np.clip(inputs[attacked] + 1, 0, 80)
        view = replace(clean, inputs=inputs, loss=4.0)
    scene = Scene(
        frame_id="000007",
        sensors=SENSORS,
        calibration=CALIBRATION,
        image_size=SIZE,
        original_size=(96, 192),
        truth=make_truth(),
        clean=clean,
        attacked=view,
        touched=() if attacked is None else (attacked,),
        detector="concat · best.pth · 01234567",
        attack="" if attacked is None else f"{attacked}_pgd",
    )
    return replace(scene, **changes)


def sheet_over(image: np.ndarray) -> tuple[Sheet, Area]:
    """A sheet that holds nothing but a picture, and where that is."""
    sheet = Sheet(image.shape[1], margin=0)
    return sheet, sheet.paste(0, 0, image)


def drawn(image: np.ndarray, draw: Callable[..., None], *args, **kwargs) -> np.ndarray:
    """The picture after ``draw(sheet, area, *args)``."""
    sheet, area = sheet_over(image)
    draw(sheet, area, *args, **kwargs)
    return sheet.rendered(image.shape[0])
