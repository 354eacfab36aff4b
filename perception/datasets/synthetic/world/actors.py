"""Road users with their boxes, and where in the street they go.

World frame: x along the road, y left, z up; the own lane's centre is y = 0.
Shape letters: T instants; D discs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perception.datasets.synthetic.assets.meshes import Mesh, bounds
from perception.datasets.synthetic.assets.people import cyclist, pedestrian
from perception.datasets.synthetic.assets.vehicles import (
    CAR_STYLES,
    VAN_STYLES,
    vehicle,
)
from perception.datasets.synthetic.world.street import KERB_M, Layout

FORWARD, BACKWARD, LEFTWARD, RIGHTWARD = 0.0, np.pi, np.pi / 2, -np.pi / 2
Place = tuple[float, float, float]


@dataclass(frozen=True)
class Actor:
    """One labelled road user.

    Attributes:
        name: Its KITTI class.
        mesh: Its triangles, in the world frame.
        size_m: Height, width, length of the tight box.
        base_m: (3,) centre of the box's bottom face in the world frame.
        yaw: Heading around z, 0 along the road.
    """

    name: str
    mesh: Mesh
    size_m: tuple[float, float, float]
    base_m: np.ndarray
    yaw: float


def place(name: str, mesh: Mesh, x: float, y: float, z: float, yaw: float) -> Actor:
    """An actor from a local mesh, with the box that fits it tightly."""
    low, high = bounds(mesh.corners.reshape(-1, 3))
    centre = np.array([*(low + high)[:2] / 2, low[2]])
    base = np.array([x, y, z])
    world = mesh.moved(-centre).moved(base, yaw)
    length, width, height = (high - low).tolist()
    return Actor(name, world, (height, width, length), base, yaw)


@dataclass(frozen=True)
class Mover:
    """A road user and how it moves.

    Attributes:
        actor: It at time 0, in the world frame.
        velocity_mps: Along x and y of the world.
        parked: Whether nobody sits in it.
    """

    actor: Actor
    velocity_mps: tuple[float, float] = (0.0, 0.0)
    parked: bool = False


class Crowd:
    """Collects road users and refuses those that would come into another.

    Attributes:
        layout: The street.
        night: Whether vehicles have their lamps on.
        movers: What was placed so far.
        parking: Whether what is placed now is parked.
    """

    def __init__(
        self, layout: Layout, night: bool, times_s: np.ndarray | None = None
    ) -> None:
        """Collisions are looked for at ``times_s`` (T,); None: nothing moves."""
        self.layout, self.night = layout, night
        self.movers: list[Mover] = []
        self.parking = False
        self._moves = times_s is not None
        self._times_s = np.zeros(1) if times_s is None else times_s
        # (D, T, 2) places and (D,) radii of all that was placed.
        self._paths = np.empty((0, len(self._times_s), 2))
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
        self, name: str, mesh: Mesh, place_m: Place, yaw: float, speed_mps: float = 0.0
    ) -> bool:
        """Place a road user that moves where it faces, unless something is in the way.

        Args:
            name: Its KITTI class.
            mesh: Its triangles in its own frame.
            place_m: x, y, z of its bottom's centre at time 0.
            yaw: Heading around z, 0 along the road.
            speed_mps: How fast it moves.
        """
        velocity = (float(speed_mps * np.cos(yaw)), float(speed_mps * np.sin(yaw)))
        actor = place(name, mesh, *place_m, yaw)
        _, width, length = actor.size_m
        radius = width / 2 + 0.1
        reach = max(length / 2 - radius, 0.0)
        count = int(2 * reach / radius) + 1 if self._moves else 3 if reach > 0 else 1
        steps = np.linspace(-reach, reach, count)
        discs = np.array(place_m[:2]) + steps[:, None] * [np.cos(yaw), np.sin(yaw)]
        path = discs[:, None] + self._times_s[:, None] * np.array(velocity)
        if not self.claim_path(path, radius):
            return False
        self.movers.append(Mover(actor, velocity, self.parking))
        return True

    def add_vehicle(
        self,
        rng: np.random.Generator,
        x: float,
        y: float,
        yaw: float,
        speed_mps: float = 0.0,
    ) -> bool:
        """A car, or in one of seven cases a van, on the road."""
        van = rng.random() < 0.14
        mesh = vehicle(rng, VAN_STYLES if van else CAR_STYLES, self.night)
        return self.add("Van" if van else "Car", mesh, (x, y, 0.0), yaw, speed_mps)


def park(
    rng: np.random.Generator, crowd: Crowd, begin_m: float = -9.0, end_m: float = 48.0
) -> None:
    """Rows of parked cars on both sides, from ``begin_m`` to ``end_m``."""
    layout = crowd.layout
    for side in (0, 1):
        width = layout.parking_m[side]
        if width <= 0:
            continue
        kerb, sign = layout.kerbs_m[side], (1, -1)[side]
        along = FORWARD if side == 0 else BACKWARD
        step, yaw = (2.9, along + sign * 1.2) if layout.angled[side] else (5.7, along)
        density = rng.uniform(0.25, 0.8)
        for x in np.arange(rng.uniform(begin_m, begin_m + 4), end_m, step):
            if layout.in_junction(x, 6) or rng.random() > density:
                continue
            if layout.crossing_m is not None and abs(x - layout.crossing_m) < 4:
                continue
            turn = yaw + rng.normal(0, 0.03) + (np.pi if rng.random() < 0.1 else 0)
            x += rng.uniform(-0.4, 0.4)
            y = kerb + sign * width / 2 + rng.normal(0, 0.1)
            crowd.add_vehicle(rng, x, y, turn)


def drive(rng: np.random.Generator, crowd: Crowd) -> None:
    """Traffic ahead, oncoming and from the side."""
    layout = crowd.layout
    for _ in range(rng.choice(3, p=(0.4, 0.45, 0.15))):
        x, y, yaw = rng.uniform(7, 42), rng.normal(0, 0.2), rng.normal(0, 0.03)
        crowd.add_vehicle(rng, x, y, yaw)
    for _ in range(rng.choice(4, p=(0.2, 0.4, 0.3, 0.1))):
        x, y = rng.uniform(6, 45), layout.lane_m + rng.normal(0, 0.2)
        crowd.add_vehicle(rng, x, y, BACKWARD + rng.normal(0, 0.03))
    if layout.junction_m is not None:
        a, b = layout.junction_m
        for _ in range(rng.integers(0, 4)):
            leftward = rng.random() < 0.5
            x = a + (b - a) * (0.75 if leftward else 0.25) + rng.normal(0, 0.15)
            yaw = (LEFTWARD if leftward else RIGHTWARD) + rng.normal(0, 0.12)
            crowd.add_vehicle(rng, x, rng.uniform(-18, 20), yaw)


def walk(rng: np.random.Generator, crowd: Crowd) -> None:
    """Pedestrians on the sidewalks, on crossings and between cars."""
    layout = crowd.layout
    for _ in range(rng.choice(6, p=(0.08, 0.16, 0.26, 0.25, 0.16, 0.09))):
        side = int(rng.random() < 0.4)
        kerb, sign = layout.kerbs_m[side], (-1, 1)[side]
        y = kerb + sign * rng.uniform(0.4, layout.sidewalk_m)
        nearest = max(6.0, abs(y) * 1.25 + 1)
        x = nearest + 20 * rng.random() ** 1.5
        z = 0.0 if layout.in_junction(x, 1) else KERB_M - 0.005
        yaw = rng.choice([FORWARD, BACKWARD]) + rng.normal(0, 0.35)
        crowd.add("Pedestrian", pedestrian(rng), (x, y, z), yaw)
        if rng.random() < 0.25:
            beside = y + rng.choice([-1, 1]) * rng.uniform(0.6, 0.8)
            other = pedestrian(rng)
            place_m = (x + rng.normal(0, 0.2), beside, z)
            crowd.add("Pedestrian", other, place_m, yaw)
    right, left = layout.kerbs_m
    crossing = layout.crossing_m
    on_road = rng.random() < 0.3 if crossing is None else rng.integers(0, 5)
    for _ in range(int(on_road)):
        near, low, high = (0, 6, 24) if crossing is None else (crossing, -1.3, 1.3)
        x = near + rng.uniform(low, high)
        y = rng.uniform(right + 0.2, left - 0.2)
        yaw = rng.choice([LEFTWARD, RIGHTWARD]) + rng.normal(0, 0.2)
        crowd.add("Pedestrian", pedestrian(rng), (x, y, 0.0), yaw)


def ride(rng: np.random.Generator, crowd: Crowd) -> None:
    """Cyclists along both sides of the road, some across it."""
    layout = crowd.layout
    for _ in range(rng.choice(6, p=(0.06, 0.14, 0.24, 0.26, 0.18, 0.12))):
        draw = rng.random()
        x = 6.5 + 22 * rng.random() ** 1.4
        if draw < 0.45:
            y, yaw = -layout.lane_m / 2 + rng.uniform(0.1, 0.9), FORWARD
        elif draw < 0.75:
            y, yaw = 1.5 * layout.lane_m - rng.uniform(0.1, 0.9), BACKWARD
        else:
            y = rng.uniform(layout.kerbs_m[0] + 1, layout.kerbs_m[1] - 1)
            yaw = rng.choice([LEFTWARD, RIGHTWARD]) + rng.normal(0, 0.3)
        rider = cyclist(rng)
        crowd.add("Cyclist", rider, (x, y, 0.0), yaw + rng.normal(0, 0.07))
