"""Data sets from a config, and batches of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Literal

from mmdet.registry import DATASETS
from mmengine.config import Config
from torch.utils.data import DataLoader, Subset

from perception.core.config import as_config, usable
from perception.core.parallel import end_with_parent
from perception.datasets.frame_dataset import FrameDataset, collate_frames

Part = Literal["train", "val", "test"]


def build_dataset(
    config: str | os.PathLike | Config, part: Part = "val"
) -> FrameDataset:
    """The data set of a config: ``train``, ``val`` or ``test``."""
    config = as_config(config)
    with usable(config, f"{part}_dataloader"):
        return DATASETS.build(config[f"{part}_dataloader"].dataset)


def build_loader(
    dataset: FrameDataset,
    indices: Iterable[int] | None = None,
    *,
    batch_size: int = 8,
    workers: int = 0,
) -> DataLoader:
    """Batches of a data set in order, as a detector's preprocessor takes them.

    Args:
        dataset: The frames.
        indices: Numbers of those wanted, in this order; all without.
        batch_size: Frames of a batch; the last one may have fewer.
        workers: Processes that read them; 0 reads in this one.

    Raises:
        IndexError: If there is no frame of such a number.
    """
    chosen: Any = dataset
    if indices is not None:
        numbers = list(indices)
        # The data set itself would count on, through the frames of later epochs.
        if bad := [i for i in numbers if not 0 <= i < len(dataset)]:
            raise IndexError(
                f"frames are numbered 0 … {len(dataset) - 1}, got {bad[0]}"
            )
        chosen = Subset(dataset, numbers)
    loader = DataLoader(
        chosen, batch_size, num_workers=workers, collate_fn=collate_frames
    )
    return with_mortal_workers(loader)


def with_mortal_workers(loader: DataLoader) -> DataLoader:
    """The loader; its workers will not outlive the process that reads from it."""
    loader.worker_init_fn = partial(_begin_worker, loader.worker_init_fn)
    return loader


def _begin_worker(then: Callable[[int], object] | None, number: int) -> None:
    end_with_parent()
    if then is not None:
        then(number)


def numbered_batches(
    loader: Iterable[dict[str, Any]], indices: Sequence[int]
) -> Iterator[tuple[list[int], dict[str, Any]]]:
    """Each batch of a loader with the numbers of its frames.

    Args:
        loader: As :func:`build_loader` makes it.
        indices: The numbers it was made for.
    """
    first = 0
    for data in loader:
        count = len(data["data_samples"])
        yield list(indices[first : first + count]), data
        first += count
