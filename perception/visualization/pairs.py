"""One frame clean and attacked as two pictures of one size, for a slider to compare.

``tools/visualize.py detect --threat`` writes them beside its sheets, in ``pairs/``:
``FRAME_ATTACK.json`` names the two pictures and says what they show.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from perception.core.files import replacing, write_json
from perception.core.structures import DataError
from perception.visualization.attack_sheet import detections_panel, found_text
from perception.visualization.canvas import text_px_for
from perception.visualization.detections import Judge
from perception.visualization.rasters import raster_panels
from perception.visualization.scene import Scene
from perception.visualization.sensor_rows import changed_channel
from perception.visualization.sheet import gap_px, stack, titled

FORMAT, VERSION, FOLDER = "perception picture pair", 1, "pairs"
WIDTH_PX = 640


def draw_pair(
    scenes: Sequence[Scene], judge: Judge, *, width: int = WIDTH_PX
) -> tuple[np.ndarray, np.ndarray]:
    """Detections of each detector, and the attacked sensors that are no pictures.

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
    return _picture(scenes, judge, False, width), _picture(scenes, judge, True, width)


def _picture(
    scenes: Sequence[Scene], judge: Judge, attacked: bool, width: int
) -> np.ndarray:
    text_px, parts = text_px_for(width), []
    for scene in scenes:
        view = scene.last if attacked else scene.clean
        verdict = judge(scene.truth, view.detections)
        panel = detections_panel(scene, view, verdict, width=width, text_px=text_px)
        name = scene.detector.split(" · ")[0]
        several = len(scenes) > 1
        parts.append(titled(panel, name, text_px=text_px) if several else panel)
    first = scenes[0]
    for name in first.touched:
        spec = first.sensors[name]
        before, after = first.clean.inputs[name], first.last.inputs[name]
        if spec.kind != "image":
            channel = changed_channel(before, after, spec)
            raster = after if attacked else before
            panels = raster_panels(raster, spec, width=width, text_px=text_px)
            parts.append(panels[channel])
    return stack(parts, gap=gap_px(text_px))


def write_pair(
    folder: str | os.PathLike, name: str, scenes: Sequence[Scene], judge: Judge
) -> Path:
    """Draw and write a pair; returns the file that describes it.

    Raises:
        DataError: If it cannot be written.
    """
    pictures = dict(zip(("clean", "attacked"), draw_pair(scenes, judge), strict=True))
    first, sides = scenes[0], {}
    for side, picture in pictures.items():
        file = f"{name}_{side}.webp"
        _write_webp(Path(folder) / file, picture)
        told = [_told(scene, judge, side == "attacked") for scene in scenes]
        sides[side] = {"file": file, "found": told}
    path = Path(folder) / f"{name}.json"
    write_json(
        path,
        {
            "format": FORMAT,
            "version": VERSION,
            "frame_id": first.frame_id,
            "attack": first.attack,
            "touched": list(first.touched),
            "facts": [list(fact) for fact in first.facts],
            "detectors": [scene.detector for scene in scenes],
            **sides,
        },
    )
    return path


def _write_webp(path: Path, picture: np.ndarray) -> None:
    with replacing(path) as temporary:
        try:
            Image.fromarray(picture).save(temporary, "WEBP", quality=80, method=2)
        except (KeyError, ValueError) as error:
            raise DataError(f"{path}: cannot write WebP: {error}") from error


def _told(scene: Scene, judge: Judge, attacked: bool) -> str:
    """What the detector found, in words."""
    view = scene.last if attacked else scene.clean
    return found_text(judge(scene.truth, view.detections))
