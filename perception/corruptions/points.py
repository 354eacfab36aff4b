"""What failures do to point clouds.

As in ``perception.corruptions.maps``: one effect, one frame, a level in the unit
that the name ends in, random numbers that do not depend on the level.

Shape letters: P points, F features.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from perception.corruptions.maps import KOSCHMIEDER, Reading
from perception.models.rasterize import project_row

BEAMS = 64
# A LiDAR that just sees a surface of this reflectance at this range in clear air.
FAINTEST_REFLECTANCE, FAINTEST_RANGE_M = 0.02, 120.0
_REFLECTANCES = ("reflectance", "intensity")
_USUAL_REFLECTANCE = 0.2


def keep(reading: Reading, kept: Tensor) -> Reading:
    """Only the points of the mask (P,)."""
    return replace(reading, value=reading.value[kept])


def ranges_m(points: Tensor) -> Tensor:
    """(P, 1) distance of each point from the sensor."""
    return points[:, :3].norm(dim=1, keepdim=True)


def blackout_share(reading: Reading, share: float) -> Reading:
    """This share of the points is lost at random; 1 loses all."""
    return keep(reading, reading.uniform(len(reading.value)) >= share)


def beam_loss_share(reading: Reading, share: float) -> Reading:
    """This share of the beams is dead; beams are 64 equal steps of elevation."""
    points = reading.value
    order = reading.uniform(BEAMS).argsort().argsort()
    if not len(points):
        return reading
    elevation = torch.atan2(points[:, 2], points[:, :2].norm(dim=1))
    low, high = elevation.min(), elevation.max()
    step = (high - low).clamp(min=1e-6) / BEAMS
    beam = ((elevation - low) / step).long().clamp(max=BEAMS - 1)
    return keep(reading, order[beam] >= round(share * BEAMS))


def view_loss_share(reading: Reading, share: float) -> Reading:
    """Nothing from this share of the image's columns, on the left or on the right."""
    from_left = reading.uniform(1).item() < 0.5
    assert reading.projection is not None, "points come with a projection"
    matrix = reading.projection.to(reading.value)
    xyz = reading.value[:, :3].T
    u, depth_m = project_row(xyz, matrix[0]), project_row(xyz, matrix[2])
    place = (u / depth_m + 0.5) / reading.size[1]
    lost = place <= share if from_left else place >= 1 - share
    return keep(reading, ~lost | (depth_m <= 0))


def noise_m(reading: Reading, sigma: float) -> Reading:
    """Gaussian noise of this many metres on every range."""
    points = reading.value
    farther_m = sigma * reading.normal(len(points), 1)
    return replace(reading, value=moved_along_ray(points, farther_m))


def moved_along_ray(points: Tensor, farther_m: Tensor) -> Tensor:
    """Points (P, 3 + F) moved away from the sensor by (P, 1) metres, to 0 at least."""
    range_m = ranges_m(points)
    factor = ((range_m + farther_m) / range_m.clamp(min=1e-6)).clamp(min=0)
    return torch.cat([points[:, :3] * factor, points[:, 3:]], dim=1)


def _reflectance_column(reading: Reading) -> int | None:
    named = [i for i, n in enumerate(reading.spec.columns) if n in _REFLECTANCES]
    return named[0] if named else None


def fog_visibility_m(reading: Reading, visibility_m: float) -> Reading:
    """Returns fade both ways; faint ones are lost, or fog returns the light instead.

    The air's extinction follows from the visibility (Koschmieder). A return that is
    fainter than what the sensor just sees in clear air is lost. Half of the lost ones
    become returns of the fog itself: within a few metres, and faint. After Bijelic et
    al., "A benchmark for lidar sensors in fog", IV 2018, much simplified.
    """
    points, column = reading.value, _reflectance_column(reading)
    range_m = ranges_m(points)[:, 0]
    chance, scattered_m = reading.uniform(2, len(points))
    usual = torch.full_like(range_m, _USUAL_REFLECTANCE)
    reflectance = usual if column is None else points[:, column]
    clear = (-2 * KOSCHMIEDER / visibility_m * range_m).exp()
    faintest = FAINTEST_REFLECTANCE * (range_m / FAINTEST_RANGE_M) ** 2
    # What the sensor saw in clear air it would still see in clear air.
    lost = reflectance.clamp(min=FAINTEST_REFLECTANCE) * clear < faintest
    faded = points.clone()
    if column is not None:
        faded[:, column] = torch.where(lost, 0.02, reflectance * clear)
    # Exponentially distributed with a mean of a twentieth of the visibility.
    nearer_m = 1.0 - visibility_m / 20 * (1 - scattered_m).clamp(min=1e-6).log()
    back = lost & (chance < 0.5) & (nearer_m < range_m)
    shift_m = torch.where(back, nearer_m - range_m, 0.0)[:, None]
    return replace(reading, value=moved_along_ray(faded, shift_m)[~lost | back])


def rain_share(reading: Reading, share: float) -> Reading:
    """This share of the returns is lost; of these a tenth come from near drops.

    Wet surfaces also return less: by the same share.
    """
    points, column = reading.value, _reflectance_column(reading)
    chance, scattered, near = reading.uniform(3, len(points))
    range_m = ranges_m(points)[:, 0]
    lost = chance < share
    drop = lost & (scattered < 0.1)
    wet = points.clone()
    if column is not None:
        wet[:, column] *= 1 - share
    shift_m = torch.where(drop, (1 + 9 * near - range_m).clamp(max=0), 0.0)
    return replace(reading, value=moved_along_ray(wet, shift_m[:, None])[~lost | drop])


def misaligned_deg(reading: Reading, angle: float) -> Reading:
    """Extrinsics off by this angle around a random axis, and 2 cm per degree.

    The points stay as they are; their projection to the image changes.
    """
    axis, way = reading.normal(2, 3).cpu().double()
    axis, way = axis / axis.norm(), way / way.norm()
    zero = torch.zeros((), dtype=torch.float64)
    x, y, z = axis
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).view(3, 3)
    wrong = torch.eye(4, dtype=torch.float64)
    wrong[:3, :3] = torch.linalg.matrix_exp(cross * math.radians(angle))
    wrong[:3, 3] = 0.02 * angle * way
    assert reading.projection is not None, "points come with a projection"
    turned = reading.projection.double() @ wrong.to(reading.projection.device)
    return replace(reading, projection=turned.to(reading.projection.dtype))


def late_m(reading: Reading, travelled: float) -> Reading:
    """Measured before the vehicle drove this far: everything is farther ahead (x)."""
    points = reading.value.clone()
    points[:, 0] += travelled
    return replace(reading, value=points)
