"""Patches that are there already: on disk, and the attack that shows one.

On disk a patch is a PNG that prints in the right size, and a JSON beside it. The PNG's
colours are those that the camera shall see: print it with the absolute colorimetric
intent. Its texels are enlarged to squares of whole pixels, so that no printer smooths
them.

Shape letters: N frames; h, w texture size in texels.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from PIL import Image
from pydantic import Field, JsonValue
from torch import Tensor
from typing_extensions import TypedDict

from perception.attacks.base import Attack
from perception.attacks.build import build_threat
from perception.attacks.patch.threat import PatchThreat
from perception.attacks.registry import ATTACKS
from perception.attacks.threats.base import ThreatModel
from perception.attacks.victim import Victim
from perception.core.files import read_json, replacing, write_json
from perception.core.images import read_image
from perception.core.schema import checked
from perception.core.structures import DataError

_PRINT_DPI = 100  # enough that rounding to whole pixels per metre does not show
_LONGEST_PX = 8192
_INCH_M = 0.0254
_Texels = Annotated[int, Field(ge=1, le=_LONGEST_PX)]


def save_patch(
    path: str | os.PathLike,
    texture: Tensor,
    threat: PatchThreat,
    training: Mapping[str, Any] | None = None,
) -> None:
    """Write ``path`` (.png) and the same name with .json.

    Args:
        path: The picture's file.
        texture: (1, 3, h, w) or (3, h, w) in grey levels; rounded to 8 bits.
        threat: What it was made for; it is kept in the JSON.
        training: Plain values that say how it was trained; kept there as well.

    Raises:
        DataError: If the texture is no RGB picture of the threat's size, or cannot
            be written.
    """
    path = _png(path)
    colours = texture.detach().cpu().squeeze(0)
    if colours.shape != (3, *threat.texture_px):
        raise DataError(
            f"{path}: texture must be (3, {threat.texture_px[0]}, "
            f"{threat.texture_px[1]}), got {tuple(colours.shape)}"
        )
    pixels = colours.round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    size_m = threat.placement.printed_size_m
    zoom = _zoom(threat.texture_px, size_m)
    picture = Image.fromarray(np.kron(pixels, np.ones((zoom, zoom, 1), np.uint8)))
    dpi = None
    if size_m is not None:
        dpi = tuple(n * _INCH_M / m for n, m in zip(picture.size, size_m, strict=True))
    with replacing(path) as temporary:
        picture.save(temporary, dpi=dpi)
    write_json(
        path.with_suffix(".json"),
        {
            "goal": str(threat.goal),
            "size_m": size_m,
            "texture_px": threat.texture_px,
            "pixels_per_texel": zoom,
            "sha256": _digest(pixels),
            "threat": described(threat),
            "training": None if training is None else dict(training),
        },
    )


def described(threat: PatchThreat) -> dict[str, Any]:
    """The threat in plain values, as ``build_threat`` takes them."""
    goal = {"goal": str(threat.goal)}
    return {"type": type(threat).__name__} | asdict(threat) | goal


class _About(TypedDict):
    """What is read again of the JSON beside a patch."""

    pixels_per_texel: Annotated[int, Field(ge=1, le=_LONGEST_PX)]
    texture_px: tuple[_Texels, _Texels]
    sha256: str
    threat: dict[str, JsonValue]


def load_patch(path: str | os.PathLike) -> tuple[Tensor, PatchThreat]:
    """Read what ``save_patch`` wrote.

    Returns:
        The texture (1, 3, h, w) in grey levels, and the threat it was made for.

    Raises:
        DataError: If a file is missing or damaged, or the picture is not the one that
            the JSON describes.
    """
    path = _png(path)
    about = read_json(path.with_suffix(".json"), what="what a patch is")
    what = "description: it does not describe a patch"
    about = checked(_About, about, path.with_suffix(".json"), what=what)
    zoom, (height, width) = about["pixels_per_texel"], about["texture_px"]
    digest, fields = about["sha256"], dict(about["threat"])
    try:
        threat = build_threat(str(fields.pop("name")), fields)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(
            f"{path.with_suffix('.json')}: does not describe a patch ({error!r})"
        ) from error
    picture = read_image(path)
    if picture.shape != (height * zoom, width * zoom, 3):
        raise DataError(
            f"{path}: expected {width * zoom} x {height * zoom} pixels, got "
            f"{picture.shape[1]} x {picture.shape[0]}"
        )
    pixels = np.ascontiguousarray(picture[::zoom, ::zoom])
    if _digest(pixels) != digest:
        raise DataError(f"{path}: is not the picture its JSON describes (SHA-256)")
    if not isinstance(threat, PatchThreat):
        raise DataError(f"{path.with_suffix('.json')}: threat is not a patch")
    texture = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    return texture, threat


@ATTACKS.register_module()
class FixedPatch(Attack):
    """A patch that is not searched for: a trained one, or a baseline.

    Args:
        threat: Where it is placed; a patch of other physical size is refused.
        texture: (1, 3, h, w) in grey levels, the PNG of a saved patch, ``grey``, or
            ``noise``: a random colour for every texel, the same in all frames.

    Raises:
        DataError: If the texture's file is unreadable or made for another size.
        ValueError: If the threat is not a ``PatchThreat``, or the texture's shape is
            another one.
    """

    def __init__(
        self, threat: ThreatModel, *, texture: Tensor | str | Path = "grey"
    ) -> None:
        super().__init__(threat)
        if not isinstance(threat, PatchThreat):
            raise ValueError(f"threat {threat.name!r}: a patch needs a PatchThreat")
        self.texture = self._texture(threat, texture)

    @staticmethod
    def _texture(threat: PatchThreat, texture: Tensor | str | Path) -> Tensor:
        size, gamut = (1, 3, *threat.texture_px), threat.gamut
        if isinstance(texture, Tensor):
            loaded = texture
        elif str(texture) == "grey":
            loaded = torch.full(size, (gamut.black + gamut.white) / 2)
        elif str(texture) == "noise":
            rng = torch.Generator().manual_seed(threat.seed)
            share = torch.rand(size, generator=rng)
            loaded = gamut.clip(gamut.black + (gamut.white - gamut.black) * share)
        else:
            loaded, made_for = load_patch(texture)
            if made_for.placement.printed_size_m != threat.placement.printed_size_m:
                raise DataError(
                    f"{texture}: made for {made_for.placement.printed_size_m} m, but "
                    f"threat {threat.name!r} is {threat.placement.printed_size_m} m"
                )
        if loaded.shape != size:
            raise ValueError(
                f"threat {threat.name!r}: texture must be {size}, got "
                f"{tuple(loaded.shape)}"
            )
        return loaded

    def run(self, victim: Victim) -> Tensor:
        """The same texture for every frame."""
        images = victim.batch.inputs[self.threat.sensor]
        return self.texture.to(images).repeat(len(victim.batch), 1, 1, 1)


def _zoom(texture_px: tuple[int, int], size_m: tuple[float, float] | None) -> int:
    """Pixels per texel."""
    if size_m is None:
        return 1
    height, width = texture_px
    wanted = max(
        math.ceil(size_m[0] / _INCH_M * _PRINT_DPI / width),
        math.ceil(size_m[1] / _INCH_M * _PRINT_DPI / height),
    )
    return max(1, min(wanted, _LONGEST_PX // max(texture_px)))


def _digest(pixels: np.ndarray) -> str:
    return hashlib.sha256(pixels.tobytes()).hexdigest()


def _png(path: str | os.PathLike) -> Path:
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise DataError(f"{path}: a patch is a .png")
    return path
