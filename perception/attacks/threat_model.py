"""Threat models: what an attacker may change, by how much, and how hard he tries.

A threat model is a value with one name, the same in configs, tables and reports. It
alone knows its budget: attacks move *variables* (whatever the attacker controls: an
input map, a list of points, a printed patch), and the threat model says where they
start, how far a step of a given fraction of the budget goes, what :meth:`project`
brings them back to, and which sensors' inputs they become.

Shape letters: N frames, C channels, H, W input size in pixels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from perception.attacks.batch import AttackBatch
from perception.attacks.registry import THREATS

Norm = Literal["linf", "l2"]


@dataclass(frozen=True, kw_only=True)
class ThreatModel(ABC):
    """What every threat model states.

    Attributes:
        name: Its name everywhere.
        sensor: The sensor attacked.
        goal: What the attacker wants, see ``perception.attacks.objectives``.
        steps: Gradient steps (or queries) per restart.
        restarts: Independent tries; the best one per frame counts.
        seed: Seed of every random draw.
    """

    name: str
    sensor: str
    goal: str = "detection"
    steps: int = 20
    restarts: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.restarts < 1:
            raise ValueError(
                f"threat {self.name!r}: steps and restarts must be at least 1, got "
                f"{self.steps} and {self.restarts}"
            )

    def check(self, sensors: Mapping[str, Any]) -> None:
        """Raise ValueError if a detector with these sensors cannot be so attacked."""
        if self.sensor not in sensors:
            raise ValueError(
                f"threat {self.name!r} attacks {self.sensor!r}, but the detector has "
                f"only {list(sensors)}"
            )

    @property
    def touched(self) -> tuple[str, ...]:
        """Sensors whose model input may differ from the clean one."""
        return (self.sensor,)

    @abstractmethod
    def clean(self, batch: AttackBatch) -> Tensor:
        """The variable that leaves everything as it is; frames along dimension 0."""

    @abstractmethod
    def random(self, batch: AttackBatch, restart: int) -> Tensor:
        """A random variable within the budget, drawn per frame and restart."""

    @abstractmethod
    def step(
        self, variable: Tensor, gradient: Tensor, fraction: Tensor, batch: AttackBatch
    ) -> Tensor:
        """Ascend by ``fraction`` (N,) of the budget; may leave the budget."""

    @abstractmethod
    def project(self, variable: Tensor, batch: AttackBatch) -> Tensor:
        """The nearest variable within the budget and the sensor's physical range."""

    @abstractmethod
    def render(self, variable: Tensor, batch: AttackBatch) -> dict[str, Tensor]:
        """Model inputs (N, C, H, W) of the touched sensors, differentiable."""

    def render_draws(self, variable: Tensor, batch: AttackBatch) -> dict[str, Tensor]:
        """What a search evaluates in place of :meth:`render`: D draws of it.

        An attacker who does not know exactly how his variable will be seen ascends
        the mean over draws (expectation over transformation).

        Returns:
            Model inputs (D N, C, H, W), draw after draw; the same ones at every call.
        """
        return self.render(variable, batch)

    def generator(
        self, batch: AttackBatch, frame: int, restart: int
    ) -> torch.Generator:
        """The random numbers of one frame and restart, whatever the batching."""
        words = np.random.SeedSequence((self.seed, batch.ids[frame], restart))
        seed = int(words.generate_state(1, np.uint64)[0] >> np.uint64(1))
        return torch.Generator().manual_seed(seed)


@THREATS.register_module()
@dataclass(frozen=True, kw_only=True)
class MapThreat(ThreatModel):
    """Every value of a sensor's input map may change a little.

    The budget is a box or an ellipsoid: with δ the change and ε_c the budget of its
    channel, ``linf`` asks |δ| <= ε_c of every value, ``l2`` that the Euclidean norm of
    all δ / ε_c of a frame is at most 1.

    Attributes:
        norm: ``linf`` or ``l2``.
        eps: For each channel name its budget in the channel's unit; channels without
            one stay as they are. A single number holds for all channels.
        disparity: For a depth map with a stereo baseline: ``eps`` is in pixels of
            disparity instead of metres (``linf`` only). Pixels without a return keep
            none.
    """

    norm: Norm = "linf"
    eps: float | Mapping[str, float] = 0.0
    disparity: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.norm not in ("linf", "l2"):
            raise ValueError(
                f"threat {self.name!r}: norm must be linf or l2, got {self.norm!r}"
            )
        budgets = self.eps.values() if isinstance(self.eps, Mapping) else [self.eps]
        if any(not value >= 0 for value in budgets):
            raise ValueError(
                f"threat {self.name!r}: eps must not be negative, got {self.eps}"
            )
        if self.disparity and self.norm != "linf":
            raise ValueError(f"threat {self.name!r}: disparity budgets are linf only")

    def check(self, sensors: Mapping[str, Any]) -> None:
        """Also raise if ``eps`` names a channel that the sensor lacks."""
        super().check(sensors)
        names = [channel.name for channel in sensors[self.sensor].channels]
        if isinstance(self.eps, Mapping) and (unknown := set(self.eps) - set(names)):
            raise ValueError(
                f"threat {self.name!r}: eps names channels {sorted(unknown)}, but "
                f"{self.sensor!r} has {names}"
            )

    def clean(self, batch: AttackBatch) -> Tensor:
        """The sensor's clean input (N, C, H, W)."""
        return batch.inputs[self.sensor]

    def random(self, batch: AttackBatch, restart: int) -> Tensor:
        """Uniform in the box; for ``l2`` in a random direction, at full length."""
        clean = self.clean(batch)
        draws = [
            torch.rand(clean.shape[1:], generator=self.generator(batch, n, restart))
            for n in range(len(batch))
        ]
        noise = 2 * torch.stack(draws).to(clean) - 1
        if self.norm == "l2":
            noise = noise / frame_norm(noise)
            return self.project(clean + noise * self._axes(batch), batch)
        low, high = self.box(batch)
        return torch.lerp(low, high, (noise + 1) / 2)

    def step(
        self, variable: Tensor, gradient: Tensor, fraction: Tensor, batch: AttackBatch
    ) -> Tensor:
        """Steepest ascent in the norm: the sign, or the gradient scaled to length 1."""
        fraction = fraction.view(-1, 1, 1, 1)
        if self.norm == "l2":
            scaled = gradient * self._axes(batch)
            direction = scaled / frame_norm(scaled)
            return variable + fraction * direction * self._axes(batch)
        low, high = self.box(batch)
        return variable + fraction * gradient.sign() * (high - low) / 2

    def project(self, variable: Tensor, batch: AttackBatch) -> Tensor:
        """Into the ball, then into the box of budget and physical range."""
        low, high = self.box(batch)
        if self.norm == "l2":
            clean, axes = self.clean(batch), self._axes(batch)
            change = torch.where(axes > 0, (variable - clean) / axes.clamp(1e-12), 0.0)
            variable = clean + change / frame_norm(change).clamp(min=1.0) * axes
        return torch.maximum(torch.minimum(variable, high), low)

    def render(self, variable: Tensor, batch: AttackBatch) -> dict[str, Tensor]:
        """The variable is the input itself."""
        return {self.sensor: variable}

    def box(self, batch: AttackBatch) -> tuple[Tensor, Tensor]:
        """Lowest and highest allowed value of everything, each (N, C, H, W)."""
        clean = self.clean(batch)
        channels = batch.sensors[self.sensor].channels
        physical = torch.tensor([[c.low, c.high] for c in channels]).to(clean)
        axes = self._axes(batch)
        low, high = clean - axes, clean + axes
        if self.disparity:
            low, high = self._disparity_box(clean, batch)
        # A clean value beyond the nominal range stays allowed, but goes no further.
        floor = torch.minimum(physical[:, 0].view(-1, 1, 1), clean)
        ceiling = torch.maximum(physical[:, 1].view(-1, 1, 1), clean)
        return torch.maximum(low, floor), torch.minimum(high, ceiling)

    def _axes(self, batch: AttackBatch) -> Tensor:
        """Budget of every value (N, C, H, W), in the channels' units; 0 in padding."""
        clean = self.clean(batch)
        channels = batch.sensors[self.sensor].channels
        if isinstance(self.eps, Mapping):
            budget = [float(self.eps.get(channel.name, 0.0)) for channel in channels]
        else:
            budget = [float(self.eps)] * len(channels)
        axes = torch.tensor(budget).to(clean).view(1, -1, 1, 1) * torch.ones_like(clean)
        for n, sample in enumerate(batch.samples):
            height, width = sample.img_shape[:2]
            axes[n, :, height:], axes[n, :, :, width:] = 0, 0
        return axes

    def _disparity_box(
        self, depth_m: Tensor, batch: AttackBatch
    ) -> tuple[Tensor, Tensor]:
        """Depths whose disparity lies within the budget of the clean one's."""
        known = [sample.fx_baseline_px_m for sample in batch.samples]
        if None in known:
            raise ValueError(
                f"threat {self.name!r}: a budget in pixels of disparity needs the "
                "stereo baseline (P3) in the calibration"
            )
        fx_baseline = torch.tensor(known).to(depth_m).view(-1, 1, 1, 1)
        disparity_px = fx_baseline / depth_m.clamp(min=1e-3)
        eps_px = self._axes(batch)
        near = fx_baseline / (disparity_px + eps_px)
        far = fx_baseline / (disparity_px - eps_px).clamp(min=1e-3)
        seen = depth_m > 0
        return torch.where(seen, near, depth_m), torch.where(seen, far, depth_m)


def frame_norm(values: Tensor) -> Tensor:
    """Euclidean norm of each frame's values, (N, 1, 1, 1), never zero."""
    flat = values.flatten(1).norm(dim=1).clamp(min=1e-12)
    return flat.view(-1, *[1] * (values.ndim - 1))
