"""mmcv's operators on a GPU, where mmcv was compiled for the CPU alone.

Focal loss, which mmcv has for GPUs only, is computed with torch. All others, NMS first
of all, run on the CPU with copies of their arguments: exact, and slow where an operator
takes whole feature maps.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor


def provide_gpu_operators() -> None:
    """Complete mmcv's compiled operators, unless they were compiled for GPUs.

    mmcv looks them up in ``mmcv._ext`` whenever it calls one, so that they can be
    completed there.
    """
    operators: Any = importlib.import_module("mmcv._ext")
    if operators.get_compiling_cuda_version() != "not available":
        return
    for name, operator in list(vars(operators).items()):
        if not name.startswith(("_", "get_comp")) and callable(operator):
            setattr(operators, name, on_cpu(name, operator))
    operators.sigmoid_focal_loss_forward = sigmoid_focal_loss_forward
    operators.sigmoid_focal_loss_backward = sigmoid_focal_loss_backward


def on_cpu(name: str, operator: Callable) -> Callable:
    """An operator for the CPU that takes tensors of a GPU as well.

    What it writes into its arguments is written into those of the GPU.
    """

    @functools.wraps(operator)
    def run(*args: Any, **kwargs: Any) -> Any:
        given = [*args, *kwargs.values()]
        devices = {a.device for a in given if isinstance(a, Tensor)}
        if not any(is_gpu(device) for device in devices):
            return operator(*args, **kwargs)
        _say(name)
        copies = [a.to("cpu", copy=True) if isinstance(a, Tensor) else a for a in given]
        before = [a.clone() if isinstance(a, Tensor) else a for a in copies]
        named = dict(zip(kwargs, copies[len(args) :], strict=True))
        result = operator(*copies[: len(args)], **named)
        for mine, was, now in zip(given, before, copies, strict=True):
            # Only what did change: autograd takes note of every write.
            if isinstance(mine, Tensor) and not torch.equal(was, now):
                mine.copy_(now)
        return _moved(result, next(device for device in devices if is_gpu(device)))

    return run


def is_gpu(device: torch.device) -> bool:
    """Whether mmcv's operators for the CPU cannot read what is there."""
    return device.type != "cpu"


@functools.cache
def _say(name: str) -> None:
    """Say it once for each operator."""
    print_log(f"mmcv has no {name} for GPUs: the CPU computes it", logger="current")


def _moved(result: Any, device: torch.device) -> Any:
    if isinstance(result, Tensor):
        return result.to(device)
    if isinstance(result, list | tuple):
        return type(result)(_moved(one, device) for one in result)
    return result


def sigmoid_focal_loss_forward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    output: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Focal loss (Lin et al., ICCV 2017) of each logit, into ``output``.

    Args:
        input: (N, C) logits.
        target: (N,) labels; C is background.
        weight: (C,) of the classes, or empty.
        output: (N, C).
        gamma: Exponent of the modulating factor.
        alpha: Weight of an object's own class; 1 - alpha that of others.
    """
    own = target[:, None] == torch.arange(input.shape[1], device=input.device)
    error = torch.where(own, 1 - input.sigmoid(), input.sigmoid())
    log = torch.nn.functional.logsigmoid(torch.where(own, input, -input))
    loss = -torch.where(own, alpha, 1 - alpha) * error**gamma * log
    output.copy_(loss * weight[target, None] if weight.numel() else loss)


def sigmoid_focal_loss_backward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Its derivative by each logit, into ``grad_input``; arguments as above."""
    with torch.enable_grad():
        logits = input.detach().requires_grad_()
        loss = torch.zeros_like(logits)
        sigmoid_focal_loss_forward(logits, target, weight, loss, gamma, alpha)
        grad_input.copy_(torch.autograd.grad(loss.sum(), logits)[0])
