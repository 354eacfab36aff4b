"""Augmentation that keeps all sensors in register, and packing for the detector.

Every geometric change is one 3x3 matrix that moves pixel centres: images and depth maps
are warped by it, boxes follow it, and the calibration absorbs it, so that points never
move (``Calibration.with_image_transform``). Randomness comes from ``results["rng"]``,
which the data set derives from seed, epoch and frame.

Each transform maps ``{"frame": Frame, "rng": Generator, …}`` to the same; the last
one, :class:`PackFrame`, yields what the detector's preprocessor reads.

Shape letters: H, W image height and width in pixels; C channels; N objects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from perception.core.geometry import project_to_image, rotation_y_to_alpha
from perception.core.structures import Calibration, Frame, Objects, class_key

Size = tuple[int, int]
ClassIndex = Mapping[str, int]
_NEAREST_M = 0.5  # centres nearer to the camera's plane have no place in the image


def warp_frame(frame: Frame, transform: np.ndarray, size: Size) -> Frame:
    """Move every pixel of a frame by ``transform`` into an image of ``size``.

    Args:
        frame: The frame; it is not changed.
        transform: (3, 3) affine transform of homogeneous pixel centres.
        size: (H, W) of the new image in pixels.

    Returns:
        The frame with images interpolated (area-averaged when shrunk), depth maps
        sampled at the nearest pixel (never mixing two surfaces), boxes clipped to
        the new image, and the calibration that fits.
    """
    points = frame.calibration.cam_T_sensor
    sensors = {
        name: value if name in points else _warp(value, transform, size)
        for name, value in frame.sensors.items()
    }
    objects = frame.objects
    if objects is not None:
        boxes_px = warp_boxes(objects.boxes_px, transform, size)
        objects = replace(objects, boxes_px=boxes_px)
    return replace(
        frame,
        sensors=sensors,
        calibration=frame.calibration.with_image_transform(transform),
        image_size=size,
        objects=objects,
    )


def warp_boxes(boxes_px: np.ndarray, transform: np.ndarray, size: Size) -> np.ndarray:
    """Bounds (N, 4) of the moved boxes, clipped to an image of ``size`` (H, W).

    Boxes are measured from the image's edge, as in MMDetection, so that resizing
    multiplies them; ``transform`` is of pixel centres, half a pixel further in.
    """
    corners = boxes_px.reshape(-1, 2, 2) - 0.5
    moved = corners @ transform[:2, :2].T + transform[:2, 2] + 0.5
    low, high = moved.min(axis=1), moved.max(axis=1)
    limit = np.array([size[1], size[0]], dtype=float)
    return np.concatenate([low.clip(0, limit), high.clip(0, limit)], axis=1)


def _warp(value: np.ndarray, transform: np.ndarray, size: Size) -> np.ndarray:
    """Warp an (H, W, C) picture or an (H, W) depth map."""
    height, width = size
    if value.ndim == 2:
        flags = cv2.INTER_NEAREST
    else:
        flags = cv2.INTER_LINEAR
        value, transform = _shrink(value, transform)
    return cv2.warpAffine(value, transform[:2], (width, height), flags=flags)


def _shrink(image: np.ndarray, transform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Area-average a picture first where the transform makes it smaller."""
    scale = float(np.abs(transform[0, 0]))
    if scale >= 0.99:
        return image, transform
    height, width = image.shape[:2]
    small = (max(round(width * scale), 1), max(round(height * scale), 1))
    shrunk = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return shrunk, transform @ resize_transform((small[1], small[0]), (height, width))


def resize_transform(size: Size, new_size: Size) -> np.ndarray:
    """(3, 3) transform of pixel centres that resizes (H, W) ``size`` to ``new_size``.

    Pixel centres lie at integers, so the image spans -0.5 … W - 0.5.
    """
    sy, sx = new_size[0] / size[0], new_size[1] / size[1]
    return np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]])


@TRANSFORMS.register_module()
class ResizeFrame(BaseTransform):
    """Resize all sensors to the detector's input size.

    Args:
        size: (W, H) in pixels, as MMDetection's ``scale``.
    """

    def __init__(self, *, size: tuple[int, int]) -> None:
        self.size = (size[1], size[0])

    def transform(self, results: dict) -> dict:
        """Resize ``results["frame"]``."""
        frame: Frame = results["frame"]
        matrix = resize_transform(frame.image_size, self.size)
        return results | {"frame": warp_frame(frame, matrix, self.size)}


@TRANSFORMS.register_module()
@dataclass(kw_only=True)
class RandomAffineFrame(BaseTransform):
    """Zoom, shift and mirror all sensors together.

    Attributes:
        scale: Range of the zoom factor.
        shift: Largest shift as a fraction of width and height.
        flip_prob: Probability of mirroring left and right.
    """

    scale: tuple[float, float] = (1.0, 1.0)
    shift: float = 0.0
    flip_prob: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(
                f"scale must be a range of positive zooms, got {self.scale}"
            )

    def transform(self, results: dict) -> dict:
        """Move ``results["frame"]``."""
        frame: Frame = results["frame"]
        rng: np.random.Generator = results["rng"]
        height, width = frame.image_size
        zoom = rng.uniform(*self.scale)
        shift = rng.uniform(-self.shift, self.shift, size=2) * (width, height)
        centre = np.array([(width - 1) / 2, (height - 1) / 2])
        matrix = np.diag([zoom, zoom, 1.0])
        matrix[:2, 2] = centre + shift - zoom * centre
        if rng.random() < self.flip_prob:
            matrix = np.array([[-1, 0, width - 1], [0, 1, 0], [0, 0, 1.0]]) @ matrix
        return results | {"frame": warp_frame(frame, matrix, frame.image_size)}


@TRANSFORMS.register_module()
@dataclass(kw_only=True)
class RandomColour(BaseTransform):
    """Change brightness, contrast and saturation of one image sensor.

    Attributes:
        sensor: Name of the image sensor.
        brightness: Largest shift in grey levels.
        contrast: Largest relative change of contrast.
        saturation: Largest relative change of saturation.
    """

    sensor: str = "camera"
    brightness: float = 24.0
    contrast: float = 0.25
    saturation: float = 0.3

    def transform(self, results: dict) -> dict:
        """Recolour ``results["frame"]``."""
        frame: Frame = results["frame"]
        rng: np.random.Generator = results["rng"]
        shift = rng.uniform(-self.brightness, self.brightness)
        contrast = 1 + rng.uniform(-self.contrast, self.contrast)
        saturation = 1 + rng.uniform(-self.saturation, self.saturation)
        if self.sensor not in frame.sensors:
            return results
        # Colour by colour, in place: NumPy is slow at rows of three.
        image = cv2.split(frame.sensors[self.sensor].astype(np.float32))
        grey = sum(image[1:], image[0]) / np.float32(len(image))
        for colour in image:
            for ufunc, value in (
                (np.subtract, grey),
                (np.multiply, saturation),
                (np.add, grey),
                (np.subtract, 128),
                (np.multiply, contrast),
                (np.add, 128),
                (np.add, shift),
            ):
                ufunc(colour, value, out=colour)
            np.clip(colour, 0, 255, out=colour)
        recoloured = cv2.merge([colour.astype(np.uint8) for colour in image])
        sensors = dict(frame.sensors) | {self.sensor: recoloured}
        return results | {"frame": replace(frame, sensors=sensors)}


@TRANSFORMS.register_module()
@dataclass(kw_only=True)
class PackFrame(BaseTransform):
    """Turn a frame into tensors and a ``DetDataSample``.

    Attributes:
        min_size_px: Training boxes narrower or lower than this, in pixels of the
            detector's input, are left out.
        max_occlusion: Training objects occluded more than this are left out.
        max_truncation: Likewise for truncation.
    """

    min_size_px: float = 2.0
    max_occlusion: int = 2
    max_truncation: float = 0.8

    def transform(self, results: dict) -> dict:
        """Pack ``results["frame"]`` with the original ``results["objects"]``."""
        frame: Frame = results["frame"]
        height, width = frame.image_size
        original_height, original_width = results["original_size"]
        sample = DetDataSample(
            metainfo={
                "frame_id": frame.frame_id,
                "img_id": frame.frame_id,
                "img_shape": frame.image_size,
                "ori_shape": results["original_size"],
                # (width, height), as MMDetection's heads undo it.
                "scale_factor": (width / original_width, height / original_height),
                "objects": results["objects"],
                "image_P_cam": frame.calibration.image_P_cam,
                "projections": _projections(frame),
                "fx_baseline_px_m": _fx_baseline(frame),
            }
        )
        if frame.objects is not None:
            sample.gt_instances = self._instances(frame, results["class_index"])
        points = frame.calibration.cam_T_sensor
        inputs = {
            name: torch.from_numpy(value) if name in points else _image_tensor(value)
            for name, value in frame.sensors.items()
        }
        return {"inputs": inputs, "data_samples": sample}

    def _instances(self, frame: Frame, class_index: ClassIndex) -> InstanceData:
        objects = cast(Objects, frame.objects)
        size = objects.boxes_px[:, 2:] - objects.boxes_px[:, :2]
        index = {class_key(name): label for name, label in class_index.items()}
        keep = objects.named(*class_index)
        keep &= (size >= self.min_size_px).all(axis=1)
        keep &= objects.occlusion <= self.max_occlusion
        keep &= objects.truncation <= self.max_truncation
        chosen = objects.select(keep)
        labels: Sequence[int] = [index[class_key(name)] for name in chosen.names]
        return InstanceData(
            bboxes=torch.as_tensor(chosen.boxes_px, dtype=torch.float32),
            labels=torch.as_tensor(labels, dtype=torch.long),
            targets_3d=torch.as_tensor(
                metric_targets(chosen, frame.calibration), dtype=torch.float32
            ),
        )


def metric_targets(objects: Objects, calibration: Calibration) -> np.ndarray:
    """(N, 7) what a detector of metric boxes is to say of the objects.

    x, y in pixels, from the image's edge, and depth in metres of the 3D centre; height,
    width, length in metres; the observation angle as the image shows it, which is
    π - alpha if the image is mirrored. Rows of objects that are not known in space, or
    whose centre is not in front of the camera, are NaN.
    """
    height_m = objects.dimensions_m[:, 0]
    centre = objects.location_m - np.stack(
        [np.zeros_like(height_m), height_m / 2, np.zeros_like(height_m)], axis=1
    )
    pixels, depth_m = project_to_image(calibration.image_P_cam, centre)
    known = (objects.dimensions_m > 0).all(axis=1) & (objects.location_m[:, 0] > -1000)
    known &= (objects.rotation_y >= -2 * np.pi) & (depth_m > _NEAREST_M)
    alpha = rotation_y_to_alpha(objects.rotation_y, objects.location_m)
    if calibration.image_P_cam[0, 0] < 0:
        alpha = np.pi - alpha
    columns = [pixels + 0.5, depth_m[:, None], objects.dimensions_m, alpha[:, None]]
    table = np.concatenate(columns, axis=1)
    return np.where(known[:, None], table, np.nan)


def _projections(frame: Frame) -> dict[str, np.ndarray]:
    """For each point sensor the (3, 4) projection of its coordinates to pixels."""
    calibration = frame.calibration
    return {
        name: (calibration.image_P_cam @ transform).astype(np.float32)
        for name, transform in calibration.cam_T_sensor.items()
    }


def _fx_baseline(frame: Frame) -> float | None:
    """Focal length x baseline in px m: disparity times depth; None without stereo."""
    baseline_m = frame.calibration.baseline_m
    return None if baseline_m is None else frame.calibration.fx_px * baseline_m


def _image_tensor(value: np.ndarray) -> torch.Tensor:
    """Pictures (H, W, C) to (C, H, W), depth maps (H, W) to (1, H, W)."""
    planes = value.transpose(2, 0, 1) if value.ndim == 3 else value[None]
    return torch.from_numpy(np.ascontiguousarray(planes))
