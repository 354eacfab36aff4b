"""What a GPU computes, against the CPU; without one there is nothing to test."""

from copy import deepcopy

import pytest
import torch
from tiny_target import detector_config, trained_detector

from perception.evaluation.robustness.attack_file import AttackFile
from perception.targets import DetectorTarget

DEVICE = "cuda"
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
ATTACKS = [
    "camera_pgd",
    "lidar_apgd",
    "depth_pgd_px",
    "camera_pgd_l2",
    "lidar_hide",
    "depth_square",
    "camera_adaptive",
    "camera_noise",
    "lidar_shift",
    "lidar_shift_3d",
    "lidar_add",
    "lidar_drop",
    "lidar_reflectance",
    "camera_patch_free",
    "all_pgd",
    "camera_fog_3",
    "camera_blackout_5",
    "lidar_beam_loss_3",
    "lidar_rain_3",
    "lidar_fog_3",
    "lidar_miscalibration_3",
    "depth_noise_3",
    "depth_view_loss_3",
]


@pytest.fixture(autouse=True)
def exact_convolutions(monkeypatch):
    """Convolutions in float32; a GPU's default is to round to 10 bits (TF32)."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture(scope="module")
def detectors(tiny_detector, tiny_concat):
    config = detector_config()
    config["fusion"]["gate"] = None
    consensus = trained_detector(
        config | {"aggregator": {"type": "ConsensusAggregator"}}
    )
    return {"odd": tiny_detector, "concat": tiny_concat, "consensus": consensus}


@pytest.mark.parametrize("name", ["odd", "concat", "consensus"])
def test_detections_are_those_of_the_cpu(name, detectors, tiny_data):
    detector, found = detectors[name], []
    for one in (detector, deepcopy(detector).to(DEVICE)):
        target = DetectorTarget(one)
        batch = target.batch(tiny_data)
        assert batch.inputs["camera"].device == target.device
        predictions = target.predict(batch.inputs, batch.samples)
        found.append([prediction.detections for prediction in predictions])
    for here, there in zip(*found, strict=True):
        assert len(here) == len(there) > 0
        assert there.boxes_px == pytest.approx(here.boxes_px, rel=1e-3, abs=1e-2)
        assert there.scores == pytest.approx(here.scores, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_run_and_touch_nothing_else(name, repo_root, tiny_detector, tiny_data):
    """An attack's base class proves on any device that it keeps to its budget."""
    attacks = AttackFile(repo_root / "configs/_base_/attacks/standard.py")
    attack, _ = attacks.build(name, {"steps": 2})
    target = DetectorTarget(deepcopy(tiny_detector).to(DEVICE))
    batch = target.batch(tiny_data)
    result = attack(target, batch)
    again = attack(target, batch)
    changed = 0
    for sensor, value in result.inputs.items():
        assert value.device.type == DEVICE
        torch.testing.assert_close(value, again.inputs[sensor], rtol=0, atol=1e-3)
        if sensor in attack.touched:
            changed += int((value != batch.inputs[sensor]).sum())
        else:
            assert torch.equal(value, batch.inputs[sensor])
    assert changed > 0
    assert torch.isfinite(result.detection_loss).all()


@pytest.mark.parametrize("amp", [False, True])
def test_consensus_learns_on_the_gpu(amp, detectors, tiny_data):
    """The same loss in float32; close to it and finite gradients in bfloat16."""
    losses = []
    for device in ("cpu", DEVICE):
        detector = deepcopy(detectors["consensus"]).to(device).train()
        packed = detector.data_preprocessor(tiny_data, True)
        with torch.autocast(device, torch.bfloat16, enabled=amp):
            terms = detector(packed["inputs"], packed["data_samples"], mode="loss")
        total, _ = detector.parse_losses(terms)
        total.backward()
        for name, weight in detector.named_parameters():
            assert weight.grad is None or weight.grad.isfinite().all(), name
        losses.append(float(total.detach()))
    assert losses[1] == pytest.approx(losses[0], rel=0.03 if amp else 1e-3)
