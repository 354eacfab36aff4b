"""Backbones that start from ImageNet weights, whatever their sensor delivers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mmengine.registry import WEIGHT_INITIALIZERS
from torch import Tensor, nn

from perception.core.checkpoints import load_checkpoint, local_file, sha256
from perception.core.structures import DataError
from perception.core.words import did_you_mean

# torchvision's weights of these names; addresses end in the start of their SHA-256.
_TORCHVISION = {
    "resnet18": "https://download.pytorch.org/models/resnet18-f37072fd.pth",
    "resnet34": "https://download.pytorch.org/models/resnet34-b627a593.pth",
    "resnet50": "https://download.pytorch.org/models/resnet50-11ad3fa6.pth",
    "resnet101": "https://download.pytorch.org/models/resnet101-cd907fc2.pth",
}
_FIRST = "conv1.weight"
_COUNTERS = "num_batches_tracked"  # of batch norm; not in every file


@WEIGHT_INITIALIZERS.register_module(name="ImageNet")
class ImageNetInit:
    """``init_cfg=dict(type="ImageNet", checkpoint=...)`` of a ``ResNet``.

    The first layer looks at three colours. For C channels, where C is not 3, each gets
    the sum of the colours' filters over C: what is equal in all channels is seen as
    grey is. All other layers must be there as they are; what else is in the file, such
    as the classifier or further stages, is left.

    Args:
        checkpoint: A file of weights whose tensors are named as torchvision's, an
            http(s) address, or ``resnet18``, ``resnet34``, ``resnet50`` or
            ``resnet101``: torchvision's own, downloaded once.
    """

    def __init__(self, checkpoint: str) -> None:
        self.checkpoint = checkpoint

    def __call__(self, module: nn.Module) -> None:
        """Set the weights of a backbone.

        Raises:
            DataError: If there is no such file or model, or it does not fit.
        """
        own = module.state_dict()
        given = load_checkpoint(_file(self.checkpoint))["state_dict"]
        if _FIRST in given and _FIRST in own:
            channels = own[_FIRST].shape[1]
            given = {**given, _FIRST: adapted(given[_FIRST], channels)}
        for name, value in own.items():
            if name.endswith(_COUNTERS):
                continue
            if name not in given or given[name].shape != value.shape:
                raise DataError(
                    f"{self.checkpoint}: no weights of this backbone: {name} is "
                    f"{_shape(own, name)}, got {_shape(given, name)}"
                )
        module.load_state_dict({k: given.get(k, v) for k, v in own.items()})


def adapted(filters: Tensor, channels: int) -> Tensor:
    """(F, 3, …) filters of colours to (F, C, …) of another number of channels.

    The response to channels that are all alike stays.
    """
    if channels == filters.shape[1]:
        return filters
    mean = filters.sum(dim=1, keepdim=True) / channels
    return mean.expand(-1, channels, *filters.shape[2:]).clone()


def _file(checkpoint: str) -> Path:
    if checkpoint in _TORCHVISION and not Path(checkpoint).exists():
        address = _TORCHVISION[checkpoint]
        file = local_file(address)
        if not sha256(file).startswith(Path(address).stem.rpartition("-")[2]):
            raise DataError(f"{file}: damaged, not {address}; remove it")
        return file
    hint = did_you_mean(checkpoint, _TORCHVISION)
    try:
        return local_file(checkpoint)
    except DataError as error:
        raise DataError(f"{error}{hint}") from error


def _shape(weights: Mapping[str, Tensor], name: str) -> object:
    return tuple(weights[name].shape) if name in weights else "nothing"
