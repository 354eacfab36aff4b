"""What can be attacked: any system of several sensors, in optional steps.

Attacks, corruptions, audits and evaluation know a system through :class:`Target`
alone. Only its first step is needed; each further protocol that a system fulfils opens
more, and what needs one that it lacks *does not apply* to it
(:class:`DoesNotApplyError`).

Shape letters: N frames, S sensors, K classes, L locations (or 1 for whole samples).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from perception.core.parts import LeaveOut, Part
from perception.core.structures import Prediction, SensorSpec

Inputs = Mapping[str, Tensor]
"""{sensor: (N, C, H, W) in physical units}."""
Frames = Sequence[Any]
"""N samples: ``frame_id``, ``img_shape`` (h, w), ``gt_instances``; see AttackBatch."""


class DoesNotApplyError(ValueError):
    """The target lacks what was asked of it; the message says what, in one line."""


class NoGradientError(ValueError):
    """The target lets no gradient through where there should be one."""


@runtime_checkable
class Target(Protocol):
    """The first step: what corruptions, random search and saved data need."""

    @property
    def sensors(self) -> Mapping[str, SensorSpec]:
        """What each sensor's input holds, in the order of a gate."""

    @property
    def classes(self) -> Sequence[str]:
        """Names of the K classes."""

    def predict(self, inputs: Inputs, frames: Frames) -> list[Prediction]:
        """What the system says of each frame."""


@runtime_checkable
class HasLosses(Protocol):
    """Opens gradient attacks."""

    def losses(self, inputs: Inputs, frames: Frames) -> Tensor:
        """(N,) training loss of each frame by itself, differentiable in the inputs."""


@dataclass(frozen=True)
class Scores:
    """Class logits by location.

    Attributes:
        logits: (N, L, K), differentiable in the inputs.
        centers_px: (L, 2) x, y of each location in pixels of the input.
    """

    logits: Tensor
    centers_px: Tensor


@runtime_checkable
class HasScores(Protocol):
    """Opens the objectives hide, create, rank and class:NAME."""

    def scores(self, inputs: Inputs, frames: Frames) -> Scores:
        """Class logits of every location."""


@runtime_checkable
class HasGate(Protocol):
    """Opens objectives about the gate, and the monitor."""

    def gate(self, inputs: Inputs) -> Tensor:
        """(N, S + 1) logits of who is compromised, the last class: nobody."""


@dataclass(frozen=True)
class Reach:
    """Between what numbers of a prediction lie, whatever one sensor delivers.

    Attributes:
        low: Smallest values; -inf where nothing holds.
        high: Largest values, of the same shape.
    """

    low: Tensor
    high: Tensor


class Response(ABC):
    """What a target says of N frames, as far as it is asked.

    Attributes:
        classes: Names of the K classes.
        parts: What the target's prediction is combined of; empty if of nothing.
        gate_logits: (N, S + 1), or (N, S + 1, h, w) per location; None without a gate.
        alarm: (N,) above 0 where some sensor is compromised, whether or not it is known
            which; None for targets without such a state.
        ask: Returns the N final predictions, without a gradient.
    """

    classes: Sequence[str]
    parts: Sequence[Part] = ()
    gate_logits: Tensor | None = None
    alarm: Tensor | None = None
    ask: Callable[[], Sequence[Prediction]] | None = None

    @abstractmethod
    def losses(self, part: Part | None = None) -> Tensor:
        """(N,) training loss of each frame, of a part or (None) of the whole."""

    @abstractmethod
    def scores(self, part: Part | None = None) -> Scores:
        """Class logits, of a part or (None) of the whole."""

    def ground(self, part: Part | None = None) -> Tensor:
        """(N, L, 3) what each location of scores says of its object on the ground.

        x, z of its centre in metres and its yaw, in the cam frame; differentiable in
        the inputs.

        Raises:
            DoesNotApplyError: If the target says nothing in metres.
        """
        raise DoesNotApplyError("the target says nothing in metres")

    def predictions(self) -> Sequence[Prediction]:
        """The N final predictions: all that a black box tells.

        Raises:
            DoesNotApplyError: If nobody can be asked.
        """
        if self.ask is None:
            raise DoesNotApplyError("predictions of other numbers are not known")
        return self.ask()

    def numbers(self, part: Part | None = None) -> list[Tensor]:
        """The raw numbers of a prediction, each tensor (N, ...), of a part or whole.

        This and what follows is for targets that bound what one sensor can do.

        Raises:
            DoesNotApplyError: If this target does not tell.
        """
        raise DoesNotApplyError("the target does not tell its raw numbers")

    def reach(self, sensor: str) -> Sequence[Reach]:
        """Between what each of :meth:`numbers` stays, whatever a sensor delivers.

        Raises:
            DoesNotApplyError: If this target bounds nothing.
        """
        raise DoesNotApplyError("the target bounds nothing")

    def with_numbers(self, numbers: Sequence[Tensor]) -> Response:
        """What would be said if these were the prediction's numbers.

        Raises:
            DoesNotApplyError: If this target cannot tell.
        """
        raise DoesNotApplyError("the target cannot judge other numbers")


@runtime_checkable
class HasFeatures(Protocol):
    """Computes the features of sensors that are left alone only once."""

    @property
    def can_leave_out(self) -> bool:
        """Whether the fusion can be told to leave a sensor out."""

    def encode(self, sensor: str, x: Tensor) -> Any:
        """Features of one sensor's input (N, C, H, W): tensors, frames first."""

    def respond(
        self,
        features: Mapping[str, Any],
        frames: Frames,
        leave_out: LeaveOut | None = None,
    ) -> Response:
        """What the target says given the features of all sensors."""


@runtime_checkable
class _HasFrozen(Protocol):
    def frozen(self) -> AbstractContextManager[None]: ...


def frozen(target: Target) -> AbstractContextManager[None]:
    """In this context the target can be attacked; its own state is restored after.

    A target may bring its own (``frozen()``), e.g. eval mode and parameters without
    gradients.
    """
    return target.frozen() if isinstance(target, _HasFrozen) else nullcontext()


def predict_leaving_out(
    target: Target, inputs: Inputs, frames: Frames, leave_out: LeaveOut
) -> list[Prediction] | None:
    """Predictions of a fusion that is told; None for targets that cannot be told."""
    if not (isinstance(target, HasFeatures) and target.can_leave_out):
        return None
    tellable: Any = target
    found: list[Prediction] = tellable.predict(inputs, frames, leave_out=leave_out)
    return found


class DirectResponse(Response):
    """The response of a target without features of its own: asked from its inputs.

    Args:
        target: Whom to ask.
        inputs: All sensors' inputs.
        frames: The N samples.
    """

    def __init__(self, target: Target, inputs: Inputs, frames: Frames) -> None:
        self._target, self._inputs, self._frames = target, inputs, frames
        self.classes = target.classes

    @cached_property
    def gate_logits(self) -> Tensor | None:  # type: ignore[override]
        """(N, S + 1), asked for when needed."""
        if not isinstance(self._target, HasGate):
            return None
        return self._target.gate(self._inputs)

    def losses(self, part: Part | None = None) -> Tensor:
        """See :meth:`Response.losses`."""
        self._whole(part)
        if not isinstance(self._target, HasLosses):
            raise DoesNotApplyError("the target has no losses to ascend")
        return self._target.losses(self._inputs, self._frames)

    def scores(self, part: Part | None = None) -> Scores:
        """See :meth:`Response.scores`."""
        self._whole(part)
        if not isinstance(self._target, HasScores):
            raise DoesNotApplyError("the target has no class scores per location")
        return self._target.scores(self._inputs, self._frames)

    @staticmethod
    def _whole(part: Part | None) -> None:
        if part is not None:
            raise DoesNotApplyError(f"the target combines no parts, such as {part}")
