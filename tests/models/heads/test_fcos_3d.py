"""Boxes in metres: what locations say, by hand, and what FCOS says beside it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from tiny_detectors import FCOS, MEDIAN, make_batch, make_detector, make_sample

from perception.core.structures import Objects
from perception.models.heads.fcos_3d import FCOS3DHead
from perception.models.heads.fcos_frame_losses import (
    can_take_frames_at_once,
    fcos_frame_losses,
)
from perception.models.heads.metric_boxes import MetricCode, in_metres

MEANS = ((1.5, 2.0, 4.0), (1.8, 0.6, 1.0))
METRIC = dict(FCOS, type="FCOS3DHead", mean_sizes_m=MEANS)
CAMERA = torch.tensor([[100.0, 0, 50, 0], [0, 100, 30, 0], [0, 0, 1, 0]])
TEST_CFG = ConfigDict(
    nms_pre=50,
    score_thr=0.0,
    nms=dict(type="nms", iou_threshold=0.5),
    max_per_img=5,
)
# 3D centre (2, 1, 20) m: 100 * 2 / 20 + 50 px and half a pixel; 1.5 m high.
TARGET = torch.tensor([[60.5, 35.5, 20.0, 1.5, 2.0, 4.0, 0.25]])
PLACE = torch.tensor([[58.5, 31.5]]), torch.tensor([4.0])
SIZES = ((8, 16), (4, 8))  # of the levels of a 32 x 64 px image at strides 4 and 8


def encode(code, target=TARGET):
    return code.encode(target, torch.tensor([0]), *PLACE)


def decode(code, numbers, camera):
    return code.decode(*numbers, torch.tensor([0]), *PLACE, camera[None])[0]


def zoomed(factor):
    return torch.diag(torch.tensor([factor, factor, 1.0])) @ CAMERA


def test_numbers_by_hand():
    numbers, direction = encode(MetricCode(mean_sizes_m=MEANS))
    expected = [0.5, 1.0, np.log(20 / 16), 0, 0, 0]
    np.testing.assert_allclose(numbers[0], expected, atol=1e-6)
    np.testing.assert_allclose(direction[0], [np.cos(0.25), np.sin(0.25)], rtol=1e-6)


def test_a_box_by_hand():
    code = MetricCode(mean_sizes_m=MEANS)
    box = decode(code, encode(code), CAMERA)
    # The bottom is half the height below the centre; yaw is alpha + atan2(2, 20).
    yaw = 0.25 + np.arctan2(2, 20)
    np.testing.assert_allclose(box, [2, 1.75, 20, 1.5, 2, 4, yaw], rtol=1e-5)


def test_zoom_and_points_metres_stay():
    """Points say 20 m however the image is zoomed: so does the number."""
    code = MetricCode(mean_sizes_m=MEANS)
    depth = float(np.log(20 / 16))
    numbers = torch.tensor([[0, 0, depth, 0, 0, 0]]), torch.tensor([[1.0, 0]])
    for camera in (CAMERA, zoomed(1.25)):
        assert decode(code, numbers, camera)[2] == pytest.approx(20, rel=1e-5)


def test_zoom_and_an_image_alone_depth_is_in_focal_lengths():
    """A picture that shows an object at 16 m means 20 m if it was zoomed by 1.25."""
    code = MetricCode(mean_sizes_m=MEANS)
    seen = torch.zeros(2, 6)
    metres = in_metres(seen, torch.tensor([100.0, 125.0]), 100.0)
    assert metres[:, 2].tolist() == pytest.approx([0, np.log(1.25)])
    assert not metres[:, [0, 1, 3, 4, 5]].any()
    for row, camera, depth_m in zip(metres, (1, 1.25), (16, 20), strict=True):
        numbers = row[None], torch.tensor([[1.0, 0]])
        box = decode(code, numbers, zoomed(camera))
        assert box[2] == pytest.approx(depth_m, rel=1e-5)


@pytest.mark.parametrize("sensor, factor", [("thermal", 1.25), ("sonar", 1.0)])
def test_each_branch_says_metres(sensor, factor):
    """What a branch says of a zoomed frame: an image's depth is that much farther."""
    head = dict(METRIC, focal_px=100.0)
    detector = make_detector((sensor,), head=head, fusion=None).eval()
    samples = [make_sample(image_P_cam=zoomed(z).numpy()) for z in (1.0, 1.25)]
    data = detector.data_preprocessor(make_batch(samples))
    pyramids = detector.extract_feat(data["inputs"])
    usual = detector.fuse(pyramids).outputs[3][0]
    told = detector.fuse(pyramids, samples=data["data_samples"]).outputs[3][0]
    further = torch.zeros(2, 6)
    further[1, 2] = np.log(factor)
    torch.testing.assert_close(told - usual, further[..., None, None].expand_as(usual))


def test_branch_predictions_say_metres_before_they_are_compared():
    head = dict(METRIC, focal_px=100.0)
    detector = make_detector(head=head, fusion=None, aggregator=MEDIAN).eval()
    samples = [make_sample(image_P_cam=zoomed(1.25).numpy())]
    data = detector.data_preprocessor(make_batch(samples))
    pyramids = detector.extract_feat(data["inputs"])
    usual, told = (
        detector.fuse(pyramids, samples=known).branches
        for known in ((), data["data_samples"])
    )
    change = [
        (after[3][0] - before[3][0])[:, 2].mean().item()
        for before, after in zip(usual, told, strict=True)
    ]  # of an image, of points, of a depth map
    assert change == pytest.approx([np.log(1.25), 0, 0], abs=1e-6)


def test_a_mirrored_image():
    """The picture shows pi - alpha; the box in metres stays where it was."""
    code = MetricCode(mean_sizes_m=MEANS)
    mirror = torch.tensor([[-1.0, 0, 99], [0, 1, 0], [0, 0, 1]]) @ CAMERA
    target = TARGET.clone()
    target[0, 0], target[0, 6] = 99 - 60 + 0.5, np.pi - 0.25
    box = decode(code, encode(code, target), mirror)
    np.testing.assert_allclose(
        box, [2, 1.75, 20, 1.5, 2, 4, 0.25 + np.arctan2(2, 20)], rtol=1e-5
    )


@given(
    where=st.tuples(st.floats(-8, 8), st.floats(-1, 2), st.floats(3, 60)),
    alpha=st.floats(-3.1, 3.1),
)
def test_what_is_encoded_is_decoded(where, alpha):
    code = MetricCode(mean_sizes_m=MEANS)
    camera = CAMERA.double()
    camera[:, 3] = torch.tensor([4.0, 0.1, 0.003])  # as KITTI's
    x, y, z = where
    u, v, w = (camera @ torch.tensor([x, y, z, 1.0], dtype=torch.float64)).tolist()
    row = [u / w + 0.5, v / w + 0.5, z, 1.7, 2.1, 3.9, alpha]
    numbers = encode(code, torch.tensor([row], dtype=torch.float64))
    box = decode(code, numbers, camera)
    turn = float(box[6]) - alpha - np.arctan2(x, z)
    np.testing.assert_allclose(box[:6], [x, y + 0.85, z, 1.7, 2.1, 3.9], atol=1e-6)
    assert np.cos(turn) == pytest.approx(1)


def make_head(**changed):
    torch.manual_seed(0)
    head = MODELS.build(METRIC | changed)
    head.test_cfg = TEST_CFG
    return head


def truth_of(*rows):
    """Two objects of 32 x 64 px; rows of what is known of them in space."""
    return InstanceData(
        bboxes=torch.tensor([[4.0, 4, 20, 28], [30, 6, 60, 26]]),
        labels=torch.tensor([0, 1]),
        targets_3d=torch.tensor(rows),
    )


KNOWN = [12.0, 16.0, 20.0, 1.5, 2.0, 4.0, 0.25], [45, 16, 9.0, 1.7, 0.5, 1.1, -2.0]
UNKNOWN = [float("nan")] * 7
META = dict(image_P_cam=CAMERA.numpy(), img_shape=(32, 64), scale_factor=(1.0, 1.0))


def features(seed=0, frames=2):
    torch.manual_seed(seed)
    return tuple(torch.randn(frames, 8, *size) for size in SIZES)


def perfect(head, truth):
    """Outputs in eval mode that say what is true, at each object's locations."""
    outputs = [list(kind) for kind in head.eval()(features(frames=1))]
    points, strides = head._grid(outputs[0])
    number, sides = head.assigned(points.split([128, 32]), [truth])
    own = number[0].clamp(min=0)
    said, facing = head.code.encode(
        truth.targets_3d[own], truth.labels[own], points, strides
    )
    right = (
        torch.nn.functional.one_hot(truth.labels[own], 2) * (number[0] >= 0)[:, None]
    )
    box = sides[0] * strides[:, None]
    kinds = 20 * right - 10.0, box, torch.zeros(160, 1), said, facing

    def levels(flat):
        parts = flat.split([128, 32])
        return [
            part.T.reshape(1, -1, *size)
            for part, size in zip(parts, SIZES, strict=True)
        ]

    return tuple(levels(kind) for kind in kinds)


def test_beside_it_fcos_stays_what_it_is():
    """The same weights, losses, boxes and scores to the last bit."""
    torch.manual_seed(0)
    plain = MODELS.build(FCOS)
    plain.test_cfg = TEST_CFG
    head = make_head()
    head.load_state_dict(plain.state_dict(), strict=False)
    metas, truth = [META, META], [truth_of(*KNOWN), truth_of(*KNOWN)]
    losses = head.train().loss_by_feat(*head(features()), truth, metas)
    for name, value in (
        plain.train().loss_by_feat(*plain(features()), truth, metas).items()
    ):
        assert torch.equal(losses[name], value)
    plain.eval(), head.eval()
    ours = head.predict_by_feat(*head(features()), metas)
    theirs = plain.predict_by_feat(*plain(features()), batch_img_metas=metas)
    for one, other in zip(ours, theirs, strict=True):
        assert len(other) == 5
        for name in ("bboxes", "scores", "labels"):
            assert torch.equal(one[name], other[name])
        assert one.boxes_3d.shape == (5, 7)


def test_what_is_right_costs_nothing_and_what_is_wrong_by_hand():
    head, truth = make_head(), truth_of(*KNOWN)
    outputs = perfect(head, truth)
    head.train()
    losses = head.loss_by_feat(*outputs, [truth], [META])
    names = ["loss_centre", "loss_depth", "loss_size", "loss_angle"]
    assert [float(losses[n]) for n in names] == pytest.approx([0] * 4, abs=1e-5)
    for level, facing in zip(outputs[3], outputs[4], strict=True):
        level[:, 0] += 0.5
        level[:, 2] -= 0.1
        level[:, 3:] += 0.2
        facing *= -1
    losses = head.loss_by_feat(*outputs, [truth], [META])
    expected = [0.5 * 0.5, 5 * 0.1, 2 * 3 * 0.2, 2.0]
    assert [float(losses[n]) for n in names] == pytest.approx(expected, rel=1e-5)


def test_what_is_right_is_predicted():
    head, truth = make_head(), truth_of(*KNOWN)
    (found,) = head.predict_by_feat(*perfect(head, truth), [META])
    found = found[found.scores > 0.1]
    assert sorted(found.labels.tolist()) == [0, 1]
    for one, label in zip(found.boxes_3d, found.labels, strict=True):
        u, v, z, *size, alpha = KNOWN[label]
        x, y = (u - 50.5) * z / 100, (v - 30.5) * z / 100 + size[0] / 2
        yaw = np.arctan2(x, z) + alpha
        np.testing.assert_allclose(one, [x, y, z, *size, yaw], rtol=1e-4)


def test_objects_without_a_3d_label_count_in_the_image_only():
    head = make_head().train()
    said = head(features(frames=1))
    both = head.loss_by_feat(*said, [truth_of(*KNOWN)], [META])
    none = head.loss_by_feat(*said, [truth_of(UNKNOWN, UNKNOWN)], [META])
    one = head.metric_losses(*said[3:], [truth_of(KNOWN[0], UNKNOWN)])
    two = head.metric_losses(*said[3:], [truth_of(*KNOWN)])
    for name in ("loss_cls", "loss_bbox", "loss_centerness"):
        assert torch.equal(both[name], none[name])
    assert [none[n].item() for n in none][3:] == [0, 0, 0, 0]
    assert 0 < len(one[0]) < len(two[0])
    sum(none.values()).backward()
    assert not head.conv_metric.weight.grad.any()


def test_frames_without_objects():
    head = make_head().train()
    nothing = truth_of(*KNOWN)[:0]
    losses = head.loss_by_feat(*head(features(frames=1)), [nothing], [META])
    assert all(torch.isfinite(value) for value in losses.values())


def test_gradients_reach_the_sensors_and_every_new_layer():
    detector = make_detector(head=METRIC)
    samples = [make_sample(image_P_cam=CAMERA.numpy())]
    samples[0].gt_instances = truth_of(*KNOWN)
    data = detector.data_preprocessor(make_batch(samples))
    losses = detector.loss(data["inputs"], data["data_samples"])
    (losses["loss_depth"] + losses["loss_angle"]).backward()
    for name, weight in detector.named_parameters():
        if "metric" in name or name.startswith("branches"):
            assert weight.grad is not None, name
    (found,) = detector.eval().predict(data["inputs"], data["data_samples"])
    assert found.pred_instances.boxes_3d.shape == (5, 7)


@pytest.mark.parametrize(
    "changed, message",
    [
        (dict(mean_sizes_m=MEANS[:1]), "each of 2 classes"),
        (dict(mean_sizes_m=((1, 2), (3, 4))), "height, width and length"),
        (dict(mean_depth_m=0.0), "must be positive"),
    ],
)
def test_bad_arguments(changed, message):
    with pytest.raises(ValueError, match=message):
        make_head(**changed)


def test_truth_without_space_is_named():
    head = make_head().train()
    truth = truth_of(*KNOWN)
    del truth.targets_3d
    with pytest.raises(ValueError, match="targets_3d"):
        head.loss_by_feat(*head(features(frames=1)), [truth], [META])
    with pytest.raises(ValueError, match="image_P_cam"):
        head.eval().predict_by_feat(*head(features(frames=1)), [{}])


def test_it_is_the_detection_s_3d_box():
    boxes = np.array([[2, 1.75, 20, 1.5, 2, 4, 0.35]])
    found = Objects.from_boxes(["Car"], np.zeros((1, 4)), np.ones(1), boxes)
    assert found.location_m.tolist() == [[2, 1.75, 20]]
    assert found.dimensions_m.tolist() == [[1.5, 2, 4]]
    assert found.rotation_y.tolist() == [0.35]
    assert found.alpha[0] == pytest.approx(0.35 - np.arctan2(2, 20))
    assert isinstance(make_head(), FCOS3DHead)


@pytest.mark.parametrize("rows", [KNOWN, (KNOWN[0], UNKNOWN), (UNKNOWN, UNKNOWN)])
def test_losses_of_single_frames_at_once(rows):
    """As one frame after the other, whatever the frames beside it are like."""
    head = make_head().train()
    outputs = head(features())
    truth = [truth_of(*rows), truth_of(*KNOWN)[:1]]
    assert can_take_frames_at_once(head)
    expected = [
        sum(head.loss_by_feat(*own, [one], [META]).values())
        for n, one in enumerate(truth)
        for own in [[[x[n : n + 1] for x in kind] for kind in outputs]]
    ]
    got = fcos_frame_losses(head, outputs, truth)
    torch.testing.assert_close(got, torch.stack(expected))
