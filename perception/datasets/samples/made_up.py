"""Made-up clips: a dot that moves, filmed and felt, for tests and first tries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from perception.core.structures import DataError
from perception.datasets.samples.base import SampleReader

MOTIONS = ("left", "right", "up", "down")
_STEPS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


class MadeUpFrames(SampleReader):
    """Clips of a moving dot, made anew from the seed; any two sensors tell its motion.

    Arrays, with the ranges and units of UTD-MHAD: ``depth`` (T H, W) mm; ``accel`` and
    ``gyro`` (1, T, 3).

    Args:
        split: ``train`` or ``test``.
        count: Number of clips.
        sensors: The sources wanted.
        video: T, H, W of the depth video.
        moments: T of the signals.
        seed: Of everything.
        root: None, as the clips lie nowhere; configs name the root of every data set.
    """

    def __init__(
        self,
        *,
        split: str = "train",
        count: int = 64,
        sensors: Sequence[str] = ("depth", "accel", "gyro"),
        video: tuple[int, int, int] = (8, 12, 16),
        moments: int = 32,
        seed: int = 0,
        root: None = None,
    ) -> None:
        if root is not None:
            raise DataError(f"made-up clips are read from nowhere, got root {root}")
        if split not in ("train", "test") or count < 1:
            raise DataError(f"made-up clips: no split {split!r} of {count} clips")
        self.video, self.moments = tuple(video), moments
        self.seed = 2 * seed + (split == "test")
        numbers = range(count)
        super().__init__(
            [f"{split}_{n:04d}" for n in numbers],
            [MOTIONS[n % len(MOTIONS)] for n in numbers],
            sensors,
        )

    def arrays(self, number: int) -> dict[str, np.ndarray]:
        """A dot two metres away on nothing; acceleration along its way; a turn."""
        rng = np.random.default_rng((self.seed, number))
        frames, height, width = self.video
        dx, dy = _STEPS[self.names[number]]
        x0, y0 = width / 2 + rng.uniform(-2, 2), height / 2 + rng.uniform(-2, 2)
        video = np.zeros(self.video, dtype=np.float32)
        for t, picture in enumerate(video):
            part = t / max(frames - 1, 1) - 0.5
            row = int(np.clip(y0 + dy * part * (height - 4), 0, height - 2))
            column = int(np.clip(x0 + dx * part * (width - 4), 0, width - 2))
            picture[row : row + 2, column : column + 2] = 2000 + rng.uniform(-50, 50)
        wave = np.sin(np.linspace(0, 2 * np.pi, self.moments))[:, None]
        accel = wave * [dx, dy, 0.0] + rng.normal(0, 0.1, (self.moments, 3))
        gyro = wave * [100.0 * dy, 0.0, 100.0 * dx]
        gyro = gyro + rng.normal(0, 10, (self.moments, 3))
        return {
            "depth": video.reshape(frames * height, width),
            "accel": accel[None].astype(np.float32),
            "gyro": gyro[None].astype(np.float32),
        }
