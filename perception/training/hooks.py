"""What watches over a training: its losses, its progress, validations that are due."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from tqdm import tqdm

from perception.core.structures import DataError


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Ends a training at the first loss that is not finite.

    What comes after it is trained from ruined weights; the checkpoints on disk are
    good.
    """

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Mapping[str, Any] | None = None,
    ) -> None:
        """Raise DataError unless every loss is a finite number."""
        losses = {
            name: _number(value)
            for name, value in (outputs or {}).items()
            if "loss" in name
        }
        bad = {name: one for name, one in losses.items() if not math.isfinite(one)}
        if not bad:
            return
        samples = data_batch["data_samples"] if isinstance(data_batch, Mapping) else []
        frames = dict.fromkeys(str(sample.get("frame_id")) for sample in samples)
        told = ", ".join(f"{name} is {value}" for name, value in bad.items())
        raise DataError(
            f"iteration {runner.iter + 1}: {told} on frames {', '.join(frames)}; the "
            "training ends here, the last checkpoint is good (--resume goes on from "
            "it). A smaller learning rate may help: --cfg-options "
            "optim_wrapper.optimizer.lr=..."
        )


@HOOKS.register_module()
class ProgressBarHook(Hook):
    """One bar over all iterations with the time left, on a terminal."""

    def before_train(self, runner: Runner) -> None:
        """Begin where the training does."""
        self._bar = tqdm(
            desc="training",
            total=runner.max_iters,
            initial=runner.iter,
            unit="iter",
            dynamic_ncols=True,
            disable=None if is_main_process() else True,
        )

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Mapping[str, Any] | None = None,
    ) -> None:
        """One iteration further."""
        if not self._bar.disable:
            loss = (outputs or {}).get("loss")
            told = "" if loss is None else f", loss {_number(loss):.3f}"
            self._bar.set_postfix_str(f"epoch {runner.epoch + 1}{told}", refresh=False)
            self._bar.update()

    def after_train(self, runner: Runner) -> None:
        """Done."""
        self._bar.close()


class MissedValidation(Hook):
    """Validates a checkpoint that is gone on from, if that was due.

    An epoch's checkpoint is written before its validation, so that a run stopped in
    between would never know how good it was.
    """

    def before_train(self, runner: Runner) -> None:
        """After everything is loaded and the checkpoint hook knows the best score."""
        loop = runner.train_loop
        due = loop.epoch % loop.val_interval == 0 or loop.epoch == loop.max_epochs
        if loop.epoch > 0 and due and runner.val_loop is not None:
            runner.val_loop.run()


class SameSchedule(Hook):
    """Refuses to resume with another optimiser or learning rate schedule.

    A checkpoint holds the state of both, which would silently replace what was asked
    for.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare what was built from the config with what is gone on from."""
        optimizer: Any = runner.optim_wrapper
        saved = checkpoint.get("optimizer", {}).get("param_groups", [])
        for ours, theirs in zip(optimizer.param_groups, saved, strict=False):
            _require_same("optimizer", ours, theirs, {"params", "lr"})
        schedules: Any = runner.param_schedulers
        states = checkpoint.get("param_schedulers", [])
        for number, theirs in enumerate(states if isinstance(states, list) else []):
            what = f"param_scheduler.{number}"
            if number >= len(schedules):
                raise DataError(f"{what} is gone; {_SAME}")
            ours = schedules[number].state_dict()
            _require_same(what, ours, theirs, _PROGRESS)


_PROGRESS = {"last_step", "_global_step", "_last_value", "verbose", "base_values"}
_SAME = (
    "--resume goes on as the training began; to train otherwise start from the "
    "checkpoint, with another --work-dir and --cfg-options load_from=..."
)


def _require_same(
    what: str, ours: Mapping[str, Any], theirs: Mapping[str, Any], but: set[str]
) -> None:
    for name in sorted((ours.keys() & theirs.keys()) - but):
        one, other = ours[name], theirs[name]
        if isinstance(one, list | tuple):
            one, other = list(one), list(other)
        if one != other:
            raise DataError(
                f"{what}: {name} is {one}, in the checkpoint to go on from {other}; "
                + _SAME
            )


def _number(value: Any) -> float:
    return float(torch.as_tensor(value).detach())
