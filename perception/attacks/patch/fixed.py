"""Patches that are not searched for: trained ones and baselines.

Shape letters: N frames; h, w texture size in texels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from perception.attacks.base import Attack
from perception.attacks.patch.files import load_patch
from perception.attacks.patch.threat import PatchThreat
from perception.attacks.registry import ATTACKS
from perception.attacks.threats.base import ThreatModel
from perception.attacks.victim import Victim
from perception.core.structures import DataError


class Loader(Protocol):
    """Batches in the same order at every pass, such as ``apis.build_loader``'s."""

    def __iter__(self) -> Any: ...

    def __len__(self) -> int: ...


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
