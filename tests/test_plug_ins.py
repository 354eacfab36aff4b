"""The attack and the neck of one's own that data/README.md shows work."""

from pathlib import Path

import pytest
import torch
from data_readme import block
from mmdet.registry import MODELS
from tiny_target import detector_config, trained_detector

from perception.attacks.registry import ATTACKS
from perception.attacks.target import frozen
from perception.evaluation.robustness.attack_file import AttackFile
from perception.targets import DetectorTarget

README = Path(__file__).parents[1] / "data/README.md"


@pytest.fixture
def plugged(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(ATTACKS.module_dict, "OneStep", raising=False)
    monkeypatch.delitem(MODELS.module_dict, "LargestFusion", raising=False)
    return tmp_path


def test_an_attack_of_ones_own(plugged, tiny_target, tiny_batch):
    (plugged / "my_attack.py").write_text(block("own-attack"))
    (plugged / "mine.py").write_text(block("own-attacks-file"))
    attack = AttackFile(plugged / "mine.py").build("camera_one_step").perturbation
    result = attack(tiny_target, tiny_batch)
    change = (result.inputs["camera"] - tiny_batch.inputs["camera"]).abs()
    assert 0 < change.max() <= 8
    with frozen(tiny_target):
        clean = tiny_target.losses(tiny_batch.inputs, tiny_batch.samples)
    assert (result.detection_loss >= clean.detach() * (1 - 1e-4)).all()


def test_a_neck_of_ones_own(plugged, tiny_data):
    exec(compile(block("own-neck"), "my_neck.py", "exec"), {"__name__": "my_neck"})
    detector = trained_detector(detector_config("LargestFusion"), steps=2)
    target = DetectorTarget(detector)
    batch = target.batch(tiny_data)
    assert len(target.predict(batch.inputs, batch.samples)) == 4
    assert all(torch.isfinite(p).all() for p in detector.parameters())
