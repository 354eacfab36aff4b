"""Painting on a canvas: text, lines, dots.

A canvas is an (H, W, 3) uint8 RGB array that its caller has just made; every
``paint_*`` function changes it in place and clips at its edges. Functions that get
somebody else's picture (``panels``, ``bev``, ``gate``, ``sheet``) copy it first.

Shape letters: H, W canvas height and width; M segments; K dashes; P points.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from perception.visualization.palette import (
    BLACK,
    INK,
    PAPER,
    LineStyle,
    Rgb,
)

# Coordinates reach OpenCV as fixed-point numbers with this many fractional bits.
_SHIFT = 3
_FAR_PX = 1e5
# Opacity of the dark casing under a line: lifts the line, without outweighing it.
_CASING = 0.6
_MIN_TEXT_PX = 9


def text_px_for(width: int) -> int:
    """Text size for a sheet of this width: 16 px at 1600, never below 9."""
    return max(_MIN_TEXT_PX, round(width / 100))


def small(text_px: int) -> int:
    """Size of secondary text beside text of ``text_px``."""
    return max(_MIN_TEXT_PX, round(0.82 * text_px))


def new_canvas(height: int, width: int, colour: Rgb = PAPER) -> np.ndarray:
    """An (H, W, 3) canvas of one colour, at least one pixel large."""
    line = np.tile(np.array(colour, dtype=np.uint8), (max(1, width), 1))
    return np.repeat(line[None], max(1, height), axis=0)


def text_width(text: str, text_px: int, *, bold: bool = False) -> int:
    """Width in pixels of the text as ``paint_text`` sets it."""
    return _text_mask(text, text_px, bold).shape[1]


def line_height(text_px: int) -> int:
    """Height in pixels of one line of text."""
    return sum(_font(text_px, False).getmetrics())


def shorten(text: str, width: int, text_px: int, *, bold: bool = False) -> str:
    """The text, cut with an ellipsis where it is wider than ``width`` pixels."""
    if text_width(text, text_px, bold=bold) <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        cut = text[:middle].rstrip() + "…"
        fits = text_width(cut, text_px, bold=bold) <= width
        low, high = (middle, high) if fits else (low, middle - 1)
    return text[:low].rstrip() + "…" if low else ""


def paint_text(
    canvas: np.ndarray,
    text: str,
    xy: tuple[float, float],
    text_px: int,
    colour: Rgb = INK,
    *,
    bold: bool = False,
    anchor: float = 0.0,
) -> None:
    """Set one line of text; ``xy`` is its top left corner.

    Args:
        canvas: Painted in place.
        text: Any text; unprintable characters appear as a replacement mark.
        xy: Position in pixels; may lie outside.
        text_px: Font size.
        colour: Of the text.
        bold: Use the bold face.
        anchor: Part of the text's width left of ``xy``: 0.5 centres, 1 aligns right.
    """
    mask = _text_mask(text, text_px, bold)
    x = round(xy[0] - anchor * mask.shape[1])
    y = round(xy[1])
    top, left = max(0, -y), max(0, -x)
    mask = mask[top : canvas.shape[0] - y, left : canvas.shape[1] - x]
    if x + left >= canvas.shape[1] or y + top >= canvas.shape[0] or not mask.size:
        return
    height, width = mask.shape
    area = canvas[y + top : y + top + height, x + left : x + left + width]
    weight = mask[..., None].astype(np.float32) / 255
    area[:] = np.rint(
        area + (np.array(colour, dtype=np.float32) - area) * weight
    ).astype(np.uint8)


def paint_rectangle(
    canvas: np.ndarray, box: tuple[int, int, int, int], colour: Rgb, alpha: float = 1.0
) -> None:
    """Fill x1, y1 (inclusive) to x2, y2 (exclusive) with a colour."""
    x1, y1, x2, y2 = (max(0, int(edge)) for edge in box)
    area = canvas[y1:y2, x1:x2]
    if alpha >= 1:
        area[:] = colour
    else:
        blend = area * (1 - alpha) + np.array(colour, dtype=np.float32) * alpha
        area[:] = np.rint(blend).astype(np.uint8)


def dashes(segments: np.ndarray, stroke_px: float, gap_px: float) -> np.ndarray:
    """Cut (M, 2, 2) segments (start, end; x, y) into the (K, 2, 2) strokes of a dash.

    Every segment begins with a stroke; the last stroke ends where its segment does.
    """
    segments = np.asarray(segments, dtype=np.float64).reshape(-1, 2, 2)
    lengths = np.linalg.norm(segments[:, 1] - segments[:, 0], axis=1)
    period = stroke_px + gap_px
    counts = np.maximum(1, np.ceil(lengths / period)).astype(int)
    owner = np.repeat(np.arange(len(segments)), counts)
    index = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    length = np.maximum(lengths[owner], 1e-9)
    fractions = np.stack([index * period, index * period + stroke_px], axis=1)
    fractions = np.clip(fractions / length[:, None], 0, 1)[..., None]
    start, end = segments[owner, None, 0], segments[owner, None, 1]
    return start + (end - start) * fractions


def paint_segments(
    canvas: np.ndarray,
    segments: np.ndarray,
    colour: Rgb,
    thickness_px: int = 1,
    *,
    smooth: bool = True,
) -> None:
    """Paint (M, 2, 2) segments (start, end; x, y in pixels); not finite ones not."""
    segments = np.asarray(segments, dtype=np.float64).reshape(-1, 2, 2)
    segments = segments[np.isfinite(segments).all(axis=(1, 2))]
    if not len(segments):
        return
    fixed = np.rint(np.clip(segments, -_FAR_PX, _FAR_PX) * 2**_SHIFT).astype(np.int32)
    kind = cv2.LINE_AA if smooth else cv2.LINE_8
    cv2.polylines(canvas, list(fixed), False, colour, thickness_px, kind, _SHIFT)


def paint_styled(
    canvas: np.ndarray, segments: np.ndarray, style: LineStyle, *, smooth: bool = True
) -> None:
    """Paint segments in a line style, over its dark casing where it has one."""
    if not len(segments):
        return
    if style.dash_px is not None:
        segments = dashes(segments, *style.dash_px)
    if style.cased:
        cased = canvas.copy()
        paint_segments(cased, segments, BLACK, style.thickness_px + 2, smooth=smooth)
        cv2.addWeighted(cased, _CASING, canvas, 1 - _CASING, 0, dst=canvas)
    paint_segments(canvas, segments, style.colour, style.thickness_px, smooth=smooth)


def box_segments(boxes: np.ndarray) -> np.ndarray:
    """(4N, 2, 2) edges of (N, 4) boxes x1, y1, x2, y2, clockwise."""
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    return np.stack([corners, np.roll(corners, -1, axis=1)], axis=2).reshape(-1, 2, 2)


def paint_dots(
    canvas: np.ndarray, pixels: np.ndarray, colours: np.ndarray, size_px: int = 1
) -> None:
    """Paint (P, 2) x, y as squares in (P, 3) colours; later points cover earlier."""
    height, width = canvas.shape[:2]
    near = np.isfinite(pixels).all(axis=1) & (np.abs(pixels) < _FAR_PX).all(axis=1)
    corners = np.rint(pixels[near] - (size_px - 1) / 2).astype(np.int64)
    colours = np.broadcast_to(np.asarray(colours, dtype=np.uint8), (len(near), 3))[near]
    for dy in range(size_px):
        for dx in range(size_px):
            x, y = corners[:, 0] + dx, corners[:, 1] + dy
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            canvas[y[inside], x[inside]] = colours[inside]


@lru_cache(maxsize=64)
def _font(text_px: int, bold: bool) -> ImageFont.FreeTypeFont:
    """DejaVu Sans as matplotlib (a requirement of mmdet) ships it."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    package = importlib.util.find_spec("matplotlib")
    folder = Path(package.origin).parent if package and package.origin else Path()
    for path in (folder / "mpl-data" / "fonts" / "ttf" / name, Path(name)):
        try:
            basic = ImageFont.Layout.BASIC
            return ImageFont.truetype(str(path), text_px, layout_engine=basic)
        except OSError:
            continue
    fallback = ImageFont.load_default(text_px)
    if not isinstance(fallback, ImageFont.FreeTypeFont):
        raise RuntimeError("Pillow was built without FreeType: no text can be drawn")
    return fallback


@lru_cache(maxsize=4096)
def _text_mask(text: str, text_px: int, bold: bool) -> np.ndarray:
    """(line height, text width) uint8 coverage of one line of text."""
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    font = _font(text_px, bold)
    size = (int(np.ceil(font.getlength(text))), line_height(text_px))
    if not size[0]:
        return np.zeros((size[1], 0), dtype=np.uint8)
    image = Image.new("L", size)
    ImageDraw.Draw(image).text((0, 0), text, fill=255, font=font)
    mask = np.asarray(image)
    mask.setflags(write=False)
    return mask
