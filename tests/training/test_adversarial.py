"""The adversarial training loop: what it feeds the detector, and how runs repeat."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from tiny_kitti import write_config, write_kitti

from perception.attacks.batch import AttackBatch
from perception.attacks.goals import Goal
from perception.core.checkpoints import load_checkpoint
from perception.core.config import load_config
from perception.models import MultiModalDetector
from perception.training.adversarial import join
from perception.training.attack_mix import AttackMix, Variation
from perception.training.runner import build_runner, train

OPTIONS = {
    "train_dataloader.num_workers": 0,
    "train_dataloader.persistent_workers": False,
    "default_hooks.checkpoint.max_keep_ckpts": -1,
    "load_from": None,
}
DARK = dict(type="Corruption", sensor="camera")


@pytest.fixture(scope="module")
def config(tmp_path_factory, repo_root):
    folder = tmp_path_factory.mktemp("adversarial")
    base = repo_root / "configs" / "synthetic" / "median_robust.py"
    return write_config(folder / "robust.py", write_kitti(folder / "kitti"), base)


@pytest.fixture(scope="module")
def loop(config, tmp_path_factory):
    settings = load_config(config, OPTIONS)
    settings.work_dir = str(tmp_path_factory.mktemp("loop"))
    runner = build_runner(settings)
    return runner.build_train_loop(settings.train_cfg)


def test_a_batch_twice_as_large_of_which_half_is_attacked(loop):
    loop.runner._train_loop = loop
    data = next(iter(loop.dataloader))
    frames = len(data["data_samples"])
    doubled = loop.attacked(data)
    odd = [sample.get("odd_sensor") for sample in doubled["data_samples"]]
    (sensor,) = set(odd[frames:])
    assert odd[:frames] == [None] * frames and sensor in loop.detector.sensors
    for name, value in doubled["inputs"].items():
        assert len(value) == (2 * frames if name == sensor else frames)
    clean, attacked = doubled["inputs"][sensor].chunk(2)
    assert not torch.equal(clean, attacked)
    again = loop.attacked(data)["inputs"][sensor]
    assert torch.equal(again, doubled["inputs"][sensor])


def test_features_of_the_sensors_left_alone_are_shared_and_losses_the_same(loop):
    """One camera input for both halves counts as the same input given twice."""
    data = next(iter(loop.dataloader))
    doubled = loop.attacked(data)
    frames, samples = len(data["data_samples"]), doubled["data_samples"]
    explicit = {
        name: value if len(value) == 2 * frames else value.repeat(2, 1, 1, 1)
        for name, value in doubled["inputs"].items()
    }
    detector = loop.detector.train()
    shared = detector(doubled["inputs"], samples, mode="loss")
    expected = detector(explicit, samples, mode="loss")
    assert shared.keys() == expected.keys()
    assert {"attacked_loss_cls", "attacked_branch_loss_cls"} <= set(shared)
    for name, value in shared.items():
        torch.testing.assert_close(value, expected[name], msg=name)


def test_goals_that_do_not_fit_are_told_at_the_first_step(loop, monkeypatch):
    data = next(iter(loop.dataloader))
    monkeypatch.setattr(loop, "_goals_fit", False)
    goals = [Goal(), Goal.parse("detection|expert:radar")]
    monkeypatch.setattr(loop.mix, "goals", goals)
    with pytest.raises(ValueError, match=r"goal .detection.expert:radar. of '"):
        loop.attacked(data)
    monkeypatch.setattr(loop.mix, "goals", [Goal(), Goal.parse("class:Tram")])
    with pytest.raises(
        ValueError, match=r"goal .class:Tram. of 'camera': .*classes are"
    ):
        loop.attacked(data)


def test_each_attack_has_its_own_goal_tried(loop, monkeypatch):
    """Those that are not PGD keep the goal they are configured with."""
    threat = dict(type="MapThreat", sensor="lidar", eps=1.0, goal="class:Tram")
    attacks = {"rare": dict(type="APGD", threat=threat, weight=1e-9), "often": DARK}
    mix = AttackMix(attacks, variation=Variation(), gate=False)
    monkeypatch.setattr(loop, "_goals_fit", False)
    monkeypatch.setattr(loop, "mix", mix)
    with pytest.raises(ValueError, match=r"goal .class:Tram. of 'rare': .*classes are"):
        loop.attacked(next(iter(loop.dataloader)))


STICKER = dict(
    type="PatchThreat",
    sensor="camera",
    texture_px=(8, 8),
    placement=dict(on="image", size=(0.3, 0.3)),
)


@pytest.mark.parametrize(
    "attack",
    [
        DARK,
        dict(type="Corruption", sensor="camera", kind="stale"),
        dict(type="FixedPatch", texture="noise", threat=STICKER),
        dict(type="PGD", threat=STICKER),
        dict(type="PGD", threat=dict(type="PointDrop", sensor="lidar", count=50)),
        dict(type="PGD", threat=dict(type="PointShift", sensor="lidar", radius_m=1.0)),
        dict(
            type="APGD",
            threat=dict(type="PointAdd", sensor="lidar", count=40, steps=2),
        ),
    ],
    ids=["blackout", "swap", "noise", "patch", "drop", "shift", "add"],
)
def test_any_attack_on_one_sensor_may_be_in_the_mix(loop, monkeypatch, attack):
    """During the warm-up, too."""
    mix = AttackMix({"x": attack}, variation=Variation(), gate=False)
    monkeypatch.setattr(loop, "mix", mix)
    monkeypatch.setattr(loop, "warmup_iters", 2)
    monkeypatch.setattr(loop, "_goals_fit", False)
    doubled = loop.attacked(next(iter(loop.dataloader)))
    clean, attacked = doubled["inputs"][attack.get("threat", attack)["sensor"]].chunk(2)
    assert not torch.equal(clean, attacked)


def test_join_by_hand(loop):
    data = next(iter(loop.dataloader))["data_samples"][:1]
    inputs = {"eye": torch.zeros(1, 1, 2, 2), "ear": torch.ones(1, 1, 2, 2)}
    batch = AttackBatch(inputs, {}, data, {}, [0])
    joined = join(batch, {"ear": torch.full((1, 1, 2, 2), 5.0)}, "ear")
    assert joined["inputs"]["eye"] is inputs["eye"]
    assert joined["inputs"]["ear"][:, 0, 0, 0].tolist() == [1.0, 5.0]
    first, second = joined["data_samples"]
    assert "odd_sensor" not in first and second.odd_sensor == "ear"
    assert second.frame_id == first.frame_id
    assert len(second.gt_instances) == len(first.gt_instances)


@pytest.mark.slow
def test_a_run_that_stopped_goes_on_to_the_same_bits(config, tmp_path):
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    options = OPTIONS | {"train_cfg.max_epochs": 2}
    train(load_config(config, options), work_dir=whole)
    resumed.mkdir()
    shutil.copy(whole / "epoch_1.pth", resumed / "epoch_1.pth")
    (resumed / "last_checkpoint").write_text(str(resumed / "epoch_1.pth"))
    train(load_config(config, options), work_dir=resumed, resume=True)
    first = load_checkpoint(whole / "epoch_2.pth")["state_dict"]
    second = load_checkpoint(resumed / "epoch_2.pth")["state_dict"]
    for name, value in first.items():
        assert torch.equal(second[name], value), name


def test_gradients_accumulate_over_attacked_batches(config, tmp_path):
    """Two batches of which each is attacked, one step of the optimiser."""
    options = OPTIONS | {"optim_wrapper.accumulative_counts": 2}
    settings = load_config(config, options)
    settings.work_dir = str(tmp_path)
    runner = build_runner(settings)
    loop = runner._train_loop = runner.build_train_loop(settings.train_cfg)
    runner.optim_wrapper = runner.build_optim_wrapper(settings.optim_wrapper)
    runner.optim_wrapper.initialize_count_status(runner.model, 0, 2)
    runner.model.train()
    runner._hooks.clear()  # they time and log whole runs
    weight = loop.detector.branch_head.conv_cls.weight
    before, gradients = weight.detach().clone(), []
    data = next(iter(loop.dataloader))
    for _ in range(2):
        assert torch.equal(weight, before)
        loop.run_iter(0, data)
        gradients.append(None if weight.grad is None else weight.grad.abs().sum())
    assert gradients[0] > 0 and not torch.equal(weight, before)


@pytest.mark.slow
def test_mixed_precision(config, tmp_path, monkeypatch):
    """Convolutions of the attack and of training in bfloat16, losses in float32."""
    seen = set()
    losses = MultiModalDetector.detection_losses
    frames = MultiModalDetector.frame_losses

    def spy(detector, output, samples, *part):
        attacked = frames if detector.branches.camera.training is False else losses
        fused = output.fusion(output.pyramids).features[0].dtype
        seen.add((attacked is frames, fused, output.outputs[0][0].dtype))
        return attacked(detector, output, samples, *part)

    monkeypatch.setattr(MultiModalDetector, "detection_losses", spy)
    monkeypatch.setattr(MultiModalDetector, "frame_losses", spy)
    options = OPTIONS | {"train_cfg.max_epochs": 1}
    train(load_config(config, options), work_dir=tmp_path, amp=True)
    bfloat16, float32 = torch.bfloat16, torch.float32
    assert seen == {(True, bfloat16, float32), (False, bfloat16, float32)}
    weights = load_checkpoint(tmp_path / "epoch_1.pth")["state_dict"]
    assert all(value.isfinite().all() for value in weights.values())
    assert torch.bfloat16 not in {value.dtype for value in weights.values()}


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(config, tmp_path, repo_root):
    """The same frames, attacked in the same way, and the mean of two gradients."""
    same = [
        "model.branches.camera.backbone.norm_eval=True",
        "model.branches.lidar.backbone.norm_eval=True",
        "model.branches.depth.backbone.norm_eval=True",
        "optim_wrapper.optimizer.type=SGD",
        "optim_wrapper.optimizer.lr=0.05",
        "load_from=None",
        "train_cfg.max_epochs=1",
        "train_dataloader.num_workers=0",
        "train_dataloader.persistent_workers=False",
        "default_hooks.checkpoint.save_best=None",
        "train_cfg.val_begin=9",
    ]
    runs = []
    for count in (1, 2):
        words = [config, "--launcher", "pytorch", "--work-dir", tmp_path / str(count)]
        words += ["--cfg-options", *same]
        words += [f"train_dataloader.batch_size={2 // count}"]
        runs.append([count, "train", list(map(str, words))])
    done = subprocess.run(
        [sys.executable, repo_root / "tests" / "ranks.py", json.dumps(runs)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(repo_root), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = (
        load_checkpoint(tmp_path / count / "epoch_1.pth")["state_dict"]
        for count in "12"
    )
    for name, value in one.items():
        if value.is_floating_point():
            torch.testing.assert_close(two[name], value, atol=2e-4, rtol=1e-3, msg=name)
