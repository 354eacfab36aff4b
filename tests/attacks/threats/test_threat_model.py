"""Budgets by hand."""

import pytest
import torch
from attack_makers import SENSORS, made_batch

from perception.attacks import MapThreat


def threat(**fields) -> MapThreat:
    return MapThreat(**({"name": "t", "sensor": "camera", "eps": 16.0} | fields))


def test_box_is_budget_within_the_physical_range_and_nothing_in_padding():
    batch = made_batch()
    batch.inputs["camera"][0, :, 0, :3] = torch.tensor([5.0, 250.0, 300.0])
    low, high = threat().box(batch)
    assert low[0, 0, 0, :4].tolist() == [0, 234, 284, 84]
    assert high[0, 0, 0, :4].tolist() == [21, 255, 300, 116]
    assert (low[:, :, 6:] == 0).all() and (high[:, :, 6:] == 0).all()


def test_channels_without_a_budget_stay():
    low, high = threat(eps={"green": 2.0}).box(made_batch())
    assert (high - low)[0, :, 0, 0].tolist() == [0, 4, 0]


def test_each_budget_has_its_own_box_on_one_batch():
    batch = made_batch()
    assert threat(eps=1.0).box(batch)[1].max() == 101
    assert threat(eps=2.0).box(batch)[1].max() == 102
    assert threat(eps=1.0).box(batch)[1] is threat(eps=1.0).box(batch)[1]


def test_linf_step_and_projection():
    batch, t = made_batch(), threat()
    start = t.clean(batch)
    moved = t.step(start, torch.ones_like(start), torch.tensor([0.5, 2.0]), batch)
    assert moved[:, 0, 0, 0].tolist() == [108, 132]
    assert t.project(moved, batch)[:, 0, 0, 0].tolist() == [108, 116]
    assert (t.project(moved, batch)[:, :, 6:] == 0).all()


def test_l2_step_has_the_length_asked_for_and_projection_keeps_the_norm():
    batch, t = made_batch(), threat(norm="l2", eps=10.0)
    start = t.clean(batch)
    gradient = torch.zeros_like(start)
    gradient[:, 0, 0, 0], gradient[:, 1, 0, 0] = 3.0, 4.0
    moved = t.step(start, gradient, torch.tensor([0.5, 2.0]), batch)
    assert (moved - start)[:, :2, 0, 0].tolist() == [[3, 4], [12, 16]]
    kept = t.project(moved, batch) - start
    torch.testing.assert_close(
        kept[:, :2, 0, 0], torch.tensor([[3.0, 4.0], [6.0, 8.0]])
    )


def test_disparity_budget_by_hand():
    batch = made_batch()
    batch.inputs["depth"][0, 0, 0, :2] = torch.tensor([0.0, 60.0])
    t = threat(sensor="depth", eps=2.0, disparity=True)
    low, high = t.box(batch)
    # 100 px m at 20 m are 5 px: between 7 and 3 px; at 60 m beyond the range.
    assert low[0, 0, 0, 2] == pytest.approx(100 / 7)
    assert high[0, 0, 0, 2] == pytest.approx(100 / 3)
    assert high[0, 0, 0, 1] == 80
    assert low[0, 0, 0, 0] == high[0, 0, 0, 0] == 0
    clean = t.clean(batch)
    assert torch.equal(t.project(clean, batch), clean)


def test_no_disparity_budget_keeps_every_bit_of_the_depth():
    batch = made_batch()
    batch.inputs["depth"].uniform_(1, 80)
    t = threat(sensor="depth", eps=0.0, disparity=True)
    clean = t.clean(batch)
    assert torch.equal(t.project(clean, batch), clean)


def test_a_disparity_budget_needs_a_baseline():
    batch = made_batch(fx_baseline_px_m=None)
    with pytest.raises(ValueError, match="baseline"):
        threat(sensor="depth", eps=1.0, disparity=True).box(batch)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_random_draws_are_within_budget_and_the_same_in_any_batch(norm):
    t = threat(norm=norm)
    together = t.random(made_batch(3), 1)
    assert torch.equal(t.project(together, made_batch(3)), together) or norm == "l2"
    alone = t.random(made_batch(1, first_id=2), 1)
    assert torch.equal(together[2:], alone)
    wider = t.random(made_batch(1, padded=(8, 16), first_id=2), 1)
    torch.testing.assert_close(wider[..., :8], alone)
    assert not torch.equal(t.random(made_batch(3), 0), together)


def test_sensors_draw_different_numbers():
    batch = made_batch()
    first = threat(sensor="camera").generator(batch, 0, 0)
    second = threat(sensor="depth").generator(batch, 0, 0)
    assert first.initial_seed() != second.initial_seed()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"eps": -1.0}, "must not be negative"),
        ({"eps": float("nan")}, "must not be negative"),
        ({"eps": {"red": -0.1}}, "must not be negative"),
        ({"norm": "l1"}, "norm must be linf or l2"),
        ({"norm": "l2", "disparity": True}, "linf only"),
        ({"norm": "l2", "eps": float("inf")}, "finite"),
        ({"steps": 0}, "at least 1"),
        ({"restarts": 0}, "at least 1"),
    ],
)
def test_impossible_threats(fields, message):
    with pytest.raises(ValueError, match=message):
        threat(**fields)


def test_check_knows_sensors_and_channels():
    threat().check(SENSORS)
    with pytest.raises(ValueError, match=r"attacks 'radar'.*\['camera', 'depth'\]"):
        threat(sensor="radar").check(SENSORS)
    with pytest.raises(ValueError, match=r"channels \['hue'\]"):
        threat(eps={"hue": 1.0}).check(SENSORS)


def test_select_and_repeat_keep_frames_together():
    batch = made_batch(3, first_id=5)
    assert batch.select([2, 0]).ids == [7, 5]
    assert batch.repeat(1) is batch
    assert batch.repeat(2).ids == [5, 6, 7, 5, 6, 7]
