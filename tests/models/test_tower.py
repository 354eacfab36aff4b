"""Towers, and heads that are a last layer only."""

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.registry import init_default_scope
from tiny_target import CHANNELS, collated, detector_config

from perception.models.heads.fcos_frame_losses import can_take_frames_at_once
from perception.models.tower import ConvTower

TOWER = dict(type="ConvTower", in_channels=CHANNELS, channels=CHANNELS, num_groups=4)


@pytest.fixture(scope="module")
def detector():
    """Consensus of three sensors with towers, initial weights, in eval mode."""
    init_default_scope("mmdet")
    config = detector_config()
    for branch in config["branches"].values():
        branch["tower"] = TOWER
    head = config["bbox_head"] | {"type": "LastLayerFCOSHead"}
    del head["stacked_convs"], head["feat_channels"]
    config |= dict(
        bbox_head=head,
        branch_head=head,
        aggregator=dict(type="ConsensusAggregator"),
        fusion=config["fusion"] | {"gate": None},
    )
    config["fusion"].pop("loss_weight")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = MODELS.build(config)
        built.init_weights()
    return built.eval()


def test_each_level_by_the_same_layers():
    tower = ConvTower(in_channels=2, channels=4, num_convs=3, num_groups=2)
    pyramid = torch.rand(2, 2, 8, 16), torch.rand(2, 2, 4, 8)
    made = tower(pyramid)
    assert [one.shape for one in made] == [(2, 4, 8, 16), (2, 4, 4, 8)]
    assert all((one >= 0).all() for one in made)
    torch.testing.assert_close(tower((pyramid[1],))[0], made[1])


def test_the_one_convolution_is_the_three(detector):
    head = detector.bbox_head
    features = torch.randn(2, CHANNELS, 4, 8), torch.randn(2, CHANNELS, 2, 4)
    with torch.no_grad():
        scores, sides, centers = head(features)
        for n, (x, stride) in enumerate(zip(features, (4, 8), strict=True)):
            own = x.clamp(min=0)
            torch.testing.assert_close(scores[n], head.conv_cls(own))
            torch.testing.assert_close(centers[n], head.conv_centerness(own))
            expected = head.scales[n](head.conv_reg(own)).clamp(min=0) * stride
            torch.testing.assert_close(sides[n], expected)
    assert can_take_frames_at_once(head), "losses frame by frame, all at once"


def test_a_tower_is_run_once_per_sensor(detector):
    runs = []
    for name, branch in detector.branches.items():
        branch.tower.register_forward_hook(lambda *_, name=name: runs.append(name))
    packed = detector.data_preprocessor(collated([0, 1]), False)
    with torch.no_grad():
        output = detector.fuse(detector.extract_feat(packed["inputs"]))
        assert len(output.experts) == 4 and len(output.branches) == 3
        assert len(output.outputs) == 3
    assert runs == ["camera", "lidar", "depth"]


def test_it_learns(detector):
    detector.train()
    packed = detector.data_preprocessor(collated([0, 1]), True)
    losses = detector(packed["inputs"], packed["data_samples"], mode="loss")
    total, _ = detector.parse_losses(losses)
    total.backward()
    detector.eval()
    for name, branch in detector.branches.items():
        assert branch.tower.layers[0].weight.grad.abs().sum() > 0, name
