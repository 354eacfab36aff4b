"""One patch for a whole set of frames.

Shape letters: N frames; h, w texture size in texels.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from perception.attacks.base import check_graph
from perception.attacks.batch import AttackBatch
from perception.attacks.patch.threat import PatchThreat
from perception.attacks.target import Target, frozen
from perception.attacks.victim import Query, Victim
from perception.core.checkpoints import load_checkpoint
from perception.core.files import replacing
from perception.core.structures import DataError

_SAVE_EVERY_S = 5.0


class Loader(Protocol):
    """Batches in the same order at every pass, such as ``apis.build_loader``'s."""

    def __iter__(self) -> Any: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class PatchResult:
    """A universal patch.

    Attributes:
        texture: (1, 3, h, w) in grey levels, within the gamut.
        threat: What it was trained for.
        history: Mean objective of every step's frames, before the step.
    """

    texture: Tensor
    threat: PatchThreat
    history: list[float]


def train_patch(
    target: Any,
    loader: Loader,
    threat: PatchThreat,
    *,
    epochs: int = 10,
    step_levels: float = 12.0,
    smoothness: float = 0.0,
    resume: str | os.PathLike | None = None,
    subject: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> PatchResult:
    """Train one texture that ascends the threat's goal on all frames.

    Adam, with a step that shrinks linearly to nothing; every epoch draws new views
    of ``threat.eot``. Interrupted and resumed it comes to the same patch.

    Args:
        target: Whom to attack, e.g. a ``DetectorTarget``; its state is left as it was.
        loader: The frames.
        threat: What may be done; its steps and restarts are not used.
        epochs: Passes over the frames.
        step_levels: Adam's first step in grey levels.
        smoothness: Weight of the texture's total variation (mean absolute difference
            of neighbouring texels, in shares of 255) against the objective: smooth
            patches survive printing and distance (Sharif et al., CCS 2016).
        resume: File of the unfinished training; begun where there is none.
        subject: Plain values that say which detector and which frames these are.
        progress: Show a progress bar.

    Raises:
        DataError: If ``resume`` is of a training with other settings or another
            ``subject``.
        ValueError: If the detector cannot be attacked in this way.
    """
    threat.check(target.sensors)
    if epochs < 1:
        raise ValueError(f"threat {threat.name!r}: epochs must be 1 or more: {epochs}")
    total = epochs * len(loader)
    run = dict(
        threat=asdict(threat) | {"goal": str(threat.goal)},
        epochs=epochs,
        step_levels=step_levels,
        smoothness=smoothness,
        batches=len(loader),
        subject=dict(subject or {}),
    )
    state = _Training.start(threat, json.dumps(run), resume)
    bar = tqdm(total=total, initial=state.step, disable=not progress, desc=threat.name)
    try:
        with bar:
            for epoch in range(state.step // len(loader), epochs):
                view = _of_epoch(threat, epoch)
                for index, data in enumerate(loader):
                    if epoch * len(loader) + index < state.step:
                        continue
                    batch = target.batch(data)
                    rate = step_levels * (1 - state.step / total)
                    state.ascend(target, batch, view, rate, smoothness)
                    bar.set_postfix(objective=f"{state.history[-1]:.3f}")
                    bar.update()
    finally:
        state.save(always=True)
    return PatchResult(state.texture.detach(), threat, state.history)


@dataclass
class _Training:
    """What a training has come to, in memory and on disk."""

    texture: Tensor
    optimiser: torch.optim.Adam
    run: str
    file: Path | None
    step: int = 0
    history: list[float] = field(default_factory=list)
    saved_s: float = 0.0

    @classmethod
    def start(
        cls, threat: PatchThreat, run: str, file: str | os.PathLike | None
    ) -> _Training:
        grey = (threat.gamut.black + threat.gamut.white) / 2
        texture = torch.full((1, 3, *threat.texture_px), grey, requires_grad=True)
        path = None if file is None else Path(file)
        state = cls(texture, torch.optim.Adam([texture]), run, path)
        if path is not None and path.exists():
            state._load(path)
        return state

    def _load(self, path: Path) -> None:
        known = load_checkpoint(path)
        if known["meta"].get("run") != self.run:
            raise DataError(
                f"{path}: belongs to a patch training with other settings, on another "
                "detector or other frames; remove it or train into another file"
            )
        with torch.no_grad():
            self.texture.copy_(known["state_dict"]["texture"])
        self.optimiser.load_state_dict(known["state_dict"]["optimiser"])
        self.step, self.history = known["meta"]["step"], known["meta"]["history"]

    def save(self, *, always: bool = False) -> None:
        """Write the file if there is one to write and it is time."""
        if self.file is None or not self.step:
            return
        if not always and time.monotonic() - self.saved_s < _SAVE_EVERY_S:
            return
        state = {
            "texture": self.texture.detach(),
            "optimiser": self.optimiser.state_dict(),
        }
        meta = {"run": self.run, "step": self.step, "history": self.history}
        with replacing(self.file) as temporary:
            torch.save({"state_dict": state, "meta": meta}, temporary)
        self.saved_s = time.monotonic()

    def ascend(
        self,
        target: Target,
        batch: AttackBatch,
        threat: PatchThreat,
        rate: float,
        smoothness: float,
    ) -> None:
        """One step on one batch."""
        self.optimiser.param_groups[0]["lr"] = rate
        texture = self.texture.to(batch.inputs[threat.sensor].device)
        changed = threat.render_draws(texture, batch)
        with frozen(target):  # for this batch alone: it remembers the ground truth
            victim = Victim(target, batch, threat.touched)
            value = threat.goal.value(Query(victim, changed)).mean()
            if not value.requires_grad:
                check_graph(victim, changed, threat.goal)
            self.optimiser.zero_grad()
            (smoothness * total_variation(texture) - value).backward()
        self.optimiser.step()
        with torch.no_grad():
            self.texture.copy_(threat.project(self.texture, batch))
        self.step += 1
        self.history.append(float(value.detach()))
        self.save()


def total_variation(texture: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring texels, in shares of 255."""
    down = (texture[..., 1:, :] - texture[..., :-1, :]).abs().mean()
    right = (texture[..., :, 1:] - texture[..., :, :-1]).abs().mean()
    return (down + right) / 255


def _of_epoch(threat: PatchThreat, epoch: int) -> PatchThreat:
    """The threat with other draws in every epoch."""
    words = np.random.SeedSequence((threat.seed, epoch)).generate_state(1)
    return replace(threat, seed=int(words[0]))
