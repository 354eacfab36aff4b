"""What is timed against what: the candidates must do the same work."""

import pytest
import torch
from tiny_kitti import write_config, write_kitti

from perception.attacks import PGD, MapThreat
from perception.attacks.goals import Goal
from perception.attacks.target import frozen
from perception.attacks.victim import Query, Victim
from perception.core.structures import DataError
from perception.evaluation.benchmarks.attack_speed import (
    compare_attacks,
    step_candidates,
    whole_candidates,
)
from perception.targets import DetectorTarget

CAMERA = MapThreat(name="t", sensor="camera", eps=16.0, steps=4)


def test_a_step_is_the_gradient_and_a_move(tiny_detector, tiny_batch):
    with frozen(DetectorTarget(tiny_detector)):
        candidates = step_candidates(tiny_detector, tiny_batch, CAMERA)
        gradient = candidates["by hand"]()
        moved = candidates["PGD step"]()
    start = CAMERA.random(tiny_batch, 0)
    fraction = torch.full((len(tiny_batch),), PGD(CAMERA).step_fraction)
    expected = CAMERA.project(
        CAMERA.step(start, gradient, fraction, tiny_batch), tiny_batch
    )
    same = (moved == expected).float().mean()
    assert same > 0.99, "signs of vanishing gradients may differ"


def test_the_toolbox_attacks_as_we_do(tiny_detector, tiny_batch):
    pytest.importorskip("art", reason="adversarial-robustness-toolbox not installed")
    candidates = whole_candidates(tiny_detector, tiny_batch, CAMERA)
    theirs = torch.from_numpy(candidates["toolbox"]())
    change = theirs - tiny_batch.inputs["camera"]
    assert float(change.abs().max()) <= 16.001
    assert theirs.min() >= 0 and theirs.max() <= 255
    target = DetectorTarget(tiny_detector)
    with frozen(target), torch.no_grad():
        victim = Victim(target, tiny_batch, ("camera",))
        clean = Goal().value(Query(victim, {"camera": tiny_batch.inputs["camera"]}))
        damage = Goal().value(Query(victim, {"camera": theirs}))
    ours = candidates["ours"]().detection_loss
    assert damage.mean() > clean.mean()
    gains = (damage - clean).mean() / (ours - clean).mean()
    assert 0.5 < gains < 1.2


def test_no_more_frames_than_there_are(tmp_path, repo_root):
    base = repo_root / "configs/synthetic/concat.py"
    config = write_config(tmp_path / "config.py", write_kitti(tmp_path), base)
    with pytest.raises(DataError, match="3 frames at once, but only 2 to attack"):
        next(compare_attacks(str(config), frames=3))
    title, _ = next(compare_attacks(str(config), frames=2, sensors=["camera"]))
    assert title == "camera: one step"
