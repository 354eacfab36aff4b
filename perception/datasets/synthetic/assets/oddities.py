"""Things that deceive one sensor but not the others."""

from __future__ import annotations

import numpy as np

from perception.datasets.synthetic.assets.meshes import Mesh, box, fan, merge, picture
from perception.datasets.synthetic.assets.solids import tube
from perception.datasets.synthetic.assets.surfaces import POSTERS, STEEL_MIRROR, Surface

_STEEL = Surface((0.3, 0.3, 0.31), reflectance=0.4, gloss=0.2)


def billboard(rng: np.random.Generator) -> Mesh:
    """A panel facing -x that shows a life-size road user: only the camera sees one."""
    slot = int(rng.integers(POSTERS))
    wide = slot < POSTERS // 2
    width, height = (4.9, 2.4) if wide else (1.5, 2.1)
    base = 0.15 if rng.random() < 0.7 else 0.8
    y, top = width / 2, base + height
    # Lower left as seen from the road is +y, since the viewer looks along +x.
    corners = [(-0.04, y, base), (-0.04, -y, base), (-0.04, -y, top), (-0.04, y, top)]
    parts = [
        picture(corners, Surface((1, 1, 1), f"poster_{slot}", reflectance=0.45)),
        box((0.06, width + 0.1, height + 0.1), (0, 0, base + height / 2), _STEEL),
    ]
    for side in (-1, 1):
        parts.append(
            tube((0, side * y * 0.8, 0), (0, side * y * 0.8, base), 0.05, _STEEL)
        )
    return merge(parts)


def mirror_box(rng: np.random.Generator) -> Mesh:
    """A polished kiosk: every sensor sees the street in it instead of the box."""
    width, depth, height = rng.uniform((1.0, 0.8, 1.6), (2.6, 1.6, 2.4))
    frame = box((depth + 0.06, width + 0.06, 0.12), (0, 0, height + 0.06), _STEEL)
    return merge([box((depth, width, height), (0, 0, height / 2), STEEL_MIRROR), frame])


def puddle(rng: np.random.Generator) -> Mesh:
    """Standing water: a mirror lying on the road."""
    water = Surface((0.5, 0.52, 0.55), reflectance=0.01, gloss=1.0, mirror=True)
    angle = np.arange(9) * (2 * np.pi / 9)
    radius = rng.uniform(0.5, 1.0, 9)
    outline = np.stack([2.0 * radius * np.cos(angle), radius * np.sin(angle)], 1)
    return fan(np.column_stack([outline, np.full(9, 0.004)]), water)


def blank_wall(rng: np.random.Generator) -> Mesh:
    """A wall facing -x without any texture: stereo finds nothing to match."""
    tone = rng.uniform(0.45, 0.75)
    smooth = Surface((tone, tone, tone), reflectance=0.6)
    width, height = rng.uniform(3, 7), rng.uniform(1.8, 3.0)
    return box((0.25, width, height), (0, 0, height / 2), smooth)
