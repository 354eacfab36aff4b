"""The data set is the same whatever process reads which frame."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler
from mmengine.runner import Runner
from tiny_kitti import CLASSES, make_frame

from perception.core.structures import DataError
from perception.datasets.frame_dataset import (
    EpochSampler,
    FrameDataset,
    collate_frames,
)
from perception.datasets.transforms import PackFrame

PIPELINE = [
    dict(type="RandomAffineFrame", scale=(0.8, 1.2), shift=0.1),
    dict(type="RandomColour"),
    dict(type="PackFrame"),
]


def make_dataset(count: int = 5, **changes) -> FrameDataset:
    frames = [make_frame(index) for index in range(count)]
    return FrameDataset(
        **dict(frames=frames, classes=CLASSES, pipeline=PIPELINE) | changes
    )


def same(one: dict, other: dict) -> bool:
    """Whether two packed frames are equal to the last bit."""
    a, b = one["data_samples"], other["data_samples"]
    return (
        a.frame_id == b.frame_id
        and torch.equal(a.gt_instances.bboxes, b.gt_instances.bboxes)
        and all(
            np.array_equal(a.projections[name], b.projections[name])
            for name in a.projections
        )
        and all(
            torch.equal(one["inputs"][name], other["inputs"][name])
            for name in one["inputs"]
        )
    )


def loaded(workers: int, epochs: int = 2) -> list[dict]:
    """All frames of some epochs in the order of MMEngine's loader, unbatched."""
    loader = Runner.build_dataloader(
        dict(
            batch_size=2,
            num_workers=workers,
            persistent_workers=workers > 0,
            collate_fn=dict(type="collate_frames"),
            sampler=dict(type="mmdet.EpochSampler", shuffle=True),
            dataset=make_dataset(),
        ),
        seed=4,
    )
    frames = []
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            for n, sample in enumerate(batch["data_samples"]):
                inputs = {name: value[n] for name, value in batch["inputs"].items()}
                frames.append({"inputs": inputs, "data_samples": sample})
    return frames


def test_same_frames_whatever_the_number_of_workers():
    alone, one, two = loaded(0), loaded(1), loaded(2)
    assert len(alone) == len(one) == len(two) == 10
    for a, b, c in zip(alone, one, two, strict=True):
        assert same(a, b) and same(a, c)
    ids = [frame["data_samples"].frame_id for frame in alone]
    assert sorted(ids[:5]) == sorted(ids[5:]) and ids[:5] != ids[5:]


def test_augmentation_depends_on_seed_epoch_and_index_alone():
    dataset = make_dataset()
    first = dataset[3]
    torch.manual_seed(99)
    np.random.seed(99)
    dataset[1]
    assert same(first, dataset[3])
    assert same(first, make_dataset()[3])
    assert not same(first, dataset[3 + 5])  # the next epoch
    assert dataset[3 + 5]["data_samples"].frame_id == "000003"
    assert not same(first, make_dataset(seed=1)[3])


def test_iteration_ends_and_negative_indices_are_refused():
    dataset = make_dataset()
    ids = [packed["data_samples"].frame_id for packed in dataset]
    assert ids == [f"00000{i}" for i in range(5)]
    with pytest.raises(IndexError, match="counted from 0, got -1"):
        dataset[-1]


@pytest.mark.parametrize(
    ("pipeline", "reason"),
    [
        ([], "KeyError: 'inputs'"),
        ([{"type": "PackFrame"}, {"type": "RandomColour"}], "KeyError: 'frame'"),
        ([{"type": "ResizeFrame", "size": ["a", 8]}], "TypeError"),
        ([{"type": "RandomAffineFrame", "shift": None}], "TypeError"),
    ],
)
def test_a_pipeline_that_cannot_work_is_one_line(pipeline, reason):
    """Types of a config's entries show only when a frame goes through it."""
    with pytest.raises(DataError, match=f"frame 000000: the data set's.*{reason}"):
        make_dataset(pipeline=pipeline)[0]


def test_labels_of_other_names():
    plain = make_dataset(pipeline=[dict(type="PackFrame")])
    assert plain[0]["data_samples"].gt_instances.labels.tolist() == [0, 1]
    renamed = make_dataset(
        pipeline=[dict(type="PackFrame")],
        classes=("Walker",),
        also_train_as={"Pedestrian": "Walker"},
    )
    assert renamed.metainfo == {"classes": ("Walker",)}
    sample = renamed[0]["data_samples"]
    assert sample.gt_instances.labels.tolist() == [0]
    assert list(sample.objects.names) == ["Car", "Pedestrian"]


def test_first_frames_only():
    dataset = make_dataset(indices=2)
    assert len(dataset) == 2
    assert dataset[2]["data_samples"].frame_id == "000000"
    assert len(make_dataset(indices=99)) == 5
    with pytest.raises(ValueError, match="indices must be at least 1, got 0"):
        make_dataset(indices=0)


def test_no_frames():
    with pytest.raises(ValueError, match="no frames"):
        make_dataset(count=0)


def test_a_sensor_of_only_some_frames_becomes_none():
    dataset = make_dataset(2, pipeline=[dict(type="PackFrame")])
    first, second = dataset[0], dataset[1]
    del first["inputs"]["depth"]
    batch = collate_frames([first, second])
    assert list(batch["inputs"]) == ["camera", "lidar", "depth"]
    assert batch["inputs"]["depth"][0] is None
    assert batch["inputs"]["depth"][1] is second["inputs"]["depth"]
    assert batch["data_samples"] == [first["data_samples"], second["data_samples"]]


def test_epoch_sampler_shifts_by_epochs():
    dataset: Sequence = range(7)
    plain = DefaultSampler(dataset, shuffle=True, seed=3)
    shifted = EpochSampler(dataset, shuffle=True, seed=3)
    for epoch in (0, 2):
        plain.set_epoch(epoch)
        shifted.set_epoch(epoch)
        assert list(shifted) == [index + 7 * epoch for index in plain]


def test_transforms_may_be_given_ready_made():
    dataset = make_dataset(pipeline=[PackFrame()])
    assert dataset[0]["data_samples"].frame_id == "000000"
