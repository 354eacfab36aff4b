"""Hand-made scenes for tests: daylight, a plain road, and what a test puts on it."""

from functools import lru_cache

import numpy as np

from perception.datasets.synthetic.assets.meshes import Mesh, box, fan
from perception.datasets.synthetic.assets.surfaces import Atlas, Surface, build_atlas
from perception.datasets.synthetic.world.actors import Actor
from perception.datasets.synthetic.world.lighting import Lighting
from perception.datasets.synthetic.world.scene import Scene, Viewpoint, assemble

CAMERA_HEIGHT_M = 1.65
GREY = Surface((0.4, 0.4, 0.4), "asphalt", reflectance=0.4)


def daylight() -> Lighting:
    grey = np.full(3, 0.5, np.float32)
    return Lighting(
        kind="overcast",
        key_direction=np.array([0.6, -0.8, 0], np.float32),
        key_colour=grey,
        ambient=grey,
        zenith=grey,
        horizon=grey,
        haze_m=1e6,
        lamps_m=np.zeros((0, 3), np.float32),
        lamp_colour=grey,
        lit_windows=0.0,
    )


@lru_cache(maxsize=1)
def plain_atlas() -> Atlas:
    return build_atlas()


def road() -> Mesh:
    corners = [(-50, -80, 0), (200, -80, 0), (200, 80, 0), (-50, 80, 0)]
    return fan(corners, GREY, 4.0)


def wall(x: float, y: float, width: float, surface: Surface = GREY) -> Mesh:
    """A wall across the view at distance x, 20 m high."""
    size = (0.1, width, 20.0)
    # Repeats within the view would be ambiguous for stereo.
    return box(size, (x, y, 10.0), surface, tile_m=(20.0, 20.0))


def scene_of(*actors: Actor, background: tuple[Mesh, ...] = ()) -> Scene:
    """A camera at the world's origin, looking along x, and what stands before it."""
    view = Viewpoint(lateral_m=0.0, height_m=CAMERA_HEIGHT_M, yaw=0.0)
    return assemble([road(), *background], list(actors), view, daylight())
