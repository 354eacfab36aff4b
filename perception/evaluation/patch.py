"""Train one patch over a data set's frames and save it as a picture to print."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from perception.attacks.base import Attack
from perception.attacks.patch.files import save_patch
from perception.attacks.patch.threat import PatchThreat
from perception.attacks.patch.training import PatchResult, train_patch
from perception.core.files import make_folder
from perception.core.provenance import versions
from perception.core.structures import DataError
from perception.datasets.loading import build_loader
from perception.evaluation.robustness.spec import PatchRun
from perception.evaluation.robustness.subject import load_subject


def train_universal_patch(run: PatchRun) -> PatchResult:
    """Train the patch of a threat model that is to work on frames it never saw.

    Raises:
        DataError: If the threat is no patch, an unfinished training is there and
            ``resume`` is not set or it is another one, or anything is missing or
            impossible.
    """
    picture, running = Path(run.out), run.running
    if picture.suffix.lower() != ".png":
        raise DataError(f"{picture}: a patch is a .png")
    state = picture.with_suffix(".pth")
    if state.exists() and not run.resume:
        raise DataError(
            f"{state}: holds an unfinished training; --resume goes on with it, or "
            "remove it"
        )
    subject = load_subject(run, run.attacks)
    attack = subject.attacks[0].perturbation
    threat = attack.threat if isinstance(attack, Attack) else None
    if len(subject.attacks) != 1 or not isinstance(threat, PatchThreat):
        raise DataError(
            f"one patch is trained at a time, not {', '.join(run.attacks.threats)}; "
            "patches are the threats of type PatchThreat in "
            f"{run.attacks.attacks_file}"
        )
    make_folder(picture.parent)
    size, workers = running.batch_size, running.workers
    made = subject.settings | {"batch_size": size}
    how: dict[str, Any] = dict(
        epochs=run.epochs, step_levels=run.step_levels, smoothness=run.smoothness
    )
    try:
        result = train_patch(
            subject.target,
            build_loader(
                subject.dataset, subject.indices, batch_size=size, workers=workers
            ),
            threat,
            **how,
            resume=state,
            subject=made,
        )
    except ValueError as error:
        raise DataError(str(error)) from error
    training = {
        "command": running.command,
        "checkpoint": str(run.detector.checkpoint),
        "attacks_file": str(run.attacks.attacks_file),
        **made,
        **how,
        "versions": versions(),
    }
    save_patch(picture, result.texture, threat, training)
    state.unlink(missing_ok=True)
    return result
