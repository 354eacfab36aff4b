"""Pictures and depth maps on disk: PNG and JPEG, read strictly, written atomically.

OpenCV decodes a truncated file to a partly grey picture without complaint, so the
container is checked before it is decoded.

Shape letters: H, W image height and width in pixels.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

from perception.core.files import read_bytes, write_bytes
from perception.core.structures import DataError

# KITTI stores depth as uint16 PNG, metres times this; 0 means no depth.
DEPTH_UNITS_PER_M = 256.0

# Twice what 8K has; decoded to RGB they take 200 MB.
MAX_PIXELS = 64_000_000

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_SIGNATURE = b"\xff\xd8"
# Start-of-frame markers hold the size; C4, C8 and CC are tables, not frames.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def read_image(path: str | os.PathLike, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read a PNG or JPEG as (H, W, 3) uint8 RGB.

    Args:
        path: The file.
        max_pixels: Pictures of more are not decoded.

    Raises:
        DataError: If the file is missing, truncated, too large, no such picture, or
            has more than 8 bits: a 12-bit camera's values would be read as nearly
            black.
    """
    return decode_image(read_bytes(path), path, max_pixels=max_pixels)


def decode_image(
    data: bytes, where: str | os.PathLike, *, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """The same of a file's content, which ``where`` names in errors."""
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION | cv2.IMREAD_ANYDEPTH
    pixels = _decode(where, data, flags, max_pixels)
    if pixels.dtype != np.uint8:
        raise DataError(
            f"{where}: a picture must have 8 bits per channel, got {pixels.dtype} up "
            f"to {pixels.max()}; convert it, dividing by what the camera's range is "
            "more than 255"
        )
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def image_size(path: str | os.PathLike) -> tuple[int, int]:
    """(H, W) in pixels from the header alone, without decoding the picture.

    Raises:
        DataError: If the header is neither a PNG's nor a JPEG's.
    """
    return _size_of(path, read_bytes(path))


def _size_of(path: str | os.PathLike, data: bytes) -> tuple[int, int]:
    try:
        if data.startswith(_PNG_SIGNATURE):
            width, height = struct.unpack_from(">II", data, 16)
        elif data.startswith(_JPEG_SIGNATURE):
            height, width = _jpeg_size(data)
        else:
            raise DataError(f"{path}: expected a PNG or JPEG picture")
    except struct.error as error:
        raise DataError(f"{path}: the picture's header is truncated") from error
    return height, width


def write_image(path: str | os.PathLike, image: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB; the suffix chooses PNG or JPEG.

    Raises:
        DataError: If the image has another shape or type, or cannot be written.
    """
    image = np.asarray(image)
    shaped = image.ndim == 3 and image.shape[2] == 3 and image.size
    if not shaped or image.dtype != np.uint8:
        raise DataError(
            f"{path}: image must be (H, W, 3) uint8, got {image.shape} {image.dtype}"
        )
    _encode(path, cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR))


def read_depth(path: str | os.PathLike, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read a KITTI depth PNG as (H, W) float32 metres, 0 where there is none.

    Args:
        path: The file.
        max_pixels: Maps of more are not decoded.

    Raises:
        DataError: If the file is missing, truncated, too large or no 16-bit grey PNG.
    """
    stored = _decode(path, read_bytes(path), cv2.IMREAD_UNCHANGED, max_pixels)
    if stored.dtype != np.uint16 or stored.ndim != 2:
        raise DataError(
            f"{path}: depth must be a 16-bit grey PNG (metres * 256), got "
            f"{stored.dtype} of shape {stored.shape}"
        )
    return stored.astype(np.float32) / np.float32(DEPTH_UNITS_PER_M)


def write_depth(path: str | os.PathLike, depth_m: np.ndarray) -> None:
    """Write (H, W) metres, 0 = none, as KITTI's 16-bit PNG.

    Depths are rounded to 1/256 m and clipped to its range, 1/256 … 255.996 m: a
    valid depth never becomes "none".

    Raises:
        DataError: If a depth is negative or not finite, or on a failed write.
    """
    depth_m = np.asarray(depth_m, dtype=np.float64)
    if depth_m.ndim != 2 or not np.isfinite(depth_m).all() or (depth_m < 0).any():
        raise DataError(
            f"{path}: depth must be (H, W) finite metres >= 0, got shape "
            f"{depth_m.shape}"
        )
    stored = np.clip(np.rint(depth_m * DEPTH_UNITS_PER_M), 1, 65535)
    _encode(path, np.where(depth_m > 0, stored, 0).astype(np.uint16))


def _encode(path: str | os.PathLike, pixels: np.ndarray) -> None:
    suffix = Path(path).suffix.lower()
    if suffix not in (".png", ".jpg", ".jpeg"):
        raise DataError(f"{path}: pictures are written as .png or .jpg")
    try:
        done, data = cv2.imencode(suffix, pixels)
    except cv2.error as error:
        raise DataError(f"{path}: cannot encode the picture: {error.err}") from error
    if not done:
        raise DataError(f"{path}: cannot encode the picture")
    write_bytes(path, data.tobytes())


def _decode(
    path: str | os.PathLike, data: bytes, flags: int, max_pixels: int
) -> np.ndarray:
    if data.startswith(_PNG_SIGNATURE):
        complete = _png_is_complete(data)
    elif data.startswith(_JPEG_SIGNATURE):
        # Some cameras pad the file with zeros after the end-of-image marker.
        complete = data.rstrip(b"\0").endswith(b"\xff\xd9")
    else:
        raise DataError(f"{path}: expected a PNG or JPEG picture")
    if not complete:
        raise DataError(f"{path}: the picture is truncated or damaged")
    # A few kilobytes may decode to gigabytes.
    height, width = _size_of(path, data)
    if not 0 < height * width <= max_pixels:
        raise DataError(
            f"{path}: {width} x {height} pixels, expected 1 to {max_pixels} in all; "
            "the reader's max_pixels allows more"
        )
    try:
        pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    except cv2.error as error:
        raise DataError(f"{path}: cannot decode the picture: {error.err}") from error
    if pixels is None:
        raise DataError(f"{path}: cannot decode the picture")
    return pixels


def _png_is_complete(data: bytes) -> bool:
    """Whether every chunk is whole, has the right checksum, and the last is IEND."""
    position = len(_PNG_SIGNATURE)
    view = memoryview(data)
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        end = position + 12 + length
        if end > len(data):
            return False
        (stored,) = struct.unpack_from(">I", data, end - 4)
        if zlib.crc32(view[position + 4 : end - 4]) != stored:
            return False
        if data[position + 4 : position + 8] == b"IEND":
            return True
        position = end
    return False


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """(H, W) from the first start-of-frame segment; struct.error when cut short."""
    position = 2
    while True:
        lead, marker, length = struct.unpack_from(">BBH", data, position)
        if lead != 0xFF:
            raise struct.error("no marker where one was expected")
        if marker in _JPEG_FRAMES:
            return struct.unpack_from(">HH", data, position + 5)
        # A fill byte precedes its marker; every other segment names its length.
        position += 1 if marker == 0xFF else 2 + length
