"""A sensor that shows what it has shown before: frozen, replayed, or fallen behind.

A gate compares what sensors say of the world, and a reading a few frames old says
nearly the same. But no sensor measures the same numbers twice: noise alone forbids it.
A reading equal to an earlier one is old, and who has shown one is suspect until it has
shown new ones for a while. A sensor that falls behind repeats itself while it does (it
is late from then on, and shows new readings, late). That needs no threshold, and
nothing to learn; compare the learned detectors of AION and DejaVu (Pu et al.), which
see delays that an attacker chooses. One who adds noise to a replay is not seen here.

Not for sensors that measure less often than frames come.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Mapping, Sequence

from torch import Tensor


class RepeatDetector:
    """Remembers readings by their digests.

    Args:
        memory: How many readings of each sensor.
        hold: A sensor is suspect for so many frames after its last repetition.
    """

    def __init__(self, *, memory: int = 64, hold: int = 20) -> None:
        if memory < 1 or hold < 0:
            raise ValueError(
                f"memory must be positive and hold not negative, got {memory}, {hold}"
            )
        self.memory, self.hold = memory, hold
        self.reset()

    def reset(self) -> None:
        """Begin a new sequence."""
        self._seen: dict[str, deque[bytes]] = {}
        self._since: dict[str, int] = {}

    def update(self, readings: Mapping[str, bytes]) -> tuple[str, ...]:
        """Take in a frame's readings; the sensors that are suspect.

        Args:
            readings: For each sensor that delivered one its digest, see
                :func:`digest`.
        """
        for name in self._since:
            self._since[name] += 1
        for name, reading in readings.items():
            seen = self._seen.setdefault(name, deque(maxlen=self.memory))
            if reading and reading in seen:
                self._since[name] = 0
            seen.append(reading)
        return tuple(n for n, frames in self._since.items() if frames <= self.hold)

    def follow(self, frames: Sequence[Mapping[str, bytes]]) -> list[tuple[str, ...]]:
        """The suspects of a whole sequence, from a new start."""
        self.reset()
        return [self.update(readings) for readings in frames]


def digest(reading: Tensor) -> bytes:
    """16 bytes that tell a reading from any other; none of one without a return.

    A radar that sees nothing may see nothing again.
    """
    if not reading.any():
        return b""
    values = reading.detach().cpu().contiguous()
    return hashlib.blake2b(values.numpy().tobytes(), digest_size=16).digest()
