"""The detector as a target: its frames, its layout, what it computes once."""

import zlib

import pytest
import torch

from perception.attacks import MapThreat
from perception.attacks.goals import Goal
from perception.attacks.victim import Query, Victim
from perception.models.modes import in_eval_mode, laid_out_for_speed


def threat() -> MapThreat:
    return MapThreat(name="t", sensor="camera", eps=16.0, steps=3)


def test_frames_need_labels_and_ids(tiny_target, tiny_data):
    with pytest.raises(ValueError, match="as many ids"):
        tiny_target.batch(tiny_data, ids=[1])
    del tiny_data["data_samples"][1].gt_instances
    with pytest.raises(ValueError, match="frame 000001: no labels"):
        tiny_target.batch(tiny_data)


def test_frames_are_numbered_by_their_names(tiny_target, tiny_data):
    """So that batches do not share random starts, and their size does not matter."""
    together = tiny_target.batch(tiny_data)
    last = {name: values[3:] for name, values in tiny_data["inputs"].items()}
    last = {"inputs": last, "data_samples": tiny_data["data_samples"][3:]}
    alone = tiny_target.batch(last)
    assert len(set(together.ids)) == 4
    assert list(alone.ids) == [zlib.crc32(b"000003")] == list(together.ids[3:])
    starts = threat().random(together, 0)
    assert torch.equal(threat().random(alone, 0), starts[3:])


def test_nameless_frames_are_numbered_by_their_places(tiny_target, tiny_data):
    for sample in tiny_data["data_samples"]:
        del sample.frame_id
    assert len(set(tiny_target.batch(tiny_data).ids)) == 4


def test_the_layout_that_is_fast_changes_no_objective(tiny_target, tiny_batch):
    """Nor does an error leave the weights in it."""
    detector = tiny_target.detector
    convolution = next(p for p in detector.parameters() if p.ndim == 4)
    before, place = convolution.stride(), convolution.data_ptr()
    changed = {"camera": tiny_batch.inputs["camera"]}
    with torch.no_grad(), in_eval_mode(detector), detector.for_losses():
        victim = Victim(tiny_target, tiny_batch, ("camera",))
        plain = Goal().value(Query(victim, changed))
        with laid_out_for_speed(detector):
            assert convolution.is_contiguous(memory_format=torch.channels_last)
            victim = Victim(tiny_target, tiny_batch, ("camera",))
            fast = Goal().value(Query(victim, changed))
            assert torch.equal(Goal().value(Query(victim, changed)), fast)
    torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-5)
    with pytest.raises(KeyError), laid_out_for_speed(detector):
        raise KeyError
    assert (convolution.stride(), convolution.data_ptr()) == (before, place)
