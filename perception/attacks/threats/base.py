"""Threat models: what an attacker may change, by how much, and how hard he tries.

A threat model is a value with one name, the same in configs, tables and reports. It
alone knows its budget: attacks move *variables* (whatever the attacker controls: an
input map, a list of points, a printed patch), and the threat model says where they
start, how far a step of a given fraction of the budget goes, what :meth:`project`
brings them back to, and which sensors' inputs they become.

Shape letters: N frames, C channels, H, W input size in pixels, D draws.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Generator, Tensor

from perception.attacks.batch import AttackBatch
from perception.attacks.goals import Goal
from perception.attacks.threats.budgets import generator


@dataclass(frozen=True, kw_only=True)
class ThreatModel(ABC):
    """What every threat model states.

    Attributes:
        name: Its name everywhere.
        sensor: The sensor attacked.
        goal: What the attacker wants, see ``perception.attacks.goals``.
        steps: Gradient steps (or queries) per restart.
        restarts: Independent tries; the best one per frame counts.
        seed: Seed of every random draw.
    """

    name: str
    sensor: str
    goal: Goal = Goal()  # noqa: RUF009 (frozen)
    steps: int = 20
    restarts: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        self.require(
            isinstance(self.goal, Goal),
            f"goal must be a Goal, got {self.goal!r}; Goal.parse reads a text",
        )
        self.require(
            self.steps >= 1 and self.restarts >= 1,
            "steps and restarts must be at least 1, got "
            f"{self.steps} and {self.restarts}",
        )

    def require(self, holds: bool, otherwise: str) -> None:
        """Raise ValueError with the threat's name unless something holds."""
        if not holds:
            raise ValueError(f"threat {self.name!r}: {otherwise}")

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

    def generator(self, batch: AttackBatch, frame: int, restart: int) -> Generator:
        """The random numbers of one frame and restart, whatever the batching."""
        return generator(self.seed, batch.ids[frame], restart, self.sensor)
