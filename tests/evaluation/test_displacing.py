"""Certified metres: regions by hand, and no lie moves an object out of its own."""

import math

import numpy as np
import pytest
import shapely
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from tiny_detectors import Said

import perception.models  # noqa: F401
from perception.evaluation.certificate.bounds import Bounds, frame_bounds
from perception.evaluation.certificate.displacing import (
    centre_trapezoids,
    certified_regions,
    off_metres,
    true_centres,
)
from perception.evaluation.certificate.frames import Certificate, Seen, contradictions
from perception.evaluation.certificate.hiding import Vouching, vouching_locations
from perception.evaluation.detection.bootstrap import share_interval
from perception.models.consensus.gate import Verdict
from perception.models.consensus.median import MedianAggregator

SIZE = (32, 64)
SIZES = [(8, 16), (4, 8)]
CAMERA = torch.tensor([[40.0, 0, 31.5, 0], [0, 40, 15.5, 0], [0, 0, 1, 0]])
HALF = torch.full((2,), 0.5)
TEST = ConfigDict(
    nms_pre=200,
    score_thr=0.02,
    nms=dict(type="nms", iou_threshold=0.5),
    max_per_img=50,
)


@pytest.fixture(scope="module")
def head():
    return MODELS.build(
        ConfigDict(
            type="FCOS3DHead",
            num_classes=2,
            in_channels=8,
            feat_channels=8,
            strides=[4, 8],
            regress_ranges=((-1, 16), (16, 1e8)),
            norm_on_bbox=True,
            mean_sizes_m=[[1.5, 1.6, 4.0], [1.8, 0.6, 0.8]],
            mean_depth_m=16.0,
            norm_cfg=dict(type="GN", num_groups=2),
            test_cfg=TEST,
        )
    ).eval()


def outputs(numbers: torch.Tensor) -> tuple:
    """A head's outputs of one frame, all but the numbers (L, 6) of little matter."""
    parts = numbers.split([h * w for h, w in SIZES])
    levels = [
        part.T.reshape(1, 6, h, w) for part, (h, w) in zip(parts, SIZES, strict=True)
    ]
    kinds = [
        [torch.zeros(1, channels, h, w) for h, w in SIZES] for channels in (2, 4, 1)
    ]
    return (*kinds, levels, [torch.ones(1, 2, h, w) for h, w in SIZES])


def test_trapezoid_by_hand(head):
    """The first location lies at 2 px; its centre's pixel is 1.5 to 5.5, 16 to 20 m."""
    low, high = torch.zeros(160, 6), torch.zeros(160, 6)
    high[0, 0], high[0, 2] = 1.0, math.log(1.25)
    corners = centre_trapezoids(head, outputs(low), outputs(high), 0, CAMERA)[0]
    # x = z (pixel - 31.5) / 40
    assert corners.tolist() == [
        pytest.approx(row, abs=1e-4)
        for row in ([-12.0, 16], [-10.4, 16], [-13.0, 20], [-15.0, 20])
    ]


@pytest.mark.parametrize("mirrored", [False, True])
def test_whatever_lies_between_is_inside(head, mirrored):
    random = torch.Generator().manual_seed(0)
    camera = CAMERA.clone()
    camera[:, 3] = torch.tensor([3.0, 0.2, 0.003])
    if mirrored:
        camera[0] = -camera[0] + 63 * camera[2]
    first = torch.randn(160, 6, generator=random)
    second = first + torch.rand(160, 6, generator=random)
    corners = centre_trapezoids(head, outputs(first), outputs(second), 0, camera)
    hulls = [
        shapely.MultiPoint(one.numpy()).convex_hull.buffer(1e-3) for one in corners
    ]
    points = torch.cat(
        head.prior_generator.grid_priors(SIZES, torch.float32, "cpu", with_stride=True)
    )
    for _ in range(5):
        share = torch.rand(160, 6, generator=random)
        said = first + share * (second - first)
        boxes = head.code.decode(
            said,
            torch.ones(160, 2),
            torch.zeros(160).long(),
            points[:, :2],
            points[:, 2],
            camera[None],
        )
        for hull, (x, z) in zip(hulls, boxes[:, [0, 2]].tolist(), strict=True):
            assert hull.covers(shapely.Point(x, z))


def test_who_may_speak_by_hand():
    """Of four locations one vouches; one outranks it, one is too low, one elsewhere."""
    box = torch.tensor([[0.0, 0, 10, 10]])
    scores_high = torch.tensor([[0.9, 0], [0.7, 0], [0.3, 0], [0.9, 0]])
    around = torch.cat([box, box, box, box + 30])
    bounds = Bounds(
        scores_low=torch.tensor([[0.5, 0], [0.1, 0], [0.1, 0], [0.5, 0]]),
        scores_high=scores_high,
        classes_low=torch.full((4, 2), 0.5),
        classes_high=torch.full((4, 2), 0.9),
        inner=around,
        outer=around,
        level=torch.zeros(4),
    )
    places = torch.tensor([[0.0, 20], [3.0, 24], [90.0, 20], [90.0, 20]])
    trapezoids = places[:, None].expand(4, 4, 2)
    vouching = [Vouching(torch.tensor([0]), torch.tensor([0.5]))]
    asked = (box, torch.tensor([0]), torch.tensor([[0.0, 20.0]]), HALF, TEST)
    (region,) = certified_regions(bounds, trapezoids, vouching, *asked)
    assert region.metres == pytest.approx(5.0)  # 3 across, 4 ahead
    assert {tuple(row) for row in region.outline} == {(0.0, 20.0), (3.0, 24.0)}
    nobody = [Vouching(torch.zeros(0).long(), torch.zeros(0))]
    (region,) = certified_regions(bounds, trapezoids, nobody, *asked)
    assert region.metres == math.inf and not len(region.outline)
    unknown = (*asked[:2], torch.full((1, 2), torch.nan), *asked[3:])
    (region,) = certified_regions(bounds, trapezoids, vouching, *unknown)
    assert region.metres == math.inf and len(region.outline)


def street(seed: int, head):
    """Two objects in space and what three sensors say of them, two of them alike."""
    random = torch.Generator().manual_seed(seed)
    truth = torch.tensor([[6.0, 6, 22, 26], [38, 4, 58, 28]])
    labels = torch.tensor([0, 1])
    targets = torch.tensor(
        [[14.0, 16, 12, 1.5, 1.6, 4, 0], [48.0, 16, 9, 1.8, 1, 1, 0]]
    )
    grid = head.prior_generator.grid_priors(SIZES, torch.float32, "cpu")

    def say(lying: bool):
        kinds: tuple = ([], [], [], [], [])
        for (h, w), at, stride in zip(SIZES, grid, (4, 8), strict=True):
            inside = (at[:, None] > truth[:, :2]) & (at[:, None] < truth[:, 2:])
            inside = inside.all(dim=2)
            logits = torch.full((h * w, 2), -5.0)
            for g, k in enumerate(labels.tolist()):
                near = (at - truth[g].view(2, 2).mean(dim=0)).norm(dim=1) < 7
                logits[inside[:, g] & near, k] = 3.0
            own = inside.float().argmax(dim=1)
            sides = torch.cat([at - truth[own, :2], truth[own, 2:] - at], dim=1)
            numbers, _ = head.code.encode(
                targets[own], labels[own], at, torch.full((h * w,), float(stride))
            )
            said = [logits, sides, torch.full((h * w, 1), 2.0), numbers]
            widths = (0.3, 0.3, 0.3, 0.03)
            for kind, value, width in zip(kinds[:4], said, widths, strict=True):
                noise = width * torch.randn(value.shape, generator=random)
                value = value + (60 * noise if lying else noise)
                kind.append(value.T.reshape(1, -1, h, w))
            kinds[4].append(torch.ones(1, 2, h, w) / math.sqrt(2))
        kinds[1][:] = [level.clamp(min=0) for level in kinds[1]]
        return kinds

    sample = ConfigDict(image_P_cam=CAMERA.numpy())
    sample.gt_instances = InstanceData(targets_3d=targets)
    return (
        truth,
        labels,
        true_centres(sample),
        [say(False), say(False)],
        lambda: say(True),
    )


def test_no_lie_moves_an_object_out_of_its_region(head):
    made = MedianAggregator(sensors=["a", "b", "compromised"])
    certified = 0
    for seed in range(10):
        truth, labels, centres_m, benign, lie = street(seed, head)
        assert centres_m[1].tolist() == pytest.approx([9 * (47.5 - 31.5) / 40, 9.0])
        low, high = made.bounds(Said([*benign, benign[0]]), 2)
        bounds = frame_bounds(head, low, high, 0, SIZE)
        vouching = vouching_locations(bounds, truth, labels, HALF, TEST, 0.3)
        trapezoids = centre_trapezoids(head, low, high, 0, CAMERA)
        regions = certified_regions(
            bounds, trapezoids, vouching, truth, labels, centres_m, HALF, TEST
        )
        metres = torch.tensor([one.metres for one in regions])
        certified += int((metres < 4).sum())
        for _ in range(8):
            said = made.combine(Verdict(), Said([*benign, lie()]))
            meta = dict(img_shape=SIZE, image_P_cam=CAMERA.numpy())
            (found,) = head.predict_by_feat(*said, [meta], rescale=False)
            kept = found[found.scores > 0.3]
            off_m = off_metres(kept, truth, labels, centres_m, HALF)
            assert (off_m <= metres + 1e-3).all(), (seed, off_m, metres)
    assert certified > 8  # of 20: the certificate says something


def test_the_best_detection_counts():
    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10]])
    found = InstanceData(
        bboxes=torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10]]),
        scores=torch.tensor([0.5, 0.9, 0.9]),
        labels=torch.tensor([0, 0, 0]),
        boxes_3d=torch.tensor(
            [[x, 0.0, z, 1, 1, 1, 0] for x, z in ((0, 10), (3, 14), (9, 9))]
        ),
    )
    off = off_metres(
        found, boxes, torch.tensor([0, 1]), torch.tensor([[0.0, 10], [9, 9]]), HALF
    )
    assert off.tolist() == [pytest.approx(5.0), math.inf]  # the other is of a class


def test_what_contradicts_a_certificate():
    from perception.evaluation.certificate.displacing import Region

    held = Certificate(
        torch.tensor([0.6, 0.6, 0.0]),
        0.2,
        tuple(Region(m, np.zeros((0, 2))) for m in (2.0, 2.0, math.inf)),
    )
    seen = Seen(
        torch.tensor([True, False, False]), torch.tensor([1.9, math.inf, math.inf]), 0.1
    )
    assert contradictions(held, seen, 0.3) == 1  # the second is hidden
    far = Seen(torch.tensor([True, True, False]), torch.tensor([2.5, 2, math.inf]), 0.3)
    assert contradictions(held, far, 0.3) == 2  # the first moved, and a ghost


def test_share_interval():
    assert share_interval([1], [2]) is None and share_interval([0, 0], [0, 0]) is None
    assert share_interval([2, 2, 2], [4, 4, 4]) == (0.5, 0.5)
    low, high = share_interval([0, 4, 0, 4] * 5, [4] * 20)
    assert 0.2 < low < 0.5 < high < 0.8
