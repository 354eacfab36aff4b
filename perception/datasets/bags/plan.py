"""Which messages make a frame, from their times alone.

Every picture of the reference camera is a frame. Of every other topic the message
whose time is nearest goes with it, if it is within the tolerance. Times are what the
sensors' clocks said; a clock may jump, so that the same time comes twice: messages that
were recorded more than ``APART_S`` apart never make a frame together.

Shape letters: N messages; F frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from perception.core.structures import DataError
from perception.datasets.bags.storage import NS

# So much may what lies between measuring and recording vary: more is another clock.
APART_S = 1.0
# A drive with a gap of more than this is two.
GAP_S = 1.0
NO_MESSAGE = -1
MOST_CLOCKS = 100


@dataclass(frozen=True)
class Stamps:
    """Times of a topic's messages, in the order of the bag.

    Attributes:
        time_ns: (N,) int64, when they were measured.
        recorded_ns: (N,) int64, when they were recorded.
    """

    time_ns: np.ndarray
    recorded_ns: np.ndarray


@dataclass(frozen=True)
class Plan:
    """The frames of a bag, in the order of their sequences and of time.

    Attributes:
        camera: (F,) numbers of the camera's messages.
        sequence: (F,) which drive, from 0.
        time_ns: (F,) times of the pictures.
        others: For each other topic (F,) numbers of its messages, -1 for none.
        repeated: Pictures of a time that there was already, which make no frame.
    """

    camera: np.ndarray
    sequence: np.ndarray
    time_ns: np.ndarray
    others: Mapping[str, np.ndarray]
    repeated: int

    def __len__(self) -> int:
        return len(self.camera)


def plan_frames(
    camera: Stamps, others: Mapping[str, Stamps], tolerance_s: float
) -> Plan:
    """The frames of a camera, and what goes with them within the tolerance.

    Raises:
        DataError: If the camera's times are no clock's.
    """
    clock = _clocks(camera)
    # By clock and time; of the same time first comes what was recorded first.
    order = np.lexsort([camera.recorded_ns, camera.time_ns, clock])
    time_ns, clock = camera.time_ns[order], clock[order]
    later = np.diff(time_ns)
    same_clock = np.diff(clock) == 0
    again = np.concatenate([[False], same_clock & (later == 0)])
    order, time_ns, clock = order[~again], time_ns[~again], clock[~again]
    begins = (np.diff(clock) != 0) | (np.diff(time_ns) > GAP_S * NS)
    sequence = np.concatenate([[0], np.cumsum(begins)])
    recorded_ns = camera.recorded_ns[order]
    tolerance_ns = round(tolerance_s * NS)
    found = {
        name: _nearest(time_ns, recorded_ns, stamps, tolerance_ns)
        for name, stamps in others.items()
    }
    return Plan(order, sequence, time_ns, found, int(again.sum()))


def _clocks(stamps: Stamps) -> np.ndarray:
    """(N,) which clock a message's time is of, numbered as they were first seen.

    A clock that was set is another one: its distance from the recorder's has jumped.
    One that drifts is followed.
    """
    offsets = stamps.time_ns - stamps.recorded_ns
    clocks, latest = np.zeros(len(offsets), np.int64), list[int]()
    for number in np.argsort(stamps.recorded_ns, kind="stable"):
        apart = [abs(int(offsets[number]) - one) for one in latest]
        clock = int(np.argmin(apart)) if apart else 0
        if not apart or apart[clock] > APART_S * NS:
            if len(latest) == MOST_CLOCKS:
                raise DataError(
                    f"the camera's clock jumps more than {MOST_CLOCKS} times; take "
                    '"clock": "recorded"'
                )
            clock = len(latest)
            latest.append(0)
        latest[clock], clocks[number] = int(offsets[number]), clock
    return clocks


def _nearest(
    time_ns: np.ndarray, recorded_ns: np.ndarray, stamps: Stamps, tolerance_ns: int
) -> np.ndarray:
    """(F,) for each frame the nearest message, -1 if none is near enough."""
    order = np.argsort(stamps.time_ns, kind="stable")
    times = stamps.time_ns[order]
    low = np.searchsorted(times, time_ns - tolerance_ns, side="left")
    high = np.searchsorted(times, time_ns + tolerance_ns, side="right")
    nearest = np.full(len(time_ns), NO_MESSAGE)
    for frame, (a, b) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
        near = order[a:b]
        apart = np.abs(stamps.recorded_ns[near] - recorded_ns[frame])
        near = near[apart <= APART_S * NS + tolerance_ns]
        if len(near):
            off = np.abs(stamps.time_ns[near] - time_ns[frame])
            nearest[frame] = near[int(off.argmin())]
    return nearest
