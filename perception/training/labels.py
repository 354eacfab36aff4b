"""Whether the labels of a data set teach a detector what it shall detect."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from perception.core.structures import DataError, class_key
from perception.core.words import did_you_mean
from perception.datasets.frame_dataset import FrameDataset
from perception.datasets.reader import labels_of

# Frames to look at for classes that are rare, where labels come with all sensors.
_FEW = 100


def check_labels(dataset: FrameDataset) -> list[str]:
    """Look for an object of every class.

    Reads labels until all are found: of a good data set, those of a few frames. Where
    they come with all sensors, only a class that ``_FEW`` frames, spread evenly, do not
    show is told of.

    Args:
        dataset: Frames to train on.

    Returns:
        For each class that no object has one line, which says what may be meant.

    Raises:
        DataError: If no object has a known class, or a frame has no labels.
    """
    wanted = set(dataset.class_index.values())
    index = {class_key(name): label for name, label in dataset.class_index.items()}
    missing, seen = set(wanted), dict[str, None]()
    enough = len(dataset) if hasattr(dataset.frames, "labels") else _FEW
    for looked_at, number in enumerate(_spread(len(dataset), enough)):
        if not missing or (looked_at >= enough and missing != wanted):
            break
        labels = labels_of(dataset.frames, number)
        if labels is None:
            where = getattr(dataset.frames, "frame_ids", range(len(dataset)))[number]
            raise DataError(f"frame {where}: no labels, which training needs")
        seen |= dict.fromkeys(map(str, labels.names))
        missing -= {index.get(class_key(name)) for name in seen}
    names = [n for n, k in dataset.class_index.items() if k in missing]
    there = f"; labels are called {', '.join(sorted(seen))}" if seen else ""
    told = [f"no object is called {name}{did_you_mean(name, seen)}" for name in names]
    if missing == wanted:
        raise DataError(
            f"nothing to learn in {len(dataset)} training frames: {', '.join(told)}"
            f"{there or '; no frame has objects'}. Set classes=[...] to what is there, "
            "or mend the labels"
        )
    return [one + there for one in told if missing]


def _spread(frames: int, few: int) -> Iterator[int]:
    """All numbers of ``frames`` frames, the first ``few`` or more spread evenly.

    Data sets are often sorted by what is in them.
    """
    step = max(1, frames // max(few, 1))
    for first in range(step):
        yield from range(first, frames, step)


class LabelHook(Hook):
    """Looks at the labels before a training begins."""

    def before_run(self, runner: Runner) -> None:
        """Warn about classes without objects; raise DataError if there is no other."""
        dataset: Any = runner.train_dataloader.dataset
        for line in check_labels(dataset):
            print_log(
                f"training frames: {line}", logger="current", level=logging.WARNING
            )
        if runner.val_loop is not None:
            held_out: Any = runner.val_dataloader.dataset
            if labels_of(held_out.frames, 0) is None:
                raise DataError("the validation frames have no labels, which AP needs")
