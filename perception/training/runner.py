"""Training through MMEngine's runner, from a config."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import barrier
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.runner.checkpoint import find_latest_checkpoint

from perception.core.checkpoints import load_checkpoint
from perception.core.structures import DataError
from perception.models.loading import compute_in_float32

LAUNCHERS = ("none", "pytorch", "slurm")


def train(
    config: Config,
    *,
    work_dir: str | os.PathLike,
    seed: int | None = None,
    resume: bool = False,
    amp: bool = False,
    launcher: str = "none",
) -> Path:
    """Train a detector; returns the best checkpoint.

    Args:
        config: The whole run, as in ``configs/``.
        work_dir: Folder of logs and checkpoints.
        seed: Replaces the config's.
        resume: Go on from the newest checkpoint in ``work_dir``, if there is one,
            exactly as if the run had not stopped.
        amp: Mixed precision in bfloat16: faster on GPUs and on CPUs with AVX-512 BF16
            or AMX, slower on others.
        launcher: One of ``none``, ``pytorch`` (torchrun) and ``slurm``.

    Raises:
        DataError: If the data or a checkpoint cannot be used.
    """
    config.work_dir = str(work_dir)
    if seed is not None:
        config.randomness.seed = seed
    if amp:
        config.optim_wrapper.type = "BFloat16OptimWrapper"
    # Without a checkpoint to go on from, `load_from` keeps its weights to start with.
    if resume and (latest := find_latest_checkpoint(str(work_dir))):
        config.resume = True
        config.load_from = latest
    runner = build_runner(config, launcher)
    if config.load_from and not config.resume:
        _check_start(runner.model, config.load_from)
    runner.register_hook(_MissedValidation(), priority="LOWEST")
    runner.train()
    barrier()  # the first process may still be writing the last checkpoint
    return best_checkpoint(work_dir)


def _check_start(model: torch.nn.Module, checkpoint: str) -> None:
    """Raise DataError unless most of the weights to start from fit the detector.

    MMEngine leaves out what does not fit, which is right for a head of other classes;
    for a detector of another size it would train from random weights, and not say so.
    """
    start = load_checkpoint(checkpoint)["state_dict"]
    own = getattr(model, "module", model).state_dict()
    shapes = {name: value.shape for name, value in own.items()}
    fits = [name for name, value in start.items() if shapes.get(name) == value.shape]
    if len(fits) < len(start) / 2:
        raise DataError(
            f"load_from={checkpoint}: only {len(fits)} of its {len(start)} tensors fit "
            "this detector; start from weights of a config of the same size, or from "
            "random ones with --cfg-options load_from=None"
        )


class _MissedValidation(Hook):
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


def build_runner(config: Config, launcher: str = "none") -> Runner:
    """MMEngine's runner, also for several processes on CPU."""
    compute_in_float32()
    config.launcher = launcher
    config.train_dataloader.dataset.seed = config.randomness.seed
    if launcher == "pytorch" and not torch.cuda.is_available():
        # MMEngine would select a CUDA device for each process.
        torch.distributed.init_process_group("gloo")
        config.model_wrapper_cfg = dict(
            type="MMDistributedDataParallel",
            device_ids=None,
            broadcast_buffers=False,
            find_unused_parameters=config.get("find_unused_parameters", False),
        )
    return Runner.from_cfg(config)


def best_checkpoint(work_dir: str | os.PathLike) -> Path:
    """The checkpoint that scored best in validation, else the newest.

    Raises:
        DataError: If the folder holds no checkpoint.
    """
    folder = Path(work_dir)
    best = sorted(folder.glob("best_*.pth"), key=lambda path: path.stat().st_mtime)
    if best:
        return best[-1]
    last = find_latest_checkpoint(str(folder))
    if last is None:
        raise DataError(f"{folder}: no checkpoint; train first")
    return Path(last)
