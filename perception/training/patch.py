"""Train one patch over a data set's frames and save it as a picture to print."""

from __future__ import annotations

import os
from pathlib import Path

from perception.attacks.base import Attack
from perception.attacks.patch.files import save_patch
from perception.attacks.patch.threat import PatchThreat
from perception.attacks.patch.training import PatchResult, train_patch
from perception.core.structures import DataError
from perception.datasets.loading import build_loader
from perception.evaluation.robustness.old_results import settings_of, versions
from perception.evaluation.robustness.prepare import AttackRun, prepare
from perception.targets import DetectorTarget


def train_universal_patch(
    run: AttackRun,
    picture: str | os.PathLike,
    *,
    epochs: int = 10,
    step_levels: float = 12.0,
    smoothness: float = 0.0,
) -> PatchResult:
    """Train the patch of a threat model that is to work on frames it never saw.

    Args:
        run: The detector, one patch threat, and the frames to train on; its ``out`` is
            not used. With ``resume`` an unfinished training goes on.
        picture: The .png to write; a .json beside it tells what it was made for and
            how, and while the training lasts a .pth holds what it has come to.
        epochs: Passes over the frames.
        step_levels: First step in grey levels.
        smoothness: Weight of the total variation, see :func:`train_patch`.

    Raises:
        DataError: If the threat is no patch, an unfinished training is there and
            ``resume`` is not set or it is another one, or anything is missing or
            impossible.
    """
    picture = Path(picture)
    if picture.suffix.lower() != ".png":
        raise DataError(f"{picture}: a patch is a .png")
    state = picture.with_suffix(".pth")
    if state.exists() and not run.resume:
        raise DataError(
            f"{state}: holds an unfinished training; --resume goes on with it, or "
            "remove it"
        )
    ready = prepare(run)
    attack = ready.attacks[0][0]
    threat = attack.threat if isinstance(attack, Attack) else None
    if len(ready.attacks) != 1 or not isinstance(threat, PatchThreat):
        raise DataError(
            f"one patch is trained at a time, not {', '.join(run.threats)}; patches "
            "are the threats of type PatchThreat in "
            f"{run.attacks_file}"
        )
    picture.parent.mkdir(parents=True, exist_ok=True)
    loader = build_loader(
        ready.dataset, ready.indices, batch_size=run.batch_size, workers=run.workers
    )
    settings = settings_of(
        ready.config, run.config, run.checkpoint, ready.dataset, ready.indices
    )
    del settings["save_data"]
    subject = settings | {"batch_size": run.batch_size}
    try:
        result = train_patch(
            DetectorTarget(ready.detector),
            loader,
            threat,
            epochs=epochs,
            step_levels=step_levels,
            smoothness=smoothness,
            resume=state,
            subject=subject,
        )
    except ValueError as error:
        raise DataError(str(error)) from error
    how = dict(epochs=epochs, step_levels=step_levels, smoothness=smoothness)
    training = {**run.invocation(), **subject, **how, "versions": versions()}
    save_patch(picture, result.texture, threat, training)
    state.unlink(missing_ok=True)
    return result
