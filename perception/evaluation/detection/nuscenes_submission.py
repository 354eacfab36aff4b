"""What was found by a sample's cameras as one result of nuScenes' detection task.

nuScenes asks for whole samples, all around the vehicle, in the global frame: boxes of
the six cameras come together, and what two cameras see at their seam counts once.

Shape letters: D detections of one frame, B boxes of one sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pyquaternion import Quaternion

from perception.core.geometry import transform_points
from perception.core.structures import Objects

MOST_BOXES = 500  # of a sample; the devkit refuses more
_SEAM_M = 1.0
# Nothing here measures motion: every object is said to stand.
STANDING = {
    **dict.fromkeys(
        ("car", "truck", "bus", "trailer", "construction_vehicle"), "vehicle.parked"
    ),
    "pedestrian": "pedestrian.standing",
    **dict.fromkeys(("motorcycle", "bicycle"), "cycle.without_rider"),
}


@dataclass(frozen=True)
class SampleBoxes:
    """Boxes in the global frame, of one camera or of a whole sample.

    Attributes:
        names: (B,) classes.
        centres_m: (B, 3).
        sizes_m: (B, 3) width, length, height.
        yaws: (B,) around the global z axis, in radians.
        scores: (B,).
        cameras: (B,) number of the camera that saw each.
    """

    names: np.ndarray
    centres_m: np.ndarray
    sizes_m: np.ndarray
    yaws: np.ndarray
    scores: np.ndarray
    cameras: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def select(self, keep: np.ndarray) -> SampleBoxes:
        """The boxes that a mask or an index array picks, in order."""
        return SampleBoxes(*(value[keep] for value in vars(self).values()))


def in_global(
    detections: Objects, global_T_cam: np.ndarray, camera: int
) -> SampleBoxes:
    """One camera's detections in the global frame; those not known in space are left.

    Boxes stand upright there, whatever the camera's tilt.
    """
    known = (detections.dimensions_m > 0).all(axis=1)
    known &= np.isfinite(detections.location_m).all(axis=1)
    found = detections.select(known)
    height_m, width_m, length_m = found.dimensions_m.T
    centres_m = transform_points(global_T_cam, found.location_m)
    centres_m[:, 2] += height_m / 2
    turn = found.rotation_y
    ahead = np.stack([np.cos(turn), np.zeros_like(turn), -np.sin(turn)], axis=1)
    ahead = ahead @ global_T_cam[:3, :3].T
    assert found.scores is not None
    return SampleBoxes(
        names=found.names,
        centres_m=centres_m,
        sizes_m=np.stack([width_m, length_m, height_m], axis=1),
        yaws=np.arctan2(ahead[:, 1], ahead[:, 0]),
        scores=found.scores,
        cameras=np.full(len(found), camera),
    )


def merged(parts: Sequence[SampleBoxes]) -> SampleBoxes:
    """The boxes of a sample's cameras, best first, each object once.

    A box is left out if another camera has seen one of its class with a higher score
    whose centre is, on the ground, within half its length and at least 1 m. Boxes of
    one camera have met in its non-maximum suppression already.
    """
    columns = zip(*(vars(part).values() for part in parts), strict=True)
    boxes = SampleBoxes(*(np.concatenate(column) for column in columns))
    boxes = boxes.select(np.argsort(-boxes.scores, kind="stable"))
    kept: list[int] = []
    for number in range(len(boxes)):
        own = np.array(kept, dtype=int)
        own = own[boxes.names[own] == boxes.names[number]]
        own = own[boxes.cameras[own] != boxes.cameras[number]]
        away_m = boxes.centres_m[own, :2] - boxes.centres_m[number, :2]
        reach_m = np.maximum(boxes.sizes_m[own, 1] / 2, _SEAM_M)
        if not (np.hypot(*away_m.T) < reach_m).any():
            kept.append(number)
    return boxes.select(np.array(kept[:MOST_BOXES], dtype=int))


def submission(
    samples: Mapping[str, SampleBoxes],
    *,
    sensors: Sequence[str],
    attributes: Mapping[str, str],
    external: bool,
) -> dict[str, Any]:
    """The content of a result file of nuScenes' detection task.

    Velocities are 0, since none is measured: mAVE is then the mean speed of what is
    found.

    Args:
        samples: For every sample of the split, by its token, its boxes.
        sensors: Which of camera, lidar and radar were used.
        attributes: For each class that has one the attribute to say.
        external: Whether the detector has learnt from other data than nuScenes.
    """
    used = {f"use_{name}": name in sensors for name in ("camera", "lidar", "radar")}
    results = {
        token: [
            {
                "sample_token": token,
                "translation": boxes.centres_m[n].tolist(),
                "size": boxes.sizes_m[n].tolist(),
                "rotation": Quaternion(
                    axis=[0, 0, 1], radians=boxes.yaws[n]
                ).q.tolist(),
                "velocity": [0.0, 0.0],
                "detection_name": str(boxes.names[n]),
                "detection_score": float(boxes.scores[n]),
                "attribute_name": attributes.get(str(boxes.names[n]), ""),
            }
            for n in range(len(boxes))
        ]
        for token, boxes in samples.items()
    }
    return {
        "meta": used | {"use_map": False, "use_external": external},
        "results": results,
    }
