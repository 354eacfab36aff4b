"""Side profiles of cars and vans, and the paints they come in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Style:
    """A body style in fractions of length (0 rear … 1 front) and height.

    Attributes:
        size_m: Mean height, width, length in metres.
        body: Outline below the belt line from lower rear to lower front, (x, z).
        cabin: Outline above the belt line from rear to front, (x, z).
        pillars: Where side windows begin and end along the cabin, 0 … 1.
        roof: Width of the roof relative to the belt line.
    """

    size_m: tuple[float, float, float]
    body: tuple[tuple[float, float], ...]
    cabin: tuple[tuple[float, float], ...]
    pillars: tuple[float, ...]
    roof: float = 0.78


_NOSE = ((0.80, 0.61), (0.965, 0.53), (0.995, 0.45), (1.0, 0.22), (0.97, 0.14))
_TAIL = ((0.03, 0.15), (0.0, 0.24), (0.0, 0.50), (0.015, 0.63))
_BOX_CABIN = ((0.025, 0.62), (0.075, 0.93), (0.14, 1.0), (0.55, 1.0), (0.60, 0.97))
_BUS_NOSE = ((0.93, 0.52), (0.985, 0.42), (1.0, 0.36), (1.0, 0.16), (0.98, 0.1))
_BUS_TAIL = ((0.01, 0.1), (0.0, 0.16), (0.0, 0.52))
_BUS_CABIN = ((0.0, 0.52), (0.008, 0.96), (0.03, 1.0), (0.74, 1.0), (0.79, 0.96))

CAR_STYLES = (
    Style(
        (1.45, 1.79, 4.5),
        (*_TAIL, (0.2, 0.66), (0.72, 0.65), *_NOSE[1:]),
        (
            (0.12, 0.65),
            (0.26, 0.96),
            (0.32, 1.0),
            (0.52, 1.0),
            (0.58, 0.96),
            (0.75, 0.64),
        ),
        (0.12, 0.47, 0.9),
    ),
    Style(
        (1.48, 1.72, 3.9),
        (*_TAIL, (0.3, 0.64), *_NOSE),
        (*_BOX_CABIN, (0.80, 0.61)),
        (0.08, 0.44, 0.88),
    ),
    Style(
        (1.50, 1.80, 4.6),
        (*_TAIL, (0.3, 0.63), (0.74, 0.63), *_NOSE[1:]),
        (
            (0.015, 0.62),
            (0.09, 0.94),
            (0.15, 1.0),
            (0.53, 1.0),
            (0.58, 0.97),
            (0.76, 0.62),
        ),
        (0.06, 0.33, 0.6, 0.9),
    ),
    Style(
        (1.72, 1.86, 4.5),
        (*_TAIL, (0.3, 0.62), *_NOSE),
        (*_BOX_CABIN, (0.78, 0.61)),
        (0.06, 0.34, 0.58, 0.9),
        roof=0.82,
    ),
    Style(
        (1.52, 1.62, 3.5),
        (*_TAIL, (0.3, 0.62), (0.83, 0.60), *_NOSE[1:]),
        (
            (0.02, 0.62),
            (0.06, 0.94),
            (0.12, 1.0),
            (0.6, 1.0),
            (0.66, 0.96),
            (0.84, 0.60),
        ),
        (0.08, 0.45, 0.88),
    ),
)
VAN_STYLES = (
    Style(
        (2.0, 1.92, 4.9),
        (*_BUS_TAIL, *_BUS_NOSE),
        (*_BUS_CABIN, (0.93, 0.52)),
        (0.04, 0.34, 0.6, 0.86),
        roof=0.88,
    ),
    Style(
        (2.45, 2.02, 5.6),
        (*_BUS_TAIL, *_BUS_NOSE),
        (*_BUS_CABIN, (0.92, 0.52)),
        (0.66, 0.88),
        roof=0.93,
    ),
)
# Colour and how often it is seen.
PAINTS = (
    ((0.62, 0.63, 0.64), 0.18),
    ((0.30, 0.31, 0.33), 0.17),
    ((0.10, 0.11, 0.12), 0.14),
    ((0.012, 0.012, 0.014), 0.12),
    ((0.75, 0.75, 0.73), 0.16),
    ((0.03, 0.07, 0.26), 0.08),
    ((0.42, 0.02, 0.025), 0.07),
    ((0.05, 0.16, 0.07), 0.03),
    ((0.62, 0.45, 0.04), 0.02),
    ((0.25, 0.17, 0.10), 0.03),
)
