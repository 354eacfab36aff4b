"""Any source of frames as a data set for MMEngine's data loaders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from mmcv.transforms import Compose
from mmdet.registry import DATA_SAMPLERS, DATASETS
from mmengine.dataset import DefaultSampler
from mmengine.registry import FUNCTIONS
from torch.utils.data import Dataset

from perception.core.structures import DataError, Frame, class_key
from perception.datasets.kitti.reader import KittiFrames
from perception.datasets.nuscenes.reader import NuScenesFrames
from perception.datasets.samples.made_up import MadeUpFrames
from perception.datasets.samples.mosi import MosiFrames
from perception.datasets.samples.utd_mhad import UtdMhadFrames

for reader in (KittiFrames, NuScenesFrames, UtdMhadFrames, MosiFrames, MadeUpFrames):
    DATASETS.register_module(module=reader)


@DATASETS.register_module()
class FrameDataset(Dataset):
    """Runs frames through a pipeline, the same way whatever the worker count.

    Augmentation draws from a generator seeded by (seed, epoch, index), so a frame of
    an epoch is the same in any process. The epoch travels in the index that
    :class:`EpochSampler` yields: index + epoch * len.

    Args:
        frames: Sequence of :class:`~perception.core.structures.Frame`, or the config of
            one (e.g. ``KittiFrames``).
        classes: Names of the classes to detect, compared with labels without regard to
            case; their order is the label's value.
        pipeline: Configs of the transforms.
        also_train_as: Other label names trained as one of the classes, e.g.
            ``{"Van": "Car"}``; evaluation keeps to the labels as they are.
        indices: Keep only the first so many frames.
        seed: Seed of the augmentation.
    """

    def __init__(
        self,
        *,
        frames: Sequence[Frame] | Mapping,
        classes: Sequence[str],
        pipeline: Sequence[Mapping],
        also_train_as: Mapping[str, str] | None = None,
        indices: int | None = None,
        seed: int = 0,
    ) -> None:
        self.frames: Sequence[Frame] = (
            DATASETS.build(frames) if isinstance(frames, Mapping) else frames
        )
        if len(self.frames) == 0:
            raise ValueError("the data set has no frames; check the split")
        self.metainfo: dict[str, Any] = {"classes": tuple(classes)}
        if len({class_key(name) for name in classes}) < len(classes):
            raise DataError(f"classes: a name is there twice in {tuple(classes)}")
        self.class_index = {name: i for i, name in enumerate(classes)}
        for other, name in (also_train_as or {}).items():
            if name not in self.class_index:
                raise DataError(
                    f"also_train_as: {other!r} shall be trained as {name!r}, which is "
                    f"none of the classes {tuple(classes)}"
                )
            self.class_index[other] = self.class_index[name]
        self.pipeline = Compose(list(pipeline))
        if indices is not None and indices < 1:
            raise ValueError(f"indices must be at least 1, got {indices}")
        self.count = min(len(self.frames), indices or len(self.frames))
        self.seed = seed

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[dict]:
        """The frames as they are in the first epoch; indices alone never end."""
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> dict:
        """Frame ``index % len`` of epoch ``index // len``, packed.

        Raises:
            DataError: If the frame cannot be read, or the pipeline cannot transform it:
                its config decides only here what its transforms find.
        """
        if index < 0:
            raise IndexError(f"frames are counted from 0, got {index}")
        epoch, index = divmod(index, self.count)
        frame = self.frames[index]
        try:
            packed: dict = self.pipeline(
                {
                    "frame": frame,
                    "objects": frame.objects,
                    "original_size": frame.image_size,
                    "class_index": self.class_index,
                    "rng": np.random.default_rng((self.seed, epoch, index)),
                }
            )
            packed["inputs"], packed["data_samples"]  # or there is no PackFrame
        except DataError:
            raise
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            name = getattr(frame, "frame_id", f"number {index}")
            raise DataError(
                f"frame {name}: the data set's pipeline cannot pack it ({reason})"
            ) from error
        return packed


@FUNCTIONS.register_module()
def collate_frames(batch: Sequence[Mapping]) -> dict[str, Any]:
    """N packed frames to what the detector's preprocessor reads, nothing stacked.

    A sensor that only some frames have is None for the others, so that the
    preprocessor can name the frame that lacks it (MMEngine's own function fails on
    such batches).
    """
    names = dict.fromkeys(name for packed in batch for name in packed["inputs"])
    inputs = {name: [one["inputs"].get(name) for one in batch] for name in names}
    return {"inputs": inputs, "data_samples": [one["data_samples"] for one in batch]}


@DATA_SAMPLERS.register_module()
class EpochSampler(DefaultSampler):
    """MMEngine's sampler, telling the data set the epoch through the index."""

    def __iter__(self) -> Iterator[int]:
        offset = self.epoch * len(self.dataset)
        return (offset + index for index in super().__iter__())
