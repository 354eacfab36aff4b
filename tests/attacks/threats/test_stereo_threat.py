import cv2
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample

from perception.attacks import PGD, AttackBatch
from perception.attacks.threats import stereo
from perception.attacks.threats.stereo import StereoThreat, carry_over, match
from perception.core.structures import Channel, SensorSpec

HEIGHT, WIDTH, FX_BASELINE = 32, 64, 60.0
SENSORS = {
    "camera": SensorSpec("camera", "image", (Channel("red", "", 0, 255),) * 3),
    "depth": SensorSpec("depth", "depth", (Channel("depth_m", "m", 0, 80),)),
}


def stereo_pair(disparity_px: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """A textured plane seen by both cameras, each (3, H, W) uint8."""
    rng = np.random.default_rng(0)
    wide = rng.integers(0, 256, (HEIGHT, WIDTH + 16), dtype=np.uint8)
    wide = cv2.GaussianBlur(wide, (3, 3), 0)
    left, right = wide[:, :WIDTH], wide[:, disparity_px : WIDTH + disparity_px]
    return tuple(torch.from_numpy(i.copy()).expand(3, -1, -1) for i in (left, right))


@pytest.fixture
def batch() -> AttackBatch:
    left, right = stereo_pair()
    inputs = {
        "camera": torch.nn.functional.pad(left.float(), (0, 8, 0, 0))[None],
        "depth": torch.full((1, 1, HEIGHT, WIDTH + 8), 10.5),
    }
    inputs["depth"][..., WIDTH:] = 0
    shape = {"img_shape": (HEIGHT, WIDTH), "fx_baseline_px_m": FX_BASELINE}
    sample = DetDataSample(metainfo=shape | {"frame_id": "7"})
    return AttackBatch(inputs, {"right": [right]}, [sample], SENSORS, [0])


def test_the_matcher_finds_the_plane():
    left, right = stereo_pair()
    depth_m = match(left, right, FX_BASELINE)
    assert depth_m[8:24, 24:56].median().item() == pytest.approx(FX_BASELINE / 6)


def test_the_clean_picture_changes_no_bit(batch):
    threat = StereoThreat(name="t", sensor="camera", eps=16.0)
    rendered = threat.render(threat.clean(batch).clone().requires_grad_(), batch)
    for name in ("camera", "depth"):
        assert torch.equal(rendered[name], batch.inputs[name])


def test_only_changes_are_carried_over():
    clean = torch.tensor([[10.5, 10.5, 0.0, 10.5, 0.0]])
    before = torch.tensor([[10.0, 10.0, 10.0, 0.0, 0.0]])
    after = torch.tensor([[10.0, 20.0, 20.0, 30.0, 0.0]])
    # 1 / (1/10.5 + 1/20 - 1/10) = 22.105…
    expected = [10.5, 1 / (1 / 10.5 - 0.05), 20.0, 30.0, 0.0]
    assert carry_over(clean, before, after)[0].tolist() == pytest.approx(expected)


def test_a_lost_match_is_no_return(batch):
    threat = StereoThreat(name="t", sensor="camera", eps=255.0)
    grey = torch.full_like(batch.inputs["camera"], 128.0)
    depth = threat.render(grey, batch)["depth"]
    lost = (depth == 0) & (batch.inputs["depth"] > 0)
    assert lost.float().mean() > 0.3


def test_the_gradient_moves_the_disparity_the_right_way(batch):
    threat = StereoThreat(name="t", sensor="camera", eps=64.0)
    picture = batch.inputs["camera"].clone().requires_grad_()
    depth = threat.render(picture, batch)["depth"]
    (gradient,) = torch.autograd.grad(depth[..., 4:28, 28:52].sum(), picture)
    assert torch.isfinite(gradient).all() and gradient.abs().sum() > 0
    disparity_px = torch.full((HEIGHT, WIDTH), 6.0)
    right = batch.raw["right"][0].float()

    def drift(image: torch.Tensor) -> float:
        left = image[0, :, :, :WIDTH]
        return threat._drift(left, right, disparity_px)[4:28, 28:52].mean().item()

    # Ascending depth lowers the disparity.
    assert drift(picture.detach() + 8 * gradient.sign()) < drift(picture.detach())


def test_without_the_matcher_the_depth_has_no_gradient(batch):
    threat = StereoThreat(name="t", sensor="camera", eps=9.0, through_matcher=False)
    picture = batch.inputs["camera"].clone().requires_grad_()
    assert not threat.render(picture, batch)["depth"].requires_grad


def test_attacks_a_detector(tiny_target, tiny_data):
    tiny_data["inputs"]["right"] = [
        torch.roll(image, -5, dims=2) for image in tiny_data["inputs"]["camera"]
    ]
    tiny = tiny_target.batch(tiny_data)
    threat = StereoThreat(name="t", sensor="camera", eps=24.0, steps=3)
    result = PGD(threat)(tiny_target, tiny)
    assert torch.equal(result.inputs["lidar"], tiny.inputs["lidar"])
    assert not torch.equal(result.inputs["depth"], tiny.inputs["depth"])
    change = (result.inputs["camera"] - tiny.inputs["camera"]).abs()
    assert change.max() <= 24


def test_the_clean_pair_is_matched_once(tiny_target, tiny_data, monkeypatch):
    matched = []

    def spy(*pair):
        matched.append(pair)
        return match(*pair)

    tiny_data["inputs"]["right"] = tiny_data["inputs"]["camera"]
    tiny = tiny_target.batch(tiny_data)
    monkeypatch.setattr(stereo, "match", spy)
    threat = StereoThreat(name="t", sensor="camera", eps=24.0, steps=1)
    first = threat.render(threat.clean(tiny), tiny)
    assert len(matched) == 2 * len(tiny)
    again = threat.render(threat.clean(tiny), tiny)
    assert len(matched) == 3 * len(tiny)
    assert torch.equal(first["depth"], again["depth"])


def test_impossible_requests(batch, tiny_target):
    threat = StereoThreat(name="t", sensor="lidar", eps=1.0)
    with pytest.raises(ValueError, match="needs a sensor 'lidar' of kind 'image'"):
        threat.check(tiny_target.sensors)
    threat = StereoThreat(name="t", sensor="camera", eps=1.0, right="nowhere")
    with pytest.raises(ValueError, match="no 'nowhere' picture"):
        threat.render(batch.inputs["camera"], batch)
    batch.samples[0].set_metainfo({"fx_baseline_px_m": None})
    threat = StereoThreat(name="t", sensor="camera", eps=1.0)
    with pytest.raises(ValueError, match="frame 7 has no stereo baseline"):
        threat.render(batch.inputs["camera"], batch)
    with pytest.raises(ValueError, match="window_px must be at least 1"):
        StereoThreat(name="t", sensor="camera", window_px=0)
