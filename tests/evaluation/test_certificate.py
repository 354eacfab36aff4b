"""The certificate: overlaps by hand, and no lie hides or makes up what it denies."""

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox_overlaps
from mmengine.config import ConfigDict
from tiny_detectors import Said

import perception.models  # noqa: F401
from perception.evaluation.certificate.bounds import (
    Bounds,
    frame_bounds,
    highest_overlap,
    lowest_overlap,
)
from perception.evaluation.certificate.frames import certificates
from perception.evaluation.certificate.ghosts import ghost_bound, highest_ghost
from perception.evaluation.certificate.hiding import (
    certified_scores,
    vouching_locations,
)
from perception.models.consensus.gate import Verdict
from perception.models.consensus.median import MedianAggregator

SIZE = (32, 64)
HALF = torch.full((2,), 0.5)
TEST = ConfigDict(
    nms_pre=200,
    score_thr=0.02,
    nms=dict(type="nms", iou_threshold=0.5),
    max_per_img=50,
)


def boxes(*rows) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def scores_of(bounds, truth, *rest) -> torch.Tensor:
    return certified_scores(vouching_locations(bounds, truth, *rest), truth)


def test_lowest_overlap_by_hand():
    fixed = boxes((0, 0, 10, 10))
    # At worst 6 x 10 are shared and the box is 12 x 10 large: 60 / (120 + 100 - 60).
    overlap = lowest_overlap(boxes((0, 0, 6, 10)), boxes((0, 0, 12, 10)), fixed)
    assert overlap.item() == pytest.approx(60 / 160)
    exact = lowest_overlap(boxes((0, 0, 5, 10)), boxes((0, 0, 5, 10)), fixed)
    assert exact.item() == pytest.approx(0.5)


def test_highest_overlap_by_hand():
    none = torch.zeros(2, 1)
    bounds = Bounds(
        none,
        none,
        none,
        none,
        inner=boxes((0, 0, 4, 10), (6, 0, 10, 10)),
        outer=boxes((0, 0, 5, 10), (3, 0, 10, 10)),
        level=torch.zeros(2),
    )
    first, second = torch.tensor([0]), torch.tensor([1])
    # At most 2 x 10 are shared, and neither box is smaller than 4 x 10.
    assert highest_overlap(bounds, first, second).item() == pytest.approx(0.5)


def test_ghosts_by_hand():
    """The only location that might miss the object of its class counts."""
    truth, labels = boxes((0, 0, 10, 10)), torch.tensor([0])
    # Its box may shrink to 6 x 10 or grow to 12 x 10: an overlap of 0.375 at least.
    bounds = Bounds(
        scores_low=torch.zeros(3, 2),
        scores_high=torch.tensor([[0.9, 0.2], [0.7, 0.1], [0.8, 0.4]]),
        classes_low=torch.zeros(3, 2),
        classes_high=torch.tensor([[0.9, 0.2], [0.7, 0.1], [0.8, 0.01]]),
        inner=boxes((0, 0, 10, 10), (0, 0, 6, 10), (0, 0, 10, 10)),
        outer=boxes((0, 0, 10, 10), (0, 0, 12, 10), (0, 0, 10, 10)),
        level=torch.zeros(3),
    )
    asked = (bounds, truth, labels)
    assert ghost_bound(*asked, HALF, TEST) == pytest.approx(0.7)
    # With an overlap of 0.3 all are the object; of the other class there is none, and
    # the last location's score of that class does not pass the head's threshold.
    assert ghost_bound(*asked, torch.full((2,), 0.3), TEST) == pytest.approx(0.2)
    nothing = (bounds, boxes(), torch.zeros(0, dtype=torch.long))
    assert ghost_bound(*nothing, HALF, TEST) == pytest.approx(0.9)


def head() -> torch.nn.Module:
    return MODELS.build(
        ConfigDict(
            type="FCOSHead",
            num_classes=2,
            in_channels=8,
            feat_channels=8,
            strides=[4, 8],
            regress_ranges=((-1, 16), (16, 1e8)),
            norm_on_bbox=True,
            norm_cfg=dict(type="GN", num_groups=2),
            test_cfg=TEST,
        )
    ).eval()


def street(seed: int):
    """Two objects and what three sensors say of every location, two of them alike."""
    random = torch.Generator().manual_seed(seed)
    truth = boxes((6, 6, 22, 26), (38, 4, 58, 28))
    labels = torch.tensor([0, 1])
    sizes = [(8, 16), (4, 8)]
    points = head().prior_generator.grid_priors(sizes, torch.float32, "cpu")

    def say(lying: bool):
        kinds = ([], [], [])
        for (h, w), at in zip(sizes, points, strict=True):
            inside = (at[:, None] > truth[:, :2]) & (at[:, None] < truth[:, 2:])
            inside = inside.all(dim=2)
            logits = torch.full((h * w, 2), -5.0)
            for g, k in enumerate(labels.tolist()):
                near = (at - truth[g].view(2, 2).mean(dim=0)).norm(dim=1) < 7
                logits[inside[:, g] & near, k] = 3.0
            own = inside.float().argmax(dim=1)
            sides = torch.cat([at - truth[own, :2], truth[own, 2:] - at], dim=1)
            centre = torch.full((h * w, 1), 2.0)
            noise = 0.3 * torch.randn(h * w, 7, generator=random)
            if lying:
                noise *= 60
            said = (logits, sides, centre)
            for kind, value, change in zip(
                kinds, said, noise.split([2, 4, 1], dim=1), strict=True
            ):
                value = value + change
                kind.append(value.T.reshape(1, -1, h, w))
        kinds[1][:] = [level.clamp(min=0) for level in kinds[1]]
        return kinds

    return truth, labels, [say(lying=False), say(lying=False)], lambda: say(lying=True)


@pytest.mark.parametrize("margin", [None, 0.5])
def test_what_is_certified_survives_every_lie(margin):
    detector_head, certified, denied = head(), 0, 0
    made = MedianAggregator(
        sensors=["a", "b", "compromised"],
        margin=margin or 0.0,
        box_margin=0.05 if margin else 0.0,
    )
    for seed in range(12):
        truth, labels, benign, lie = street(seed)
        low, high = made.bounds(Said([*benign, benign[0]]), 2)
        bounds = frame_bounds(detector_head, low, high, 0, SIZE)
        scores = scores_of(bounds, truth, labels, HALF, TEST, 0.1)
        ghost = ghost_bound(bounds, truth, labels, HALF, TEST)
        certified += int((scores > 0.3).sum())
        denied += ghost < 0.3
        for _ in range(8):
            fused = lie() if margin else None
            said = made.combine(Verdict(), Said([*benign, lie()], fused=fused))
            (found,) = detector_head.predict_by_feat(
                *said, batch_img_metas=[dict(img_shape=SIZE)], rescale=False
            )
            for threshold in (0.1, 0.3, 0.6):
                kept = found[found.scores > threshold]
                overlap = bbox_overlaps(truth, kept.bboxes)
                same = labels[:, None] == kept.labels[None]
                detected = ((overlap > 0.5) & same).any(dim=1)
                assert (detected | (scores <= threshold)).all(), seed
            assert highest_ghost(found, truth, labels, HALF) <= ghost + 1e-5, seed
    # Of 24 objects and 12 streets: the certificate says something.
    assert certified > 6 and denied > 3


def test_nothing_is_certified_where_the_benign_sensors_disagree():
    truth, labels, benign, _ = street(0)
    blind = tuple([level.clone() for level in kind] for kind in benign[1])
    for level in blind[0]:
        level.fill_(-5.0)
    made = MedianAggregator(sensors=["a", "b", "compromised"])
    low, high = made.bounds(Said([benign[0], blind, blind]), 2)
    bounds = frame_bounds(head(), low, high, 0, SIZE)
    assert not scores_of(bounds, truth, labels, HALF, TEST, 0.3).any()


def test_other_fusions_are_refused():
    class Detector:
        aggregator = None
        bbox_head = head()

    with pytest.raises(ValueError, match="an aggregator with a head of distances"):
        certificates(Detector(), None, overlaps={})


def test_wide_box_margins_are_refused():
    class Detector:
        aggregator = MedianAggregator(sensors=["a", "b", "c"], box_margin=1.5)
        bbox_head = head()

    with pytest.raises(ValueError, match=r"box_margin of at most 1, got 1\.5"):
        certificates(Detector(), None, overlaps={})
