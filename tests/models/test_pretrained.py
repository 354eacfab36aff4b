"""Backbones that start from ImageNet weights: a file made here, no download."""

import pytest
import torch
from mmdet.registry import MODELS

from perception.core.config import load_config
from perception.core.structures import DataError
from perception.models.pretrained import adapted


def backbone(channels: int, checkpoint=None, **changed):
    config = dict(
        type="ResNet", depth=18, in_channels=channels, norm_cfg=dict(type="BN")
    )
    if checkpoint is not None:
        config["init_cfg"] = dict(type="ImageNet", checkpoint=str(checkpoint))
    made = MODELS.build(config | changed)
    made.init_weights()
    made.eval()  # which does not return it
    return made


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Weights named as torchvision's, a classifier's and no counters included."""
    torch.manual_seed(1)
    weights = backbone(3).state_dict() | {"fc.weight": torch.zeros(1000, 512)}
    kept = {k: v for k, v in weights.items() if "num_batches" not in k}
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(kept, path)
    return path


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_equal_channels_are_seen_as_grey_is(file, channels):
    made, colours = backbone(channels, file), backbone(3)
    colours.load_state_dict(torch.load(file, weights_only=True), strict=False)
    grey = torch.randn(2, 1, 32, 64)
    found, expected = (
        model(grey.expand(-1, count, -1, -1))
        for model, count in ((made, channels), (colours, 3))
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_three_channels_keep_their_filters():
    filters = torch.arange(6.0).reshape(2, 3, 1, 1)
    assert adapted(filters, 3) is filters
    assert adapted(filters, 1).flatten().tolist() == [3.0, 12.0]
    assert adapted(filters, 2)[:, :, 0, 0].tolist() == [[1.5, 1.5], [6.0, 6.0]]


def test_a_config_takes_it_as_an_option(repo_root, file):
    path = "model.branches.depth.backbone.init_cfg"
    init = {path: dict(type="ImageNet", checkpoint=str(file))}
    config = load_config(repo_root / "configs/kitti/concat_3d.py", init)
    made = MODELS.build(config.model.branches.depth)
    made.init_weights()
    weights = torch.load(file, weights_only=True)
    last = "layer4.1.conv2.weight"
    assert torch.equal(made.backbone.state_dict()[last], weights[last])
    first = weights["conv1.weight"].sum(dim=1, keepdim=True)
    torch.testing.assert_close(made.backbone.conv1.weight.data, first)


def test_what_does_not_fit_is_named(file, tmp_path):
    wrong = r"conv1\.weight is \(16, .*got \(64, 3, 7, 7\)"
    with pytest.raises(DataError, match=wrong):
        backbone(3, file, base_channels=16, stem_channels=16)
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "less.pth")
    with pytest.raises(DataError, match=r"less\.pth: .*bn1\.weight is .*got nothing"):
        backbone(3, tmp_path / "less.pth")
    with pytest.raises(DataError, match=r"resnet81: no such .* did you mean resnet"):
        backbone(3, "resnet81")


def test_what_is_downloaded_is_checked(monkeypatch, file):
    monkeypatch.setattr("perception.models.pretrained.local_file", lambda _: file)
    with pytest.raises(DataError, match="damaged, not https://download"):
        backbone(3, "resnet18")
