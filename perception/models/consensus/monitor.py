"""Which sensor to distrust, frame after frame: a gate's probabilities become alarms.

    monitor = SensorMonitor.calibrate(
        clean_gates, sensors=list(detector.sensors), false_alarm_rate=0.01
    )
    for sample in detect(detector, frames):
        state = monitor.update(sample.gate)
        if state.alarm:
            print(sample.frame_id, state.alarm, state.trust)

Per frame and sensor the evidence is log(p_i / p_none), "sensor i is compromised"
against "none is", limited so that no single frame decides for long. An exponential
average smooths it over the sequence: one parameter, and a sensor which recovers is
trusted again. The alarm's threshold is a conformal quantile of clean frames (Vovk,
Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005): whatever the gate
is like, a new clean frame exceeds it with at most the probability asked for. That is
exact for exchangeable frames without smoothing; with it, look at a held-out sequence.

Shape letters: N frames, S sensors.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from torch import Tensor

from perception.core.files import read_json, write_json
from perception.core.schema import Number, checked
from perception.core.structures import DataError

FORMAT = "perception sensor monitor"
FORMAT_VERSION = 1
_LEAST = 1e-6  # smaller probabilities count as this one
_SURE = 14.0  # more than any evidence of one frame

Gates = np.ndarray | Tensor | Sequence[Sequence[float]]


@dataclass(frozen=True)
class SensorState:
    """What a monitor thinks after a frame.

    Attributes:
        trust: For each sensor 0 (compromised, or missing) to 1; after a single frame
            p_none / (p_none + p_i).
        alarm: The sensor that the alarm is about, None while there is none.
        score: Smoothed evidence of the most suspicious sensor, what the threshold is
            for; infinite if a sensor is missing.
        stale: Sensors that showed an old reading of late.
    """

    trust: Mapping[str, float]
    alarm: str | None
    score: float
    stale: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Saved:
    """The schema of ``monitor.json``, see :class:`SensorMonitor`."""

    sensors: Annotated[tuple[str, ...], Field(min_length=1)]
    threshold: Number
    smoothing: Number
    start: tuple[Number, ...]
    false_alarm_rate: Number
    frames: Annotated[int, Field(ge=1)]


@dataclass(eq=False, kw_only=True)
class SensorMonitor:
    """Smooths a gate's probabilities and raises alarms at a chosen false-alarm rate.

    Attributes:
        sensors: Names of the S sensors, in the order of the gate.
        threshold: A smoothed evidence above it is an alarm.
        smoothing: Weight of the past, 0 (none) to below 1.
        start: (S,) evidence at the start of a sequence; that of clean frames.
        false_alarm_rate: What the threshold was calibrated for.
        frames: On how many frames.
    """

    sensors: Sequence[str]
    threshold: float
    smoothing: float
    start: Sequence[float]
    false_alarm_rate: float
    frames: int

    def __post_init__(self) -> None:
        if len(set(self.sensors)) < len(self.sensors):
            raise DataError(f"sensors must differ, got {list(self.sensors)}")
        if not 0 < self.false_alarm_rate < 1:
            raise DataError(
                f"the false-alarm rate must be in (0, 1), got {self.false_alarm_rate}"
            )
        if not 0 <= self.smoothing < 1:
            raise DataError(f"smoothing must be in [0, 1), got {self.smoothing}")
        if len(self.start) != len(self.sensors):
            raise DataError(
                f"{len(self.sensors)} sensors, but {len(self.start)} start values"
            )
        numbers = (self.threshold, self.false_alarm_rate, *self.start)
        if not all(math.isfinite(number) for number in numbers):
            raise DataError(
                "threshold, false-alarm rate and start must be finite numbers: with "
                f"{numbers} no alarm would ever come, or always"
            )
        self.sensors = tuple(self.sensors)
        self.threshold, self.smoothing = float(self.threshold), float(self.smoothing)
        self.false_alarm_rate = float(self.false_alarm_rate)
        self.frames = int(self.frames)
        self.start = tuple(float(value) for value in self.start)
        self.reset()

    @classmethod
    def calibrate(
        cls,
        gates: Gates,
        *,
        sensors: Sequence[str],
        false_alarm_rate: float = 0.01,
        smoothing: float = 0.8,
    ) -> SensorMonitor:
        """A monitor whose threshold fits clean frames.

        Args:
            gates: (N, S + 1) probabilities of clean frames in their order, the last
                one of "none is"; not of frames that the detector was trained on.
            sensors: Names of the S sensors, in the order of the gate.
            false_alarm_rate: Share of clean frames that may raise an alarm.
            smoothing: Weight of the past; 0.8 remembers about five frames.

        Raises:
            DataError: If N is too small for the rate, or the gates are none.
        """
        evidence = gate_evidence(gates)
        start = state = evidence.mean(axis=0)
        scores = []
        # Once around before it counts: every frame has a whole past behind it.
        for row in np.concatenate([evidence, evidence]):
            state = smoothing * state + (1 - smoothing) * row
            scores.append(state.max())
        return cls(
            sensors=sensors,
            threshold=conformal_threshold(scores[len(evidence) :], false_alarm_rate),
            smoothing=smoothing,
            start=start.tolist(),
            false_alarm_rate=false_alarm_rate,
            frames=len(evidence),
        )

    def reset(self) -> None:
        """Begin a new sequence; nothing is remembered of the last one."""
        self._evidence = np.array(self.start)

    def update(
        self,
        gate: Tensor | Sequence[float] | None,
        missing: Sequence[str] = (),
        stale: Sequence[str] = (),
    ) -> SensorState:
        """Take in the next frame.

        Args:
            gate: (S + 1,) the gate's probabilities; None if there was no prediction,
                which leaves the other sensors as they were.
            missing: Sensors that delivered nothing; each counts as compromised.
            stale: Sensors that showed an old reading, see
                :class:`~perception.models.consensus.repeats.RepeatDetector`; likewise.

        Raises:
            DataError: If the gate is not S + 1 probabilities, or no such sensor exists.
        """
        named = [*missing, *stale]
        if unknown := [name for name in named if name not in self.sensors]:
            raise DataError(f"no sensors {unknown}, only {list(self.sensors)}")
        if gate is not None:
            new = gate_evidence(_array(gate)[None])[0]
            if len(new) != len(self.sensors):
                raise DataError(
                    f"a gate over {len(self.sensors)} sensors has "
                    f"{len(self.sensors) + 1} probabilities, got {len(new) + 1}"
                )
            self._evidence = (
                self.smoothing * self._evidence + (1 - self.smoothing) * new
            )
        evidence = self._evidence.copy()
        for name in stale:  # beyond the threshold, whatever the gate says of it
            evidence[self.sensors.index(name)] += 2 * _SURE + abs(self.threshold)
        evidence[[self.sensors.index(name) for name in missing]] = math.inf
        worst = int(evidence.argmax())
        trust = 1 / (1 + np.exp(evidence))
        return SensorState(
            trust=dict(zip(self.sensors, trust.tolist(), strict=True)),
            alarm=self.sensors[worst] if evidence[worst] > self.threshold else None,
            score=float(evidence[worst]),
            stale=tuple(stale),
        )

    def follow(
        self, gates: Gates, stale: Sequence[Sequence[str]] | None = None
    ) -> list[SensorState]:
        """The states of a whole sequence (N, S + 1), from a new start.

        Args:
            gates: As of :meth:`update`, of N frames.
            stale: The same; None: no sensor ever.
        """
        self.reset()
        values = _array(gates)
        old = [()] * len(values) if stale is None else stale
        return [
            self.update(gate, stale=names)
            for gate, names in zip(values, old, strict=True)
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain values, without the sequence under way."""
        return {"format": FORMAT, "version": FORMAT_VERSION, **asdict(self)}

    def save(self, path: str | os.PathLike) -> None:
        """Write it as JSON."""
        write_json(path, self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike) -> SensorMonitor:
        """Read what :meth:`save` wrote; a new sequence begins.

        Raises:
            DataError: If the file is no monitor.
        """
        content = read_json(path, what="a sensor monitor")
        told = content if isinstance(content, dict) else {}
        if (told.get("format"), told.get("version")) != (FORMAT, FORMAT_VERSION):
            raise DataError(
                f"{path}: not a sensor monitor (expected {FORMAT!r}, version "
                f"{FORMAT_VERSION})"
            )
        values = asdict(checked(_Saved, content, path, what="sensor monitor"))
        try:
            return cls(**values)
        except DataError as error:
            raise DataError(f"{path}: not a sensor monitor ({error})") from error


def gate_evidence(gates: Gates) -> np.ndarray:
    """(N, S + 1) probabilities to (N, S) log(p_i / p_none), within ±13.8.

    Raises:
        DataError: If they are not probabilities of S + 1 classes.
    """
    values = _array(gates)
    if values.ndim != 2 or values.shape[1] < 2 or not len(values):
        raise DataError(f"gates must be (N, S + 1) probabilities, got {values.shape}")
    if not (values >= 0).all() or (np.abs(values.sum(axis=1) - 1) > 1e-3).any():
        raise DataError("gates must be probabilities that sum to 1 in every frame")
    logs = np.log(values.clip(min=_LEAST))
    return logs[:, :-1] - logs[:, -1:]


def conformal_threshold(scores: Sequence[float], false_alarm_rate: float) -> float:
    """The k-th smallest of n clean scores, k = ceil((n + 1)(1 - rate)).

    A new score, exchangeable with these, is above it with at most that probability.

    Raises:
        DataError: If n is too small for the rate (k would be n + 1).
    """
    n = len(scores)
    if not 0 < false_alarm_rate < 1:
        raise DataError(
            f"the false-alarm rate must be in (0, 1), got {false_alarm_rate}"
        )
    # As n + 1 - floor(...): (n + 1)(1 - rate) is off by a rounding error at times.
    k = n + 1 - math.floor((n + 1) * false_alarm_rate + 1e-9)
    if k > n:
        needed = math.ceil(1 / false_alarm_rate - 1e-9) - 1
        raise DataError(
            f"{n} clean frames allow no false-alarm rate below {1 / (n + 1):.3g}, got "
            f"{false_alarm_rate:.3g}: calibrate on at least {needed} frames"
        )
    return float(np.sort(scores)[k - 1])


def _array(values: Any) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=np.float64)
