"""Pictures of a report: read from folders, made small enough, put into the page."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from perception.core.files import read_bytes, read_json
from perception.core.images import MAX_PIXELS
from perception.core.structures import DataError
from perception.visualization.pairs import FOLDER, FORMAT, VERSION

# All pictures together; text in base64 is a third longer, so a page stays < 15 MB.
BUDGET_BYTES = 9_000_000
# (width in pixels, WebP quality), from the best down.
_LADDER = ((640, 80), (640, 68), (560, 62), (480, 58), (400, 52), (320, 45), (240, 40))


@dataclass(frozen=True)
class Picture:
    """A picture inside the page: a ``data:`` address, its size in pixels.

    Attributes:
        found: What each detector found, in words.
    """

    uri: str
    width: int
    height: int
    found: tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """One attacked frame, before the attack and under it.

    Attributes:
        frame_id: Name of the frame.
        attack: Name of the attack.
        sensors: The attacked ones.
        detectors: Whose detections it shows.
    """

    frame_id: str
    attack: str
    sensors: tuple[str, ...]
    detectors: tuple[str, ...]
    clean: Picture
    attacked: Picture


@dataclass(frozen=True)
class Gallery:
    """The pictures of a page, and how many there would have been."""

    pairs: tuple[Pair, ...] = ()
    available: int = 0


def read_gallery(
    folders: Sequence[str | os.PathLike],
    *,
    most: int = 200,
    budget_bytes: int = BUDGET_BYTES,
) -> Gallery:
    """The pairs that ``tools/visualize.py detect --threat`` wrote to the folders.

    Args:
        folders: What ``--out`` was there.
        most: Take so many, spread evenly over all.
        budget_bytes: Pictures get smaller and coarser until all fit into this.

    Raises:
        DataError: If a folder holds no pairs or a picture is missing or damaged.
    """
    files = [file for folder in folders for file in _pair_files(Path(folder))]
    count = min(most, len(files))
    chosen = [files[i * len(files) // count] for i in range(count)]
    described = [(file, _description(file)) for file in chosen]
    # One attack after the other: their pictures are equally high.
    described.sort(key=lambda one: str(one[1].get("attack")))
    pairs: list[Pair] = []
    for width, quality in _LADDER:
        pairs, used = [], 0
        for file, content in described:
            pairs.append(_pair(file, content, width, quality))
            used += sum(
                len(p.uri) * 3 // 4 for p in (pairs[-1].clean, pairs[-1].attacked)
            )
            # The first few tell whether all will fit.
            if used > budget_bytes * min(1.0, 1.2 * (len(pairs) + 8) / count):
                break
        else:
            break
    return Gallery(tuple(pairs), len(files))


def _pair_files(folder: Path) -> list[Path]:
    inside = folder if folder.name == FOLDER else folder / FOLDER
    files = sorted(inside.glob("[!.]*.json"))
    if not files:
        raise DataError(
            f"{folder}: no pairs of pictures in {inside}; make them with "
            f"tools/visualize.py detect CONFIG CHECKPOINT --threat NAME --out {folder}"
        )
    return files


def _description(file: Path) -> Mapping[str, Any]:
    content = read_json(file)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(f"{file}: expected a {FORMAT!r}")
    if (version := content.get("version")) != VERSION:
        raise DataError(f"{file}: expected version {VERSION}, got {version!r}")
    return content


def _pair(file: Path, content: Mapping[str, Any], width: int, quality: int) -> Pair:
    try:
        detectors = tuple(map(str, content["detectors"]))
        pictures = {}
        for side in ("clean", "attacked"):
            found = tuple(map(str, content[side]["found"]))
            if len(found) != len(detectors):
                raise ValueError(f"{side}: {len(found)} texts for {len(detectors)}")
            path = file.parent / Path(content[side]["file"]).name
            pictures[side] = _picture(path, found, width, quality)
        sensors = tuple(map(str, content["touched"]))
        names = str(content["frame_id"]), str(content["attack"])
        return Pair(*names, sensors, detectors, pictures["clean"], pictures["attacked"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{file}: damaged description: {error!r}") from error


def _picture(path: Path, found: tuple[str, ...], width: int, quality: int) -> Picture:
    content = io.BytesIO(read_bytes(path))
    try:
        with Image.open(content, formats=("WEBP", "PNG", "JPEG")) as image:
            if image.width * image.height > MAX_PIXELS:  # looked at before decoding
                raise DataError(f"{path}: {image.width} x {image.height} pixels")
            picture = image.convert("RGB")
    except DataError:
        raise
    except Exception as error:  # a damaged picture makes Pillow raise anything
        raise DataError(f"{path}: cannot read: no picture") from error
    if picture.width > width:
        height = max(1, round(picture.height * width / picture.width))
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=quality, method=2)
    text = base64.b64encode(buffer.getvalue()).decode("ascii")
    uri = f"data:image/webp;base64,{text}"
    return Picture(uri, picture.width, picture.height, found)
