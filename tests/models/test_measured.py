"""What sensors measure of depth: by hand, in heads, and who gets to see it."""

import math

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from tiny_detectors import (
    CONSENSUS,
    EXPERTS,
    FCOS,
    MEDIAN,
    NAMES,
    make_batch,
    make_detector,
    make_sample,
)

from perception.core.parts import LeaveOut
from perception.core.structures import SensorSpec
from perception.models.heads.fcos_3d import FCOS3DHead
from perception.models.measured import (
    CHANNELS,
    QUARTERS,
    UNIT_M,
    MeasuredDepths,
    measured_depths,
    nearest_to_expected,
)

SENSORS = NAMES[:3]  # thermal, an image, and radar and sonar, which measure depth
METRIC = dict(FCOS, type="FCOS3DHead", mean_sizes_m=((1.5, 2, 4), (1.8, 0.6, 1)))
CAMERA = np.array([[100.0, 0, 32, 0], [0, 100, 16, 0], [0, 0, 1, 0]])
TARGETS = [[42.5, 16.5, 10, 1.5, 2, 4, 0.2], [7.5, 16.5, 8, 1.8, 0.6, 1, -1.0]]


def spec_of(*channels, kind="depth", columns=()):
    config = dict(kind=kind, channels=channels, columns=columns)
    return SensorSpec.from_config("any", config)


def sample():
    one = make_sample(image_P_cam=CAMERA)
    one.gt_instances = InstanceData(
        bboxes=one.gt_instances.bboxes,
        labels=one.gt_instances.labels,
        targets_3d=torch.tensor(TARGETS),
    )
    return one


@pytest.mark.parametrize(
    "spec, channel",
    [
        (spec_of(("range", "m", 0.0, 80.0)), 0),  # whatever its name is
        (spec_of(("depth_m", "m/s", 0.0, 80.0)), None),
        (spec_of(("up", "m", -3.0, 3.0), ("far", "m", 0.0, 9.0)), 1),
        (spec_of(("depth_m", "m", 0.0, 80.0), kind="image"), None),
        (
            spec_of(
                ("height_m", "m", -3.0, 3.0),
                ("depth_m", "m", 0.0, 80.0),
                kind="points",
                columns=("x", "y", "z"),
            ),
            1,
        ),
        (
            spec_of(
                *((axis, "m", 0.0, 80.0) for axis in "xyz"),
                kind="points",
                columns=("x", "y", "z"),
            ),
            None,  # a table, no drawing
        ),
    ],
)
def test_units_say_which_channel_is_a_depth(spec, channel):
    assert spec.depth_channel == channel


def test_quarters_by_hand():
    """One location of 4 x 4 px: returns of 10 m in one pixel of two of its quarters."""
    image = torch.zeros(1, 1, 4, 4)
    image[0, 0, 0, 1], image[0, 0, 2, 2] = 10.0, 20.0
    (level,) = measured_depths(
        image, spec_of(("d", "m", 0.0, 80.0)), (torch.zeros(1, 8, 1, 1),)
    )
    logs, shares = level.reshape(2, 4, 4)
    expected = torch.zeros(4, 4)
    expected[1, 1], expected[2, 2] = math.log(10 / 16) / 4, math.log(20 / 16) / 4
    torch.testing.assert_close(logs, expected)
    torch.testing.assert_close(shares, (expected != 0) / 4.0)


def test_no_step_hides_a_gradient_and_nothing_is_infinite():
    image = torch.tensor([0.0, 0.5, 5.0, 90.0, -2.0, math.nan, math.inf, 3.0])
    image = image.view(1, 1, 2, 4).requires_grad_()
    (level,) = measured_depths(
        image, spec_of(("d", "m", 0.0, 80.0)), (torch.zeros(1, 8, 1, 2),)
    )
    assert level.isfinite().all()
    (slope,) = torch.autograd.grad(level.sum(), image)
    assert (slope.flatten()[:3] != 0).all()  # also where there is no return yet


def test_who_does_not_see_a_sensor_gets_zeros():
    level = torch.full((2, CHANNELS, 1, 1), 3.0)
    depths = MeasuredDepths({"a": (level,), "b": (level,)})
    features = (torch.ones(2, 4, 1, 1),)
    (seen,) = depths.beside(features, {"b": True, "a": False, "camera": True})
    assert seen.shape == (2, 4 + 2 * CHANNELS, 1, 1)
    assert not seen[:, 4 : 4 + CHANNELS].any() and (seen[:, -CHANNELS:] == 3).all()
    half = torch.tensor([0.0, 0.5]).view(2, 1, 1, 1)
    (seen,) = depths.beside(features, {"a": half, "b": True})
    assert seen[:, 4].flatten().tolist() == [0.0, 1.5]
    assert MeasuredDepths({}).beside(features, {}) is features


def test_measured_depths_are_weighed_by_hand():
    """Of what is expected, 10 m and 30 m, 1 : 2 : 1; then as near as can be."""
    quarters = 2 * QUARTERS
    choice = torch.full((1, 1 + quarters + 2, 1, 1), -90.0)  # so nothing is lost
    logits = torch.tensor([0.25, 0.5, 0.25]).log()
    choice[0, [0, 1, 1 + QUARTERS], 0, 0] = logits
    expected = choice[0, 1 + quarters] = math.log(11 / UNIT_M)
    first, second = math.log(10 / UNIT_M), math.log(30 / UNIT_M)
    measured = torch.zeros(1, 2 * CHANNELS, 1, 1)

    def near():
        return nearest_to_expected(choice, measured).item()

    assert near() == pytest.approx(expected, abs=1e-3)  # nothing is measured
    measured[0, [0, QUARTERS], 0, 0] = torch.tensor([0.5 * first, 0.5])
    mean = (0.25 * expected + 0.25 * first) / 0.5  # half of the pixels count half
    assert near() == pytest.approx(mean, abs=1e-3)
    for log, value in ((0, first), (CHANNELS, second)):
        measured[0, [log, log + QUARTERS], 0, 0] = torch.tensor([value, 1.0])
    mean = 0.25 * expected + 0.5 * first + 0.25 * second
    assert near() == pytest.approx(mean, abs=1e-3)
    choice[0, 0], choice[0, -1] = -90.0, 90.0  # 30 m is far from 11 m
    assert near() == pytest.approx(first, abs=1e-3)


def test_the_head_s_mean_depth_is_where_its_numbers_begin():
    """Nothing but what is expected, 16 m: the logarithm of 16 m over 8 m."""
    arguments = {k: v for k, v in METRIC.items() if k != "type"}
    head = FCOS3DHead(**arguments, mean_depth_m=8.0, depth_maps=1)
    for layer in (head.conv_metric, head.conv_choice):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    pyramid = tuple(torch.zeros(1, 8 + CHANNELS, *size) for size in ((4, 8), (2, 4)))
    for level in head(pyramid)[3]:
        assert level[:, 2].unique().item() == pytest.approx(math.log(2), abs=1e-3)


def built(**arguments):
    arguments = dict(branch_head=METRIC, head=METRIC) | arguments
    detector = make_detector(SENSORS, **arguments).eval()
    data = detector.data_preprocessor(make_batch([sample(), sample()]))
    return detector, data["inputs"], data["data_samples"]


def test_each_prediction_sees_the_depths_of_its_own_sensors():
    """Measured depths alone are changed: no features tell of it."""
    detector, inputs, samples = built(**EXPERTS, aggregator=CONSENSUS)
    with torch.no_grad():
        clean = detector.extract_feat(inputs)
        levels = len(clean["sonar"]) // 2
        assert len(clean["thermal"]) == levels
        moved = tuple(x + 1 for x in clean["sonar"][levels:])
        lied = clean | {"sonar": clean["sonar"][:levels] + moved}
        before, after = (detector.fuse(p, samples=samples) for p in (clean, lied))

    def same(one, other):
        pairs = [zip(a, b, strict=True) for a, b in zip(one, other, strict=True)]
        return [all(torch.equal(x, y) for x, y in pair) for pair in pairs]

    as_before = [
        same(*pair) for pair in zip(before.branches, after.branches, strict=True)
    ]
    assert as_before == [[True] * 5, [True] * 5, [True] * 3 + [False] * 2]
    changed = [
        not all(same(*x)) for x in zip(before.experts, after.experts, strict=True)
    ]
    assert changed == [True, True, False, True]  # without thermal, radar, sonar; all


@pytest.mark.parametrize("aggregator", [CONSENSUS, MEDIAN, MEDIAN | {"gate": {}}])
def test_bounds_in_metres_hold_whatever_a_depth_sensor_measures(aggregator):
    detector, inputs, samples = built(**EXPERTS, aggregator=aggregator)
    if detector.aggregator.gate is not None:
        detector.aggregator.gate.mean += 20  # nobody is left out

    def said(inputs):
        with torch.no_grad():
            return detector.fuse(detector.extract_feat(inputs), samples=samples)

    clean = said(inputs)
    for sensor in ("radar", "sonar"):
        low, high = clean.bounds(sensor)
        assert all(level.isfinite().all() for level in low[3])
        for lie in (0.0, 3.0, math.nan):
            mad = inputs | {sensor: torch.full_like(inputs[sensor], lie)}
            for kind, levels in enumerate(said(mad).outputs):
                for n, level in enumerate(levels):
                    assert (level >= low[kind][n] - 1e-5).all(), (sensor, lie, kind)
                    assert (level <= high[kind][n] + 1e-5).all(), (sensor, lie, kind)


@pytest.mark.parametrize("gate", [None, "global"])
def test_who_is_left_out_is_not_measured_either(gate):
    """By the aggregator, and by a fusion that decides by itself."""
    aggregator = None if gate else MEDIAN
    detector, inputs, samples = built(
        fusion="OddOneOutFusion", gate=gate, aggregator=aggregator
    )
    mad = inputs | {"sonar": torch.full_like(inputs["sonar"], math.nan)}
    told = LeaveOut("sonar")
    with torch.no_grad():
        clean, other = (
            detector.fuse(detector.extract_feat(x), told, samples).fused
            for x in (inputs, mad)
        )
    for kind, same in zip(clean, other, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(kind, same, strict=True))


@pytest.mark.parametrize("gate", ["global", "spatial"])
def test_a_fusion_s_own_gate_counts_for_depths_too(gate):
    detector, inputs, samples = built(fusion="OddOneOutFusion", gate=gate)
    logits = detector.fusion.decide.bias
    with torch.no_grad():
        logits[:] = torch.tensor([0.0, 0.0, 50.0, 0.0])  # sonar is compromised
        output = detector.fuse(detector.extract_feat(inputs), samples=samples)
        seen = output._seen(output._features)
    shares = [seen[name].mean().item() for name in SENSORS]
    assert shares == pytest.approx([1, 1, 0], abs=1e-6)


def test_a_camera_alone_measures_nothing():
    detector, inputs, _ = built(branch_head=None)
    assert detector.bbox_head.depth_maps == 2
    alone = make_detector(("thermal",), head=METRIC, fusion=None)
    assert alone.bbox_head.depth_maps == 0 and alone.bbox_head.conv_choice is None
    assert len(alone.encode("thermal", inputs["thermal"])) == 2


def test_image_boxes_ask_nobody_for_depths():
    detector = make_detector(SENSORS, head=FCOS)
    data = detector.data_preprocessor(make_batch())
    assert len(detector.encode("sonar", data["inputs"]["sonar"])) == 2


def trained(detector, inputs, samples, steps=2):
    detector.train()
    weights = [p for p in detector.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(weights, 1e-2)
    for _ in range(steps):
        total, _ = detector.parse_losses(detector(inputs, samples, mode="loss"))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    return detector.eval()


@pytest.mark.parametrize("aggregator", [None, CONSENSUS])
def test_freeze_2d_trains_the_metric_layers_alone(aggregator):
    """The same image boxes to the last bit, other boxes in metres."""
    fusion = EXPERTS if aggregator else dict(fusion="ConcatFusion")
    detector, inputs, samples = built(**fusion, aggregator=aggregator, freeze_2d=True)
    before = {name: x.clone() for name, x in detector.state_dict().items()}
    with torch.no_grad():
        clean = detector.fuse(detector.extract_feat(inputs), samples=samples).outputs
    names = set(detector.loss(inputs, samples))
    trained(detector, inputs, samples)
    assert {"loss_cls", "loss_depth"} <= names  # but for training
    assert "loss_cls" not in detector.train().loss(inputs, samples)
    detector.eval()
    for name, value in detector.state_dict().items():
        learnt = any(word in name for word in ("metric", "conv_choice"))
        head = "branch_head" if aggregator is None else "nobody"  # has no loss
        if not name.startswith(head):
            assert torch.equal(value, before[name]) == (not learnt), name
    with torch.no_grad():
        now = detector.fuse(detector.extract_feat(inputs), samples=samples).outputs
    for kind, (one, other) in enumerate(zip(clean, now, strict=True)):
        same = all(torch.equal(x, y) for x, y in zip(one, other, strict=True))
        assert same == (kind < 3)


def test_without_it_all_is_trained():
    detector, inputs, samples = built()
    before = detector.bbox_head.conv_cls.weight.clone()
    trained(detector, inputs, samples)
    assert not torch.equal(detector.bbox_head.conv_cls.weight, before)


def test_freeze_2d_needs_a_head_in_metres():
    with pytest.raises(ValueError, match="FCOS3DHead"):
        built(head=FCOS, branch_head=None, freeze_2d=True)
