"""The past as a witness: carried by hand, bounded, and as a rig of two sensors."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_detectors import CONSENSUS, EXPERTS, NAMES, make_batch, make_detector

from perception.core.geometry import inverse_transform, project_to_image
from perception.core.parts import LeaveOut
from perception.models.consensus.history import (
    OLDEST_S,
    HistoryAggregator,
    Motion,
    Moving,
    Past,
    carried_objects,
    carried_outputs,
    followed,
    together,
)
from perception.models.history_detector import PAST, HistoryDetector
from perception.models.modes import frozen

CAMERA = np.array([[40.0, 0, 32, 0], [0, 40, 16, 0], [0, 0, 1, 0]])
STRIDES = (4, 8)
NEVER = dict(attribution_threshold=1e9, alarm_threshold=1e9)


def objects(*boxes, speed=(0.0, 0.0, 0.0), labels=None, scores=None) -> Moving:
    count = len(boxes)
    return Moving(
        boxes_px=torch.tensor(boxes, dtype=torch.float32).reshape(count, 4),
        labels=torch.zeros(count, dtype=torch.long) if labels is None else labels,
        scores=torch.arange(1.0, count + 1) if scores is None else scores,
        speed=torch.tensor(speed).repeat(count, 1),
    )


def ahead(metres: float, seconds: float = 0.1) -> Motion:
    """The camera moves forward; what is before it comes nearer."""
    turn = np.eye(4)
    turn[2, 3] = -metres
    return Motion(seconds=seconds, image_P_cam=CAMERA, now_T_before=turn)


def test_a_box_comes_nearer_by_hand():
    """2 m high and 8 px: 10 m away, its centre 5 m to the right; then 8 m away."""
    box = (32.5 + 20 - 2, 16.5 - 4, 32.5 + 20 + 2, 16.5 + 4)
    moved, there = carried_objects(objects(box), ahead(2.0), [2.0])
    expected = (32.5 + 25 - 2.5, 16.5 - 5, 32.5 + 25 + 2.5, 16.5 + 5)
    assert moved.boxes_px[0].tolist() == pytest.approx(expected) and there.all()


def test_speed_moves_and_grows_and_what_comes_too_near_is_gone():
    own = objects((10.0, 10, 20, 14), speed=(30.0, -10.0, math.log(2.0)))
    still = Motion(seconds=1.0, image_P_cam=CAMERA)
    moved, there = carried_objects(own, still, [2.0])
    assert moved.boxes_px[0].tolist() == pytest.approx([35, -2, 55, 6]) and there.all()
    _, there = carried_objects(objects((28.0, 6, 36, 26)), ahead(3.5), [2.0])
    assert not there.any()  # it was 4 m away


@settings(max_examples=50, deadline=None)
@given(
    depth_m=st.floats(5, 40),
    x_m=st.floats(-3, 3),
    yaw=st.floats(-0.1, 0.1),
    forward_m=st.floats(-1, 2),
)
def test_ego_motion_is_what_projection_says(depth_m, x_m, yaw, forward_m):
    """A static upright object of the class's height, seen before and after."""
    before_T_now = np.eye(4)
    before_T_now[:3, :3] = [
        [math.cos(yaw), 0, math.sin(yaw)],
        [0, 1, 0],
        [-math.sin(yaw), 0, math.cos(yaw)],
    ]
    before_T_now[2, 3] = forward_m
    turn = inverse_transform(before_T_now)
    camera = CAMERA.copy()
    camera[0, 3] = -20.0  # a camera beside the reference
    place_m = np.array([[x_m, 0.3, depth_m]])

    def box(place_m):
        pixel, depth = project_to_image(camera, place_m)
        centre, half = pixel[0] + 0.5, 40.0 * 1.7 / depth[0] / 2
        return (*(centre - half), *(centre + half))

    motion = Motion(seconds=0.1, image_P_cam=camera, now_T_before=turn)
    moved, there = carried_objects(objects(box(place_m)), motion, [1.7])
    after = box(place_m @ turn[:3, :3].T + turn[:3, 3])
    np.testing.assert_allclose(moved.boxes_px[0], after, atol=2e-3)
    assert there.all()


def outputs(value: float = -4.0):
    """One class, 4 x 8 and 2 x 4 locations."""
    sizes = ((4, 8), (2, 4))
    return (
        [torch.full((1, 1, *size), value) for size in sizes],
        [torch.full((1, 4, *size), 3.0) for size in sizes],
        [torch.zeros(1, 1, *size) for size in sizes],
    )


def test_outputs_move_with_their_box_by_hand():
    """A box of 8 x 8 px moves one location to the right and grows not at all."""
    said = outputs()
    said[0][0][0, 0, 1:3, 1:3] = 2.0
    said[1][0][0, :, 1:3, 1:3] = 5.0
    before, after = objects((4.0, 4, 12, 12)), objects((8.0, 4, 16, 12))
    there = torch.tensor([True])
    moved = carried_outputs(said, before, after, there, STRIDES)
    row = moved[0][0][0, 0, 1]
    assert row.tolist() == pytest.approx([-4, -4, 2, 2, -4, -4, -4, -4])
    assert moved[1][0][0, 0, 1, 2:4].tolist() == pytest.approx([5, 5])
    gone = carried_outputs(said, before, after, ~there, STRIDES)
    assert gone[0][0].max() == -4  # it has left, and nothing is where it was


def test_sides_grow_with_their_box_and_stay_its_sides():
    """Locations of a box that doubles around its centre say its new sides."""
    said = outputs()
    x = (torch.arange(8) + 0.5) * 4
    y = (torch.arange(4) + 0.5)[:, None] * 4
    sides = [x - 4 + 0 * y, y - 4 + 0 * x, 28 - x + 0 * y, 12 - y + 0 * x]
    said[1][0] = torch.stack(sides)[None]
    before, after = objects((4.0, 4, 28, 12)), objects((-8.0, 0, 40, 16))
    moved = carried_outputs(said, before, after, torch.tensor([True]), STRIDES)
    left, _, right, bottom = moved[1][0][0]
    inner = slice(1, 3), slice(2, 6)  # sampled within the former box's locations
    torch.testing.assert_close((x - left)[inner], torch.full((2, 4), -8.0))
    torch.testing.assert_close((y + bottom)[inner], torch.full((2, 4), 16.0))
    torch.testing.assert_close((x + right)[inner], torch.full((2, 4), 40.0))


def test_velocity_is_learned_from_residuals_of_the_same_class():
    old = objects((0.0, 0, 10, 10), speed=(10.0, 0.0, 0.0))
    new = objects((2.0, 0, 12, 10), (0.0, 0, 10, 10), labels=torch.tensor([0, 1]))
    speed = followed(old, new, 0.1).speed
    assert speed[0].tolist() == pytest.approx([10 + 0.3 * 2 / 0.1, 0, 0])
    assert speed[1].tolist() == [0, 0, 0]
    assert followed(None, new, 0.1).speed.eq(0).all()


def test_what_a_sensor_and_the_past_say():
    alone, past = outputs(-2.0), outputs(2.0)
    past[1][0][:] = 9.0
    made = together(alone, past, 0.25)
    assert made[0][0].unique().item() == pytest.approx(-1.0)
    sure, sure_past = 0.75 / (1 + math.exp(2)), 0.25 / (1 + math.exp(-2))
    weight = sure_past / (sure + sure_past)
    assert made[1][0].unique().item() == pytest.approx(3 + weight * 6)
    past[0][0][:] = math.nan
    made = together(alone, past, 0.25)
    assert torch.equal(made[0][0], alone[0][0])
    assert torch.equal(made[1][0], alone[1][0])


def test_a_past_ages_and_is_dropped():
    past = Past(said=outputs(), objects=objects((4.0, 4, 12, 12)))
    later = past.carried(ahead(0.1, 0.4), strides=STRIDES, heights_m=[2.0])
    assert later.age_s == pytest.approx(0.4) and past.age_s == 0
    old = ahead(0.1, OLDEST_S - 0.3)
    assert later.carried(old, strides=STRIDES, heights_m=[2.0]) is None
    with pytest.raises(ValueError, match="lowering"):
        HistoryAggregator(sensors="abc", lowering=-1.0)


def rig(without: str = "sonar", gate=NEVER, **more) -> HistoryDetector:
    """Thermal camera and radar of a tiny detector of three sensors."""
    made = make_detector(NAMES[:3], aggregator=CONSENSUS, **EXPERTS).eval()
    made.dataset_meta = {"classes": ("a", "b")}
    with torch.no_grad():
        made.bbox_head.conv_cls.weight.mul_(30.0)  # say something
    arguments = dict(gate=gate, heights_m=[1.7, 1.7]) | more
    return HistoryDetector(made, without=without, **arguments)


def look(detector, packed=None):
    batch = make_batch()
    sample = batch["data_samples"][0]
    sample.set_metainfo({"image_P_cam": CAMERA})
    inputs = detector.data_preprocessor(batch, False)
    said = dict(inputs["inputs"])
    locations = 8 * 16 + 4 * 8
    said[PAST] = detector.packed(None, locations)[None] if packed is None else packed
    return said, inputs["data_samples"]


def test_the_rig_of_two_needs_neither_data_nor_weights_of_the_third():
    detector = rig()
    assert list(detector.sensors) == ["thermal", "radar", PAST]
    inputs, samples = look(detector)
    assert "sonar" not in inputs
    first = detector.fuse(detector.extract_feat(inputs), None, samples)
    with torch.no_grad():
        for parameter in detector.detector.branches["sonar"].parameters():
            parameter.fill_(math.nan)
    again = detector.fuse(detector.extract_feat(inputs), None, samples)
    assert torch.equal(first.outputs[0][0], again.outputs[0][0])


@pytest.mark.parametrize("wrong", [dict(without="eyes"), dict(heights_m=[1.7])])
def test_detectors_that_cannot_have_a_history(wrong):
    with pytest.raises(ValueError, match=r"history|heights_m"):
        rig(**wrong)
    plain = make_detector(NAMES[:3])
    with pytest.raises(ValueError, match="OddOneOutFusion"):
        HistoryDetector(plain, without="sonar", gate={}, heights_m=[1.7, 1.7])


@torch.no_grad()
def past_of(detector):
    """What is said of a frame, and it as the past of the next one."""
    inputs, samples = look(detector)
    output = detector.fuse(detector.extract_feat(inputs), None, samples)
    past = detector.renewed(None, output, 0, 0.1)
    return output, detector.carried(past, ahead(0.2)), samples


def test_a_past_goes_in_as_it_came_out():
    detector = rig()
    _, carried, _ = past_of(detector)
    assert carried.age_s == pytest.approx(0.1) and len(carried.objects.boxes_px) > 0
    packed = detector.packed(carried, 160)[None]
    inputs, samples = look(detector, packed)
    said = detector.fuse(detector.extract_feat(inputs), None, samples)
    for kind, then in zip(said.branches[2], carried.said, strict=True):
        for level, expected in zip(kind, then, strict=True):
            assert torch.equal(level, expected)
    assert said.ages_s.tolist() == pytest.approx([0.1])
    with frozen(detector):  # heads answer in strides
        training = detector.fuse(detector.extract_feat(inputs), None, samples)
        sides = training.branches[2][1]
    torch.testing.assert_close(sides[1] * 8, carried.said[1][1])


@pytest.mark.parametrize("lie", [math.nan, -1e4, 1e4], ids=["nan", "hide", "loud"])
@torch.no_grad()
def test_a_past_that_lies_is_bounded_by_what_the_sensors_say(lie):
    detector = rig()
    _, carried, _ = past_of(detector)
    packed = detector.packed(carried, 160)[None]
    inputs, samples = look(detector, packed)
    honest = detector.fuse(detector.extract_feat(inputs), None, samples)
    low, high = honest.bounds(PAST)
    lying = packed.clone()
    lying[:, :7] = lie
    inputs[PAST] = lying
    said = detector.fuse(detector.extract_feat(inputs), None, samples)
    for least, most, kind in zip(low, high, said.outputs, strict=True):
        for x, y, level in zip(least, most, kind, strict=True):
            assert level.isfinite().all()
            assert (level >= x - 1e-4).all() and (level <= y + 1e-4).all()


@torch.no_grad()
def test_without_a_past_the_gate_blames_it_and_the_answer_is_plain_fusion():
    gate = dict(mean=[[-3.0, -2.0]] * 3, deviation=[[0.1, 0.1]] * 3)
    detector = rig(gate=gate)
    inputs, samples = look(detector)
    output = detector.fuse(detector.extract_feat(inputs), None, samples)
    assert output.attributed.tolist() == [2]
    assert torch.equal(output.outputs[0][0], output.experts[3][0][0])
    told = detector.fuse(detector.extract_feat(inputs), LeaveOut("radar"), samples)
    assert torch.equal(told.outputs[0][0], told.branches[0][0][0])
    with pytest.raises(ValueError, match="sonar"):
        detector.fuse(detector.extract_feat(inputs), LeaveOut("sonar"), samples)


@torch.no_grad()
def test_a_damaged_answer_leaves_the_past_as_it_is():
    detector = rig()
    output, carried, _ = past_of(detector)
    output.remembered[0][0][:] = math.nan
    assert detector.renewed(carried, output, 0, 0.1) is carried
    assert detector.renewed(None, output, 0, 0.1) is None


@settings(max_examples=60, deadline=None)
@given(
    lidar=st.lists(st.floats(-8, 8), min_size=1, max_size=6),
    camera=st.lists(st.floats(-50, 50), min_size=12, max_size=12),
    start=st.floats(-8, 8),
    lowering=st.sampled_from([0.0, 2.5]),
)
def test_how_far_a_patient_attacker_of_the_camera_drags(lidar, camera, start, lowering):
    """One location that stays: the bound of the module's docstring, frame by frame."""
    made = HistoryAggregator(
        sensors=("camera", "lidar", PAST), lowering=lowering, gate=NEVER
    ).eval()
    seconds, answer = 0.1, start
    less = lowering * seconds
    for k, own in enumerate(lidar, start=1):
        lie, fused = camera[2 * k - 2], camera[2 * k - 1]
        branches = [one_number(x) for x in (lie, own, answer)]
        past = answer - less
        experts = [0.5 * (own + past), 0.5 * (lie + past), fused, fused]
        said = _Said(branches, [one_number(x) for x in experts])
        verdict = made.judge(branches)
        high = max(start, *lidar[:k])
        assert made.combine(verdict, said)[0][0].item() <= high + 1.0 + 1e-4  # slack
        answer = made.remembered(verdict, said)[0][0].item()
        trace = [lidar[k - 1 - j] - j * less for j in range(k)]
        assert answer >= min(start - k * less, *trace) - 1e-4
        assert answer <= high + 1e-4


class _Said:
    def __init__(self, branches, experts):
        self.branches, self.experts, self.fused = branches, experts, None
        self.ages_s = torch.tensor([0.1])


def one_number(value: float):
    logit = torch.full((1, 1, 1, 1), float(value))
    return ([logit], [logit.abs()])
