"""A random street that is driven through: what is where at any time.

Road users move at constant velocity and never through each other.

World frame: x along the road, y left, z up. The scene at one instant is in the cam
frame (x right, y down, z forward) of a camera above the ego car's windscreen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from perception.datasets.synthetic.assets.meshes import Mesh, merge
from perception.datasets.synthetic.assets.people import cyclist, pedestrian
from perception.datasets.synthetic.nuscenes.rig import planar_pose
from perception.datasets.synthetic.world import actors, street
from perception.datasets.synthetic.world.lighting import Lighting, random_lighting
from perception.datasets.synthetic.world.scene import (
    Scene,
    Viewpoint,
    assemble,
    deceive,
    furnish,
)
from perception.datasets.synthetic.world.street import KERB_M, Layout

VIEW_HEIGHT_M = 1.65
# The view stands this far before the ego frame's origin, the rear axle.
VIEW_AHEAD_M = 1.7
_BEHIND_M = 35.0
# Time between looks for collisions.
_LOOK_S = 0.2


@dataclass(frozen=True)
class EgoPath:
    """The own car's way: straight along the lane, swaying a little.

    Attributes:
        speed_mps: Along the road.
        start_m: x at time 0.
        sway_m: Greatest distance from the lane's middle.
        rate: Of the swaying, radians per second.
        phase: Of the swaying at time 0.
    """

    speed_mps: float
    start_m: float
    sway_m: float
    rate: float
    phase: float

    def place(self, time_s: float) -> tuple[float, float, float]:
        """x, y and yaw in the world."""
        angle = self.rate * time_s + self.phase
        across_mps = self.sway_m * self.rate * np.cos(angle)
        yaw = np.arctan2(across_mps, self.speed_mps) if self.speed_mps > 0 else 0.0
        x = self.start_m + self.speed_mps * time_s
        return float(x), float(self.sway_m * np.sin(angle)), float(yaw)

    def pose(self, time_s: float) -> np.ndarray:
        """(4, 4) transform of the ego frame to the world."""
        return planar_pose(*self.place(time_s))

    def velocity_mps(self, time_s: float) -> np.ndarray:
        """(2,) velocity of the ego frame's origin in the world."""
        angle = self.rate * time_s + self.phase
        return np.array([self.speed_mps, self.sway_m * self.rate * np.cos(angle)])

    def yaw_rate(self, time_s: float) -> float:
        """Radians per second, positive left."""
        ahead, behind = self.place(time_s + 1e-3)[2], self.place(time_s - 1e-3)[2]
        return (ahead - behind) / 2e-3


@dataclass(frozen=True)
class Sequence:
    """A street, its traffic over time, its light and the own car's way through.

    Attributes:
        layout: The street.
        still: What never moves and nobody owns.
        movers: The road users.
        lighting: The light, as seen from the world's origin.
        lamps_m: (L, 3) street lamps in the world.
        ego: The own car's way.
    """

    layout: Layout
    still: Mesh
    movers: tuple[actors.Mover, ...]
    lighting: Lighting
    lamps_m: np.ndarray
    ego: EgoPath

    def at(self, time_s: float) -> tuple[Scene, np.ndarray]:
        """The world at a time, and the (4, 4) transform of the world to its cam frame.

        The sensors look from the own car; the scene's object k is mover k.
        """
        x, y, yaw = self.ego.place(time_s)
        c, s = np.cos(yaw), np.sin(yaw)
        along_m, lateral_m = x + VIEW_AHEAD_M * c, y + VIEW_AHEAD_M * s
        view = Viewpoint(lateral_m, VIEW_HEIGHT_M, yaw, along_m)
        right, down, ahead = self.lighting.key_direction
        key = np.array([c * right + s * ahead, down, c * ahead - s * right], np.float32)
        lamps_m = view.to_cam(self.lamps_m)
        lighting = replace(self.lighting, key_direction=key, lamps_m=lamps_m)
        users = [_moved(mover, time_s) for mover in self.movers]
        axes = np.array([[s, -c, 0], [0, 0, -1], [c, s, 0]])
        view_T_world = np.eye(4)
        view_T_world[:3, :3] = axes
        origin = np.array([view.along_m, view.lateral_m, view.height_m])
        view_T_world[:3, 3] = -axes @ origin
        return assemble([self.still], users, view, lighting), view_T_world


def _moved(mover: actors.Mover, time_s: float) -> actors.Actor:
    """The road user at a time."""
    offset = np.array([*mover.velocity_mps, 0.0]) * time_s
    actor = mover.actor
    return replace(actor, mesh=actor.mesh.moved(offset), base_m=actor.base_m + offset)


def random_sequence(rng: np.random.Generator, duration_s: float) -> Sequence:
    """Draw a street with traffic and a way through it, looked at from time 0 on."""
    layout = street.random_layout(rng)
    posts, lamps_m = street.lamp_posts(rng, layout)
    origin = Viewpoint(0.0, VIEW_HEIGHT_M, 0.0)
    lighting = random_lighting(rng, origin.to_cam(lamps_m))
    ego = _random_ego(rng, duration_s)
    reach_m = ego.place(duration_s)[0]
    # Sweeps are taken a little before time 0.
    times_s = np.arange(-_LOOK_S, duration_s + 2 * _LOOK_S, _LOOK_S)
    crowd = actors.Crowd(layout, lighting.night, times_s)
    crowd.claim_path(_own_discs(ego, times_s), 1.1)
    crowd.parking = True
    actors.park(rng, crowd, begin_m=-30.0, end_m=reach_m + 45)
    crowd.parking = False
    drive_along(rng, crowd, reach_m, ego.speed_mps)
    walk_along(rng, crowd, reach_m)
    ride_along(rng, crowd, reach_m)
    background = street.ground(rng, layout)
    background += street.buildings(rng, layout, -_BEHIND_M)
    background += posts + furnish(rng, crowd) + deceive(rng, crowd)
    movers = tuple(crowd.movers)
    return Sequence(layout, merge(background), movers, lighting, lamps_m, ego)


def drive_along(rng, crowd: actors.Crowd, reach_m: float, own_mps: float) -> None:
    """Cars ahead and behind in the own lane, oncoming ones, some on a side road."""
    layout = crowd.layout
    for _ in range(rng.integers(1, 5)):
        x = rng.uniform(-25, reach_m + 45)
        speed = own_mps * rng.uniform(0.85, 1.3)
        y, yaw = rng.normal(0, 0.2), actors.FORWARD + rng.normal(0, 0.01)
        crowd.add_vehicle(rng, x, y, yaw, speed)
    # Oncoming traffic flows, or waits in a queue.
    queue = rng.random() < 0.2
    for _ in range(rng.integers(1, 6)):
        x = rng.uniform(-25, reach_m + 55)
        speed = 0.0 if queue else rng.uniform(4, 11)
        y = layout.lane_m + rng.normal(0, 0.2)
        crowd.add_vehicle(rng, x, y, actors.BACKWARD + rng.normal(0, 0.01), speed)
    if layout.junction_m is not None:
        a, b = layout.junction_m
        for _ in range(rng.integers(0, 4)):
            leftward = rng.random() < 0.5
            x = a + (b - a) * (0.75 if leftward else 0.25) + rng.normal(0, 0.15)
            yaw = actors.LEFTWARD if leftward else actors.RIGHTWARD
            speed = rng.uniform(3, 7) if rng.random() < 0.6 else 0.0
            crowd.add_vehicle(rng, x, rng.uniform(-22, 25), yaw, speed)


def walk_along(rng, crowd: actors.Crowd, reach_m: float) -> None:
    """Pedestrians on the sidewalks and across the road; a third stand still."""
    layout = crowd.layout
    for _ in range(rng.integers(3, 13)):
        side = int(rng.integers(2))
        kerb, sign = layout.kerbs_m[side], (-1, 1)[side]
        y = kerb + sign * rng.uniform(0.4, layout.sidewalk_m)
        x = rng.uniform(-12, reach_m + 28)
        z = 0.0 if layout.in_junction(x, 1) else KERB_M - 0.005
        yaw = rng.choice([actors.FORWARD, actors.BACKWARD]) + rng.normal(0, 0.05)
        speed = rng.uniform(0.8, 1.7) * (rng.random() < 0.67)
        crowd.add("Pedestrian", pedestrian(rng), (x, y, z), yaw, speed)
    right, left = layout.kerbs_m
    for _ in range(rng.integers(0, 4)):
        x = layout.crossing_m
        x = rng.uniform(4, reach_m + 25) if x is None else x + rng.uniform(-1.3, 1.3)
        y = rng.uniform(right + 0.2, left - 0.2)
        yaw = rng.choice([actors.LEFTWARD, actors.RIGHTWARD]) + rng.normal(0, 0.1)
        speed = rng.uniform(0.8, 1.7)
        crowd.add("Pedestrian", pedestrian(rng), (x, y, 0.0), yaw, speed)


def ride_along(rng, crowd: actors.Crowd, reach_m: float) -> None:
    """Cyclists along both sides of the road."""
    layout = crowd.layout
    for _ in range(rng.integers(1, 6)):
        x = rng.uniform(-10, reach_m + 30)
        if rng.random() < 0.55:
            y, yaw = -layout.lane_m / 2 + rng.uniform(0.0, 0.5), actors.FORWARD
        else:
            y, yaw = 1.5 * layout.lane_m - rng.uniform(0.1, 0.9), actors.BACKWARD
        speed = rng.uniform(2.5, 6.0)
        yaw += rng.normal(0, 0.02)
        crowd.add("Cyclist", cyclist(rng), (x, y, 0.0), yaw, speed)


def _random_ego(rng: np.random.Generator, duration_s: float) -> EgoPath:
    """One in eight waits; nobody leaves the middle of the street."""
    fastest = min(10.0, 45.0 / max(duration_s, 1.0))
    speed = 0.0 if rng.random() < 0.125 else rng.uniform(0.25, 1.0) * fastest
    sway = rng.uniform(0.0, 0.2) if speed > 0 else 0.0
    rate, phase = rng.uniform(0.4, 0.9), rng.uniform(-np.pi, np.pi)
    return EgoPath(speed, rng.uniform(-5.0, 5.0), sway, rate, phase)


def _own_discs(ego: EgoPath, times_s: np.ndarray) -> np.ndarray:
    """(D, T, 2) discs that cover the own car, rear to front."""
    x, y, yaw = np.array([ego.place(time) for time in times_s.tolist()]).T
    along = np.array([-0.4, 1.0, 2.4, 3.4])[:, None]
    return np.stack([x + along * np.cos(yaw), y + along * np.sin(yaw)], -1)
