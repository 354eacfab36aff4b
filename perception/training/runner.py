"""Training through MMEngine's runner, from a config."""

from __future__ import annotations

import logging
import os
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import barrier
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from perception.core.checkpoints import (
    load_checkpoint,
    local_file,
    secure_mmengine,
)
from perception.core.config import usable
from perception.core.locks import sole_user
from perception.core.structures import DataError
from perception.datasets.loading import with_mortal_workers
from perception.models.loading import compute_in_float32, without_history
from perception.training.hooks import MissedValidation, SameSchedule
from perception.training.labels import LabelHook
from perception.training.work_folder import best_checkpoint, latest_checkpoint

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
        DataError: If the data or a checkpoint cannot be used, a loss is not finite,
            what is resumed had another schedule, or ``work_dir`` holds another
            training, or this one and ``resume`` is not set.
    """
    config.work_dir = str(work_dir)
    if seed is not None:
        config.randomness.seed = seed
    if amp:
        config.optim_wrapper.type = "BFloat16OptimWrapper"
    first = int(os.environ.get("RANK", 0)) == 0  # the others are its helpers
    with sole_user(work_dir, "a training") if first else nullcontext():
        latest = latest_checkpoint(work_dir)
        if latest is not None and not resume and first:
            raise DataError(
                f"{work_dir}: holds a training already ({latest.name}); --resume goes "
                "on with it, another --work-dir keeps it"
            )
        # Without one to go on from, `load_from` keeps its weights to start with.
        if latest is not None:
            config.resume = True
            config.load_from = str(latest)
        if config.load_from and not config.resume:
            _require_start(config.load_from)
        runner = build_runner(config, launcher)
        if resume and latest is None and first:
            runner.logger.info("no checkpoint to go on from yet: begins at the start")
        if config.load_from and not config.resume:
            _check_start(runner.model, config.load_from)
        runner.register_hook(MissedValidation(), priority="LOWEST")
        runner.register_hook(LabelHook(), priority="HIGHEST")
        if config.resume:
            runner.register_hook(SameSchedule())
        runner.train()
        barrier()  # the first process may still be writing the last checkpoint
    return best_checkpoint(work_dir)


def _require_start(checkpoint: str) -> None:
    """Raise DataError unless there are such weights; says what else to start from."""
    try:
        local_file(checkpoint)
    except DataError as error:
        raise DataError(
            f"load_from={error}; train that first, or start from shipped weights, "
            "--cfg-options load_from=data/zoo/..., or random ones, load_from=None"
        ) from error


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


def build_runner(config: Config, launcher: str = "none") -> Runner:
    """MMEngine's runner, also for several processes on CPU."""
    secure_mmengine()
    compute_in_float32()
    without_history(config)
    config.launcher = launcher
    with usable(config, "training"):
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
    with usable(config, "training"):
        return _Runner.from_cfg(config)


# What MMEngine says and nobody can act on: two are about its own code.
_NOISE = (
    "Hooks will be executed",
    "Distributed training is not used",
    '"FileClient" will be deprecated',
    '"HardDiskBackend" is the alias',
    "Exp name:",
)


_PARTLY = "The model and loaded state dict do not match exactly"


def _told(record: logging.LogRecord) -> bool:
    """Whether to show a record; a list of all tensors becomes one line."""
    text = str(record.msg)
    if text.startswith(_PARTLY):
        lists = dict(re.findall(r"^(unexpected|missing) key.*?: (.*)$", text, re.M))
        new, unused = (
            len(lists[kind].split(", ")) if kind in lists else 0
            for kind in ("missing", "unexpected")
        )
        record.msg = f"of the weights to start from {unused} tensors are not of this "
        record.msg += f"detector, {text.count('size mismatch')} are of another size, "
        record.msg += f"and {new} of its own are not among them: those begin at random"
    return not text.startswith(_NOISE)


class _Runner(Runner):
    """MMEngine's, without its print of the whole config, and with mortal workers.

    Nor does it list the hooks of every stage.
    """

    @staticmethod
    def build_dataloader(*args: Any, **settings: Any) -> DataLoader:
        """Whose workers do not outlive this process."""
        return with_mortal_workers(Runner.build_dataloader(*args, **settings))

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Its own, without what concerns nobody who trains or tests."""
        logger = super().build_logger(*args, **kwargs)
        logger.addFilter(_told)
        return logger

    def dump_config(self) -> None:
        """In the work folder for people; checkpoints hold it as it comes.

        Formatting it takes seconds for each of them, and an interrupt meanwhile would
        look like an error in the config.
        """
        super().dump_config()
        self.cfg._format_python_code = False

    def _log_env(self, env_cfg: dict) -> None:
        """One line instead of some hundreds; the config is in the work folder."""
        folder = Path(self.work_dir)
        self.logger.info(f"config {self.cfg.filename}, seed {self.seed}, in {folder}")
