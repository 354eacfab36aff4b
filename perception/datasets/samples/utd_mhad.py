"""UTD-MHAD: 27 actions, a depth camera, a skeleton from it, one worn inertial sensor.

Chen, Jafari and Kehtarnavaz, "UTD-MHAD: A Multimodal Dataset for Human Action
Recognition Utilizing a Depth Camera and a Wearable Inertial Sensor", ICIP 2015. The
archive that its authors offer holds one MATLAB file for each clip and source:

    root/Depth/a1_s1_t1_depth.mat          d_depth (240, 320, T) mm, 0: background
    root/Inertial/a1_s1_t1_inertial.mat    d_iner (T, 6) g and deg/s
    root/Skeleton/a1_s1_t1_skeleton.mat    d_skel (20, 3, T) m

A packed ``.npz`` with ``depth`` (N, T, H, W), ``accel`` and ``gyro`` (N, T, 3),
``skeleton`` (N, T, 20, 3), ``action``, ``subject`` and ``trial`` (N,) reads the same.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from scipy.io import loadmat

from perception.core.structures import DataError
from perception.datasets.samples.base import SampleReader, members, open_packed

_NAMES = (
    "swipe_left swipe_right wave clap throw cross_arms basketball_shoot draw_x "
    "draw_circle_right draw_circle_left draw_triangle bowling boxing baseball_swing "
    "tennis_swing arm_curl tennis_serve push knock catch pickup_throw jog walk "
    "sit_to_stand stand_to_sit lunge squat"
)
ACTIONS = tuple(_NAMES.split())
SENSORS = ("depth", "accel", "gyro", "skeleton")
_COLUMNS = ("action", "subject", "trial")
_CLIP = re.compile(r"a(\d+)_s(\d+)_t(\d+)_inertial\.mat")
_FILES = {"Depth": "d_depth", "Inertial": "d_iner", "Skeleton": "d_skel"}


class UtdMhadFrames(SampleReader):
    """Clips of UTD-MHAD, every source resampled to a length of its own.

    Arrays: ``depth`` (T H, W) mm, its T pictures one below the other; ``accel`` (1, T,
    3) g; ``gyro`` (1, T, 3) deg/s; ``skeleton`` (20, T, 3) m from the hip.

    Args:
        root: Folder of the archive, or a packed ``.npz`` file.
        split: ``train`` (subjects 1, 3, 5, 7) or ``test`` (2, 4, 6, 8), the official
            cross-subject protocol; ``fit`` (1, 3, 5) and ``tune`` (7), the parts of
            ``train`` to choose settings by; ``all``, or names of clips.
        sensors: The sources wanted.
        video: T, H, W of the depth video.
        moments: T of the signals and the skeleton.

    Raises:
        DataError: If there are no clips there, or a file is damaged.
    """

    def __init__(
        self,
        *,
        root: str | os.PathLike,
        split: str | Sequence[str] = "train",
        sensors: Sequence[str] = ("depth", "accel", "gyro"),
        video: tuple[int, int, int] = (8, 30, 40),
        moments: int = 64,
    ) -> None:
        self.root, self.video, self.moments = Path(root), tuple(video), moments
        if unknown := [name for name in sensors if name not in SENSORS]:
            raise DataError(f"sensors {unknown}: UTD-MHAD has {list(SENSORS)}")
        self._packed = None
        if self.root.suffix == ".npz":
            self._packed = open_packed(self.root, (*sensors, *_COLUMNS))
            columns = [self._packed[k] for k in _COLUMNS]
            clips = [tuple(map(int, row)) for row in zip(*columns, strict=True)]
        else:
            found = (_CLIP.fullmatch(p.name) for p in self.root.glob("Inertial/*.mat"))
            clips = sorted(tuple(map(int, match.groups())) for match in found if match)
        if not clips or max(action for action, _, _ in clips) > len(ACTIONS):
            raise DataError(
                f"{root}: expected UTD-MHAD, Inertial/a1_s1_t1_inertial.mat and so on, "
                "or a packed .npz file"
            )
        names = [f"a{action}_s{subject}_t{trial}" for action, subject, trial in clips]
        subjects = [subject for _, subject, _ in clips]
        splits = {
            "train": lambda n: subjects[n] % 2 == 1,
            "test": lambda n: subjects[n] % 2 == 0,
            "fit": lambda n: subjects[n] in (1, 3, 5),
            "tune": lambda n: subjects[n] == 7,
        }
        self._numbers = members(split, splits, names, self.root)
        super().__init__(
            [names[n] for n in self._numbers],
            [ACTIONS[clips[n][0] - 1] for n in self._numbers],
            sensors,
        )

    def arrays(self, number: int) -> dict[str, np.ndarray]:
        """Those of one clip that are wanted."""
        sources = self._sources(number)
        if "depth" in sources:
            frames, height, width = self.video
            video = sources["depth"]
            video = video[_evenly(len(video), frames)].astype(np.float32)
            pictures = [
                cv2.resize(one, (width, height), interpolation=cv2.INTER_AREA)
                for one in video
            ]
            sources["depth"] = np.concatenate(pictures)
        for name in ("accel", "gyro"):
            if name in sources:
                sources[name] = _resampled(sources[name], self.moments)[None]
        if "skeleton" in sources:
            joints = _resampled(sources["skeleton"], self.moments)
            joints = joints - joints[:, 2:3]  # the hip's centre
            sources["skeleton"] = joints.transpose(1, 0, 2)
        return sources

    def _sources(self, number: int) -> dict[str, np.ndarray]:
        """As they are stored, time first."""
        if self._packed is not None:
            row = self._numbers[number]
            return {name: self._packed[name][row] for name in self.sensors}
        found = {}
        if "depth" in self.sensors:
            found["depth"] = self._mat("Depth", number, (240, 320, -1)).transpose(
                2, 0, 1
            )
        if {"accel", "gyro"} & set(self.sensors):
            inertial = self._mat("Inertial", number, (-1, 6))
            found |= {"accel": inertial[:, :3], "gyro": inertial[:, 3:]}
        if "skeleton" in self.sensors:
            joints = self._mat("Skeleton", number, (20, 3, -1))
            found["skeleton"] = joints.transpose(2, 0, 1)
        return {name: found[name] for name in self.sensors}

    def _mat(self, folder: str, number: int, shape: tuple[int, ...]) -> np.ndarray:
        path = self.root / folder / f"{self.frame_ids[number]}_{folder.lower()}.mat"
        key = _FILES[folder]
        try:
            array = loadmat(path, variable_names=[key])[key]
        except Exception as error:  # damaged bytes make the parser raise anything
            raise DataError(
                f"{path}: not a MATLAB file with {key} ({type(error).__name__})"
            ) from error
        fits = array.ndim == len(shape) and all(
            wanted in (-1, got) for wanted, got in zip(shape, array.shape, strict=True)
        )
        if not fits or 0 in array.shape:
            raise DataError(f"{path}: {key} is {array.shape}, expected {shape}")
        return array


def _evenly(length: int, count: int) -> np.ndarray:
    """``count`` numbers below ``length``, spread evenly: the middles of as many parts.

    Of a video with fewer pictures some come twice.
    """
    return ((np.arange(count) + 0.5) * length / count).astype(int)


def _resampled(signal: np.ndarray, count: int) -> np.ndarray:
    """(T, …) to (count, …) float32, linear between moments."""
    length = len(signal)
    at = np.linspace(0, length - 1, count)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, length - 1)
    part = (at - low).reshape(-1, *[1] * (signal.ndim - 1))
    mixed = signal[low] * (1 - part) + signal[high] * part
    return mixed.astype(np.float32)
