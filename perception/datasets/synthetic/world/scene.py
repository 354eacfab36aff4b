"""A random street scene: one mesh, who owns which triangle, and the light.

World frame: x along the road, y left, z up. The finished scene is in the cam frame
(x right, y down, z forward) of the camera that looks at it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from perception.core.geometry import wrap_angle
from perception.datasets.synthetic.assets import roadside
from perception.datasets.synthetic.assets.meshes import Mesh, merge
from perception.datasets.synthetic.world import actors, street
from perception.datasets.synthetic.world.actors import Actor, Crowd
from perception.datasets.synthetic.world.lighting import Lighting, random_lighting
from perception.datasets.synthetic.world.street import KERB_M, Layout

BACKGROUND = -1


@dataclass(frozen=True)
class Viewpoint:
    """Where the camera stands in the world.

    Attributes:
        lateral_m: Its y.
        height_m: Its height above the road.
        yaw: Where it looks, 0 along the road, positive left.
        along_m: Its x.
    """

    lateral_m: float
    height_m: float
    yaw: float
    along_m: float = 0.0

    def to_cam(self, points: np.ndarray) -> np.ndarray:
        """World points (..., 3) in the cam frame."""
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        x, y = points[..., 0] - self.along_m, points[..., 1] - self.lateral_m
        return np.stack(
            [s * x - c * y, self.height_m - points[..., 2], c * x + s * y], -1
        ).astype(np.float32)

    def rotation_y(self, yaw: float) -> float:
        """KITTI's rotation_y, in ±pi, of something with world heading ``yaw``."""
        return float(wrap_angle(np.array(self.yaw - yaw - np.pi / 2)))


@dataclass(frozen=True)
class SceneObject:
    """One road user in the cam frame, in KITTI's terms.

    Attributes:
        name: Its class.
        corners: (T, 3, 3) its triangles, metres.
        dimensions_m: Height, width, length.
        location_m: (3,) centre of the bottom face.
        rotation_y: Yaw around the cam y axis in radians.
    """

    name: str
    corners: np.ndarray
    dimensions_m: tuple[float, float, float]
    location_m: np.ndarray
    rotation_y: float


@dataclass(frozen=True)
class Scene:
    """Everything the sensors look at, in the cam frame.

    Attributes:
        mesh: All triangles.
        owner: (T,) index into ``objects``, or ``BACKGROUND``.
        objects: The road users.
        lighting: The light.
    """

    mesh: Mesh
    owner: np.ndarray
    objects: tuple[SceneObject, ...]
    lighting: Lighting


def random_scene(rng: np.random.Generator) -> Scene:
    """Draw a street, fill it with road users and put the camera into it."""
    layout = street.random_layout(rng)
    view = Viewpoint(rng.normal(0, 0.25), rng.normal(1.65, 0.03), rng.normal(0, 0.045))
    posts, lamps = street.lamp_posts(rng, layout)
    lighting = random_lighting(rng, view.to_cam(lamps))
    crowd = Crowd(layout, night=lighting.night)
    # The own car occupies the place that the sensors stand on.
    for x in (-3.0, -1.5, 0.0, 1.6):
        crowd.block(x, view.lateral_m, 1.1)
    for populate in (actors.park, actors.drive, actors.walk, actors.ride):
        populate(rng, crowd)
    background = street.ground(rng, layout) + street.buildings(rng, layout)
    background += posts + furnish(rng, crowd) + deceive(rng, crowd)
    users = [mover.actor for mover in crowd.movers]
    return assemble(background, users, view, lighting)


def assemble(
    background: list[Mesh], users: list[Actor], view: Viewpoint, lighting: Lighting
) -> Scene:
    """What stands in the world, as the camera at ``view`` has it.

    At least one mesh of ``background`` is needed; ``lighting`` is in the cam frame.
    """
    still = merge(background)
    whole = merge([still, *(actor.mesh for actor in users)])
    whole = replace(whole, corners=view.to_cam(whole.corners))
    counts = [len(still), *(len(actor.mesh) for actor in users)]
    owner = np.repeat(np.arange(-1, len(users)), counts)
    pieces = np.split(whole.corners, np.cumsum(counts)[:-1])[1:]
    objects = tuple(
        SceneObject(
            name=actor.name,
            corners=corners,
            dimensions_m=actor.size_m,
            location_m=view.to_cam(actor.base_m),
            rotation_y=view.rotation_y(actor.yaw),
        )
        for actor, corners in zip(users, pieces, strict=True)
    )
    return Scene(whole, owner, objects, lighting)


def _beside(
    rng: np.random.Generator, layout: Layout, near: float, low: float, high: float
):
    """A random place on a sidewalk: x from ``near``, y at a share of its width."""
    side = int(rng.integers(2))
    sign = (-1, 1)[side]
    y = layout.kerbs_m[side] + sign * layout.sidewalk_m * rng.uniform(low, high)
    x = rng.uniform(max(near, abs(y) * 1.1), 48)
    return x, y, sign


def furnish(rng: np.random.Generator, crowd: Crowd) -> list[Mesh]:
    """Trees, signs, bins and bollards on the sidewalks."""
    meshes = []
    kinds = (
        (rng.integers(0, 9), roadside.tree, 0.45),
        (rng.integers(0, 4), roadside.sign_post, 0.2),
        (rng.integers(0, 4), roadside.bin_or_cabinet, 0.6),
        (rng.integers(0, 5), roadside.bollard, 0.2),
    )
    for count, make, radius in kinds:
        for _ in range(count):
            x, y, _ = _beside(rng, crowd.layout, 5, 0.12, 0.3)
            if not crowd.layout.in_junction(x, 2) and crowd.block(x, y, radius):
                meshes.append(make(rng).moved((x, y, KERB_M - 0.01)))
    return meshes


def deceive(rng: np.random.Generator, crowd: Crowd) -> list[Mesh]:
    """What one sensor mistakes: posters, mirrors, water, featureless walls."""
    layout, meshes = crowd.layout, []
    for chance, make, radius in (
        (0.3, roadside.billboard, 1.2),
        (0.12, roadside.mirror_box, 1.0),
        (0.1, roadside.blank_wall, 1.5),
    ):
        if rng.random() < chance:
            x, y, sign = _beside(rng, layout, 9, 0.8, 1.4)
            if not layout.in_junction(x, 2) and crowd.block(x, y, radius):
                turn = -sign * rng.uniform(0.0, 0.5)
                meshes.append(make(rng).moved((x, y, KERB_M), turn))
    if rng.random() < 0.12:
        y = rng.uniform(*layout.kerbs_m) * 0.8
        meshes.append(roadside.puddle(rng).moved((rng.uniform(6, 20), y, 0)))
    return meshes
