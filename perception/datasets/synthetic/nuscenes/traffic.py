"""Road users that move at constant velocity and never through each other.

World frame: x along the road, y left, z up; the own lane's centre is y = 0.
Shape letters: T instants; D discs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perception.datasets.synthetic.assets.body_styles import CAR_STYLES, VAN_STYLES
from perception.datasets.synthetic.assets.meshes import Mesh
from perception.datasets.synthetic.assets.people import cyclist, pedestrian
from perception.datasets.synthetic.assets.vehicles import vehicle
from perception.datasets.synthetic.world.actors import (
    BACKWARD,
    FORWARD,
    LEFTWARD,
    RIGHTWARD,
    Actor,
    Crowd,
    place,
)
from perception.datasets.synthetic.world.street import KERB_M, Layout

Velocity = tuple[float, float]
STILL: Velocity = (0.0, 0.0)


@dataclass(frozen=True)
class Mover:
    """A road user and how it moves.

    Attributes:
        actor: It at time 0, in the world frame.
        velocity_mps: Along x and y of the world.
        parked: Whether nobody sits in it.
    """

    actor: Actor
    velocity_mps: Velocity
    parked: bool = False


class Traffic(Crowd):
    """A crowd in which places are taken over time.

    Attributes:
        movers: What was placed so far.
        parking: Whether what is placed now is parked.
    """

    def __init__(self, layout: Layout, night: bool, times_s: np.ndarray) -> None:
        """Collisions are looked for at ``times_s`` (T,)."""
        super().__init__(layout, night)
        self.movers: list[Mover] = []
        self.parking = False
        self._times_s = times_s
        # (D, T, 2) places and (D,) radii of all that was placed.
        self._paths = np.empty((0, len(times_s), 2))
        self._radii = np.empty(0)

    def claim_path(self, path: np.ndarray, radius: float) -> bool:
        """Reserve discs (D, T, 2) over time; False, and nothing done, if in the way."""
        gap = path[:, None] - self._paths[None]
        square = np.einsum("abtc,abtc->abt", gap, gap)
        if (square < (radius + self._radii[:, None]) ** 2).any():
            return False
        self._paths = np.concatenate([self._paths, path])
        self._radii = np.append(self._radii, np.full(len(path), radius))
        return True

    def block(self, x: float, y: float, radius: float) -> bool:
        """Reserve a disc for all time."""
        place = np.broadcast_to([x, y], (1, len(self._times_s), 2))
        return self.claim_path(place, radius)

    def add(
        self,
        name: str,
        mesh: Mesh,
        x: float,
        y: float,
        z: float,
        yaw: float,
        velocity: Velocity = STILL,
    ) -> bool:
        """Place a road user unless something will be in the way."""
        actor = place(name, mesh, x, y, z, yaw)
        _, width, length = actor.size_m
        radius = width / 2 + 0.1
        reach = max(length / 2 - radius, 0.0)
        steps = np.linspace(-reach, reach, max(int(2 * reach / radius) + 1, 1))
        discs = np.array([x, y]) + steps[:, None] * [np.cos(yaw), np.sin(yaw)]
        path = discs[:, None] + self._times_s[:, None] * np.array(velocity)
        if not self.claim_path(path, radius):
            return False
        self.movers.append(Mover(actor, velocity, self.parking))
        return True

    def go(self, name: str, mesh: Mesh, place_m, yaw: float, speed_mps: float) -> bool:
        """Place a road user that moves where it faces; ``place_m`` is x, y, z."""
        velocity = (float(speed_mps * np.cos(yaw)), float(speed_mps * np.sin(yaw)))
        x, y, z = place_m
        return self.add(name, mesh, x, y, z, yaw, velocity)

    def car(self, rng: np.random.Generator, x, y, yaw: float, speed_mps: float) -> bool:
        """A car or van on the road that drives where it faces."""
        van = rng.random() < 0.14
        mesh = vehicle(rng, VAN_STYLES if van else CAR_STYLES, self.night)
        return self.go("Van" if van else "Car", mesh, (x, y, 0.0), yaw, speed_mps)


def drive_along(rng, traffic: Traffic, reach_m: float, own_mps: float) -> None:
    """Cars ahead and behind in the own lane, oncoming ones, some on a side road."""
    layout = traffic.layout
    for _ in range(rng.integers(1, 5)):
        x = rng.uniform(-25, reach_m + 45)
        speed = own_mps * rng.uniform(0.85, 1.3)
        traffic.car(rng, x, rng.normal(0, 0.2), FORWARD + rng.normal(0, 0.01), speed)
    # Oncoming traffic flows, or waits in a queue.
    queue = rng.random() < 0.2
    for _ in range(rng.integers(1, 6)):
        x = rng.uniform(-25, reach_m + 55)
        speed = 0.0 if queue else rng.uniform(4, 11)
        y = layout.lane_m + rng.normal(0, 0.2)
        traffic.car(rng, x, y, BACKWARD + rng.normal(0, 0.01), speed)
    if layout.junction_m is not None:
        a, b = layout.junction_m
        for _ in range(rng.integers(0, 4)):
            leftward = rng.random() < 0.5
            x = a + (b - a) * (0.75 if leftward else 0.25) + rng.normal(0, 0.15)
            yaw = LEFTWARD if leftward else RIGHTWARD
            speed = rng.uniform(3, 7) if rng.random() < 0.6 else 0.0
            traffic.car(rng, x, rng.uniform(-22, 25), yaw, speed)


def walk_along(rng, traffic: Traffic, reach_m: float) -> None:
    """Pedestrians on the sidewalks and across the road; a third stand still."""
    layout = traffic.layout
    for _ in range(rng.integers(3, 13)):
        side = int(rng.integers(2))
        kerb, sign = layout.kerbs_m[side], (-1, 1)[side]
        y = kerb + sign * rng.uniform(0.4, layout.sidewalk_m)
        x = rng.uniform(-12, reach_m + 28)
        z = 0.0 if layout.in_junction(x, 1) else KERB_M - 0.005
        yaw = rng.choice([FORWARD, BACKWARD]) + rng.normal(0, 0.05)
        speed = rng.uniform(0.8, 1.7) * (rng.random() < 0.67)
        traffic.go("Pedestrian", pedestrian(rng), (x, y, z), yaw, speed)
    right, left = layout.kerbs_m
    for _ in range(rng.integers(0, 4)):
        x = layout.crossing_m
        x = rng.uniform(4, reach_m + 25) if x is None else x + rng.uniform(-1.3, 1.3)
        y = rng.uniform(right + 0.2, left - 0.2)
        yaw = rng.choice([LEFTWARD, RIGHTWARD]) + rng.normal(0, 0.1)
        speed = rng.uniform(0.8, 1.7)
        traffic.go("Pedestrian", pedestrian(rng), (x, y, 0.0), yaw, speed)


def ride_along(rng, traffic: Traffic, reach_m: float) -> None:
    """Cyclists along both sides of the road."""
    layout = traffic.layout
    for _ in range(rng.integers(1, 6)):
        x = rng.uniform(-10, reach_m + 30)
        if rng.random() < 0.55:
            y, yaw = -layout.lane_m / 2 + rng.uniform(0.0, 0.5), FORWARD
        else:
            y, yaw = 1.5 * layout.lane_m - rng.uniform(0.1, 0.9), BACKWARD
        speed = rng.uniform(2.5, 6.0)
        yaw += rng.normal(0, 0.02)
        traffic.go("Cyclist", cyclist(rng), (x, y, 0.0), yaw, speed)
