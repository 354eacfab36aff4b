"""An adversarial patch on an image sensor, as a threat model.

Brown et al., "Adversarial Patch", NIPS workshop 2017. The variable is the texture,
colours in grey levels as the camera sees the printed patch in neutral light: no ε
bounds it, only what can be printed. With ``eot`` set the search ascends the mean over
random views of it: Athalye et al., "Synthesizing Robust Adversarial Examples", ICML
2018. Theirs are drawn afresh at every step; ours are D fixed ones per frame, so that
iterates can be compared, as APGD does. The result is rendered without distortion.

Shape letters: N frames, C channels; h, w texture size in texels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from perception.attacks.batch import AttackBatch
from perception.attacks.patch.eot import (
    Gamut,
    Transformations,
    Views,
    build_views,
)
from perception.attacks.patch.placement import Placement, build_placement
from perception.attacks.registry import THREATS
from perception.attacks.threats.base import ThreatModel


@THREATS.register_module()
@dataclass(frozen=True, kw_only=True)
class PatchThreat(ThreatModel):
    """A printed patch in the scene; only the pixels that show it change.

    A texture (1, C, h, w) in place of (N, C, h, w) is shared by all frames.

    Configs give ``placement``, ``gamut`` and ``eot`` as dicts.

    Attributes:
        placement: Where it is; as a dict with ``on`` (image, road or face), see
            ``perception.attacks.patch.placement``.
        texture_px: (h, w) texels.
        gamut: Colours it may have.
        eot: Random views that the search averages over; None means none.
    """

    placement: Placement
    texture_px: tuple[int, int] = (64, 64)
    gamut: Gamut = field(default_factory=Gamut)
    eot: Transformations | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            for name, build in (
                ("placement", build_placement),
                ("gamut", lambda config: Gamut(**config)),
                ("eot", lambda config: Transformations(**config)),
            ):
                value = getattr(self, name)
                if isinstance(value, Mapping):
                    object.__setattr__(self, name, build(value))
        except (TypeError, ValueError) as error:
            raise ValueError(f"threat {self.name!r}: {error}") from error
        self.require(
            len(self.texture_px) == 2 and min(self.texture_px) >= 1,
            f"texture_px must be (height, width) of at least 1, got {self.texture_px}",
        )
        object.__setattr__(self, "texture_px", tuple(self.texture_px))

    def check(self, sensors: Mapping[str, Any]) -> None:
        """Also raise if the sensor is not a colour camera."""
        super().check(sensors)
        kind = sensors[self.sensor].kind
        self.require(
            kind == "image",
            f"a patch needs an image sensor, but {self.sensor!r} is of kind {kind!r}",
        )

    def clean(self, batch: AttackBatch) -> Tensor:
        """Mid-grey: a patch that is there cannot leave everything as it is."""
        channels = batch.inputs[self.sensor].shape[1]
        grey = (self.gamut.black + self.gamut.white) / 2
        shape = (len(batch), channels, *self.texture_px)
        return torch.full(shape, grey).to(batch.inputs[self.sensor])

    def random(self, batch: AttackBatch, restart: int) -> Tensor:
        """Every texel a colour of its own."""
        shape = self.clean(batch).shape[1:]
        draws = [
            torch.rand(shape, generator=self.generator(batch, n, restart))
            for n in range(len(batch))
        ]
        span = self.gamut.white - self.gamut.black
        colours = self.gamut.black + span * torch.stack(draws)
        return self.gamut.clip(colours.to(batch.inputs[self.sensor]))

    def step(
        self, variable: Tensor, gradient: Tensor, fraction: Tensor, batch: AttackBatch
    ) -> Tensor:
        """By the gradient's sign; the budget is half of black to white."""
        length = fraction.view(-1, 1, 1, 1) * (self.gamut.white - self.gamut.black) / 2
        return variable + length * gradient.sign()

    def project(self, variable: Tensor, batch: AttackBatch) -> Tensor:
        """Into the printable colours."""
        return self.gamut.clip(variable)

    def render(self, variable: Tensor, batch: AttackBatch) -> dict[str, Tensor]:
        """The patch exactly where and as it is planned."""
        return self._draw(variable, batch, None)

    def render_draws(self, variable: Tensor, batch: AttackBatch) -> dict[str, Tensor]:
        """D random views of it, the same for all restarts; without ``eot`` one."""
        return self._draw(variable, batch, self.eot)

    def _draw(
        self, variable: Tensor, batch: AttackBatch, eot: Transformations | None
    ) -> dict[str, Tensor]:
        textures = variable.expand(len(batch), -1, -1, -1)
        views = self._views(batch, eot)
        return {self.sensor: views(textures, batch.inputs[self.sensor])}

    def _views(self, batch: AttackBatch, eot: Transformations | None) -> Views:
        """The views of a batch, found once: that costs more than drawing them."""
        place = repr(self.placement)
        key = ("patch", self.sensor, self.seed, self.texture_px, place, eot)
        return batch.once(key, lambda: self._planned(batch, eot))

    def _planned(self, batch: AttackBatch, eot: Transformations | None) -> Views:
        try:
            planned = [self.placement.place(batch, n) for n in range(len(batch))]
        except ValueError as error:
            raise type(error)(f"threat {self.name!r}: {error}") from error
        images = batch.inputs[self.sensor]
        return build_views(planned, batch, images, self.texture_px, eot, self.seed)
