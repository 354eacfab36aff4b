"""One frame clean and attacked as two pictures of one size, for a slider to compare.

``tools/visualize.py detect --threat`` writes them beside its sheets, in ``pairs/``:
``FRAME_ATTACK.json`` names the two pictures and says what they show.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from perception.core.files import write_json
from perception.visualization.attack_figure import (
    draw_detections,
    draw_from_above,
    draw_input,
)
from perception.visualization.images import changed_channel
from perception.visualization.scene import Judge, Scene
from perception.visualization.sheet import Sheet, write_picture

FORMAT, VERSION, FOLDER = "perception picture pair", 1, "pairs"
WIDTH_PX = 640
_HIGH, _FORWARD_M = 0.5, (-2.0, 40.0)  # of the view from above, for its width


def draw_pair(
    scenes: Sequence[Scene], judge: Judge, *, width: int = WIDTH_PX
) -> tuple[np.ndarray, np.ndarray]:
    """Detections of each detector, and the attacked sensors that are no pictures.

    Those of boxes in metres are seen from above as well.

    Args:
        scenes: The same attacked frame through one detector or several.
        judge: Tells right, false and missed apart.
        width: Width of both pictures in pixels.

    Returns:
        (H', width, 3) uint8 RGB clean and attacked, of one size.

    Raises:
        ValueError: If a scene was not attacked.
    """
    if any(scene.attacked is None for scene in scenes):
        raise ValueError("a pair needs attacked scenes")
    sheets = [_sheet(scenes, judge, attacked, width) for attacked in (False, True)]
    high = max(height for _, height in sheets)  # a legend may take another line
    clean, attacked = (sheet.rendered(high) for sheet, _ in sheets)
    return clean, attacked


def _sheet(
    scenes: Sequence[Scene], judge: Judge, attacked: bool, width: int
) -> tuple[Sheet, int]:
    """One side of a pair, and how high it is."""
    sheet, first = Sheet(width, margin=0), scenes[0]
    body = sheet.body
    for scene in scenes:
        title = scene.detector.split(" · ")[0] if len(scenes) > 1 else ""
        view = scene.last if attacked else scene.clean
        draw_detections(body, scene, view, judge, title)
        body.gap()
        if scene.is_in_space:
            high = body.y + round(_HIGH * body.width)
            draw_from_above(
                body, scene, view, judge, high, forward_m=_FORWARD_M, small=True
            )
            body.gap()
    for name in first.touched:
        spec = first.sensors[name]
        before, after = first.clean.inputs[name], first.last.inputs[name]
        if spec.kind != "image":
            channel = changed_channel(before, after, spec)
            raster, clean = (after, before) if attacked else (before, None)
            draw_input(body, spec, raster, name, channel=channel, clean=clean)
            body.gap()
    return sheet, body.y - sheet.gap


def write_pair(
    folder: str | os.PathLike, name: str, scenes: Sequence[Scene], judge: Judge
) -> Path:
    """Draw and write a pair; returns the file that describes it.

    Raises:
        DataError: If it cannot be written.
    """
    first = scenes[0]
    told = {
        "format": FORMAT,
        "version": VERSION,
        "frame_id": first.frame_id,
        "attack": first.attack,
        "touched": list(first.touched),
        "facts": [list(fact) for fact in first.facts],
        "detectors": [scene.detector for scene in scenes],
    }
    clean, attacked = draw_pair(scenes, judge)
    for side, picture in (("clean", clean), ("attacked", attacked)):
        file = f"{name}_{side}.webp"
        write_picture(Path(folder) / file, picture)
        views = [scene.clean if side == "clean" else scene.last for scene in scenes]
        found = [
            str(judge(scene.truth, view.detections))
            for scene, view in zip(scenes, views, strict=True)
        ]
        told[side] = {"file": file, "found": found}
    path = Path(folder) / f"{name}.json"
    write_json(path, told)
    return path
