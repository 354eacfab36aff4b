"""Configs train, stop, go on and are scored, through MMEngine's runner."""

import json
import logging
import os
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.runner.checkpoint import save_checkpoint
from tiny_kitti import write_config, write_kitti

from perception.apis import as_config, build_dataset, load_detector
from perception.core.checkpoints import load_checkpoint, secure_mmengine, sha256
from perception.core.config import default_work_dir, load_config
from perception.core.provenance import settings_of
from perception.core.structures import DataError
from perception.evaluation.detection.scoring import score_checkpoint as score
from perception.training.runner import _told, build_runner, train
from perception.training.work_folder import best_checkpoint

IN_PROCESS = {
    "train_dataloader.num_workers": 0,
    "train_dataloader.persistent_workers": False,
    "default_hooks.checkpoint.max_keep_ckpts": -1,
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, repo_root):
    """A config file with its frames, and the work directory of two epochs."""
    folder = tmp_path_factory.mktemp("tiny")
    root = write_kitti(folder / "kitti")
    base = repo_root / "configs" / "synthetic" / "concat.py"
    file = write_config(folder / "concat.py", root, base)
    best = train(load_config(file, IN_PROCESS), work_dir=folder / "whole")
    return file, folder / "whole", best


@pytest.mark.slow
def test_two_epochs_leave_checkpoints_and_logs(tiny):
    _, work_dir, best = tiny
    names = os.listdir(work_dir)
    assert {"epoch_1.pth", "epoch_2.pth", "concat.py"} <= set(names)
    assert best.parent == work_dir and best.name.startswith("best_kitti_mAP_epoch_")
    assert list(work_dir.glob("*/vis_data/events.out.tfevents*"))
    (log,) = work_dir.glob("*/*.log")
    text = log.read_text()
    assert "Epoch(train) [2]" in text and "LoggerHook" not in text
    checkpoint = load_checkpoint(work_dir / "epoch_2.pth")
    assert {"state_dict", "optimizer", "param_schedulers"} <= set(checkpoint)
    assert checkpoint["meta"]["epoch"] == 2


@pytest.mark.slow
def test_a_validation_that_was_missed_is_made_up_for(tiny, tmp_path):
    """Stopped after the last epoch's checkpoint was written, before it was scored."""
    file, whole, _ = tiny
    unscored = load_checkpoint(whole / "epoch_2.pth")
    for known in unscored["message_hub"].values():
        known.pop("best_score", None), known.pop("best_ckpt", None)
    torch.save(unscored, tmp_path / "epoch_2.pth")
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "epoch_2.pth"))
    best = train(load_config(file, IN_PROCESS), work_dir=tmp_path, resume=True)
    assert best == tmp_path / "best_kitti_mAP_epoch_2.pth"


def test_checkpoints_are_replaced_only_by_whole_ones(tmp_path, monkeypatch):
    secure_mmengine()
    file = tmp_path / "epoch_1.pth"
    save_checkpoint({"state_dict": {"a": torch.ones(1)}}, str(file))
    before = file.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(DataError, match="No space left"):
        save_checkpoint({"state_dict": {"a": torch.zeros(1)}}, str(file))
    assert file.read_bytes() == before
    assert os.listdir(tmp_path) == ["epoch_1.pth"]


@pytest.mark.slow
def test_resuming_continues_to_the_same_bits(tiny, tmp_path):
    file, whole, _ = tiny
    shutil.copy(whole / "epoch_1.pth", tmp_path / "epoch_1.pth")
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "epoch_1.pth"))
    # A worker process, where the run that did not stop had none.
    options = IN_PROCESS | {"train_dataloader.num_workers": 1}
    train(load_config(file, options), work_dir=tmp_path, resume=True)
    expected = load_checkpoint(whole / "epoch_2.pth")
    resumed = load_checkpoint(tmp_path / "epoch_2.pth")
    for name, value in expected["state_dict"].items():
        assert torch.equal(resumed["state_dict"][name], value), name
    for index, state in expected["optimizer"]["state"].items():
        for name, value in state.items():
            assert torch.equal(resumed["optimizer"]["state"][index][name], value)
    assert resumed["param_schedulers"] == expected["param_schedulers"]
    assert resumed["meta"]["iter"] == expected["meta"]["iter"] == 4
    first = load_checkpoint(whole / "epoch_1.pth")["state_dict"]
    assert any(not torch.equal(first[n], v) for n, v in resumed["state_dict"].items())


@pytest.mark.slow
def test_resuming_without_a_checkpoint_keeps_the_weights_to_start_from(tiny, tmp_path):
    file, whole, _ = tiny
    options = IN_PROCESS | {
        "load_from": str(whole / "epoch_2.pth"),
        "optim_wrapper.optimizer.lr": 0.0,
        "train_cfg.max_epochs": 1,
    }
    last = train(load_config(file, options), work_dir=tmp_path, resume=True)
    name = "bbox_head.conv_cls.weight"
    expected = load_checkpoint(whole / "epoch_2.pth")["state_dict"][name]
    assert torch.equal(load_checkpoint(last)["state_dict"][name], expected)


@pytest.mark.slow
def test_scores_and_what_reproduces_them(tiny, tmp_path):
    file, whole, _ = tiny
    checkpoint = whole / "epoch_2.pth"
    figures = score(
        load_config(file),
        checkpoint,
        work_dir=tmp_path / "work",
        dump_kitti=tmp_path / "results",
        json_file=tmp_path / "figures.json",
        invocation={"command": "python tools/test.py …"},
    )
    assert 0 <= figures["kitti/mAP"] <= 100
    assert sorted(os.listdir(tmp_path / "results")) == ["000004.txt", "000005.txt"]

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    text = (tmp_path / "figures.json").read_text()
    written = json.loads(text, parse_constant=refuse)
    assert written["checkpoint_sha256"] == sha256(checkpoint)
    assert written["frames"] == 2
    assert written["frame_ids"] == ["000004", "000005"]
    assert written["data_root"] == str(file.parent / "kitti")
    assert written["command"] == "python tools/test.py …"
    assert written["versions"]["torch"]
    # The same as an attack on the same frames would write.
    dataset = build_dataset(file, "test")
    settings = settings_of(as_config(file), file, checkpoint, dataset.frames.frame_ids)
    assert settings.items() <= written.items()
    assert "seed" not in written  # the config's need not be the checkpoint's
    assert written["figures"]["kitti/mAP"] == figures["kitti/mAP"]
    assert written["figures"]["kitti/Cyclist_2d_easy_R40"] is None


@pytest.mark.slow
def test_results_of_other_frames_are_not_mixed_with(tiny, tmp_path):
    """eval_kitti.py would score them as if this run had written them."""
    file, whole, _ = tiny
    for name in ("000004.txt", "000099.txt"):
        (tmp_path / name).write_text("of an earlier run")
    with pytest.raises(DataError, match=r"results of other frames \(000099\); remove"):
        score(
            load_config(file),
            whole / "epoch_2.pth",
            work_dir=tmp_path / "work",
            dump_kitti=tmp_path,
        )
    assert (tmp_path / "000004.txt").read_text() == "of an earlier run"


@pytest.mark.slow
def test_weights_of_another_detector_are_refused(tiny, tmp_path):
    file, _, _ = tiny
    torch.save({"state_dict": {"some.weight": torch.zeros(1)}}, tmp_path / "x.pth")
    with pytest.raises(DataError, match=r"x.pth: does not fit .*concat.py: .*some.we"):
        score(load_config(file), tmp_path / "x.pth", work_dir=tmp_path)


@pytest.mark.slow
def test_seed_reaches_weights_and_augmentation(tiny, tmp_path):
    file, _, _ = tiny
    config = load_config(file, IN_PROCESS)
    config.randomness.seed = 5
    config.work_dir = str(tmp_path)
    runner = build_runner(config)
    assert runner.seed == 5
    dataset = runner.build_dataloader(config.train_dataloader, seed=5).dataset
    assert dataset.seed == 5


def test_config_options_and_data_root(repo_root):
    path = repo_root / "configs" / "synthetic" / "concat.py"
    config = load_config(path, {"data_root": "here", "train_cfg.max_epochs": 3})
    assert config.train_cfg.max_epochs == 3
    for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
        assert config[loader].dataset.frames.root == "here"


def test_options_that_nothing_reads_are_refused(repo_root, tmp_path):
    path = repo_root / "configs" / "synthetic" / "concat.py"
    with pytest.raises(DataError, match=r"'dataroot' to set; did you mean data_root"):
        load_config(path, {"dataroot": "here"})
    with pytest.raises(DataError, match=r"no entry 'xyz' to set$"):
        load_config(path, {"xyz.depth": 1})
    (tmp_path / "bare.py").write_text("model = dict()\n")
    options = {"load_from": "x.pth", "randomness.seed": 1, "work_dir": "here"}
    config = load_config(tmp_path / "bare.py", options)
    assert (config.load_from, config.randomness.seed) == ("x.pth", 1)


def test_every_config_loads_and_leaves_are_short(repo_root):
    leaves = [
        path
        for path in (repo_root / "configs").rglob("*.py")
        if "_base_" not in path.parts
    ]
    assert len(leaves) >= 9
    for path in leaves:
        assert len(path.read_text().splitlines()) <= 15, path
        config = load_config(path)
        kinds = ("MultiModalDetector", "LateFusionDetector", "MultiModalClassifier")
        assert config.model.type in kinds, path
        assert config.train_dataloader.dataset.frames.root == config.data_root


@pytest.mark.parametrize(
    "text", ["_base_ = 'none.py'", "a = ", "a = 1 / 0", "a = dict(b=c)"]
)
def test_unusable_configs(tmp_path, text):
    path = tmp_path / "broken.py"
    path.write_text(text + "\n")
    with pytest.raises(DataError, match=r"broken.py: not a usable config \(") as error:
        load_config(path)
    assert "\n" not in str(error.value)


def test_missing_config_and_work_dir(tmp_path):
    with pytest.raises(DataError, match="no such config file"):
        load_config(tmp_path / "none.py")
    with pytest.raises(DataError, match="no checkpoint; train first"):
        best_checkpoint(tmp_path)


def test_best_checkpoint_else_the_newest(tmp_path):
    (tmp_path / "epoch_3.pth").touch()
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "epoch_3.pth"))
    assert best_checkpoint(tmp_path) == tmp_path / "epoch_3.pth"
    (tmp_path / "best_kitti_mAP_epoch_2.pth").touch()
    assert best_checkpoint(tmp_path).name == "best_kitti_mAP_epoch_2.pth"


def test_default_work_dir():
    path = default_work_dir("configs/synthetic/concat.py")
    assert path.as_posix() == "work_dirs/synthetic_concat"


def test_weights_of_another_size_are_no_start(tiny, tmp_path):
    """MMEngine would leave them all out and train from random ones."""
    file, whole, _ = tiny
    wider = {"model.bbox_head.feat_channels": 16, "train_cfg.max_epochs": 1}
    kept = IN_PROCESS | {"load_from": str(whole / "epoch_2.pth")}
    small = tmp_path / "small.pth"
    weights = load_checkpoint(whole / "epoch_2.pth")["state_dict"]
    torch.save({name: value.flatten()[:1] for name, value in weights.items()}, small)
    with pytest.raises(DataError, match=r"small\.pth: only \d+ of its \d+ tensors fit"):
        train(
            load_config(file, kept | {"load_from": str(small)}),
            work_dir=tmp_path / "no",
        )
    best = train(load_config(file, kept | wider), work_dir=tmp_path / "yes")
    assert best.is_file()  # a head of another width may start from random weights


@pytest.mark.slow
def test_detections_of_frames_without_labels_are_written(tiny, tmp_path):
    """KITTI's `testing`: scored nowhere, and no traceback after all the work."""
    file, whole, _ = tiny
    root = file.parent / "kitti"
    shutil.copytree(root / "training", root / "testing", dirs_exist_ok=True)
    shutil.rmtree(root / "testing" / "label_2")
    frames = "test_dataloader.dataset.frames"
    options = {f"{frames}.subset": "testing"}
    more = {"work_dir": tmp_path / "work", "json_file": tmp_path / "figures.json"}
    weights, dump = whole / "epoch_2.pth", tmp_path / "results"
    assert score(load_config(file, options), weights, dump_kitti=dump, **more) == {}
    assert sorted(os.listdir(dump)) == ["000004.txt", "000005.txt"]
    assert json.loads((tmp_path / "figures.json").read_text())["figures"] == {}
    with pytest.raises(DataError, match=r"no labels, .*; --dump-kitti DIR writes"):
        score(load_config(file, options), weights, **more)
    spaced = {"classes": ["Car", "Person sitting", "Cyclist"]}
    with pytest.raises(DataError, match="'Person sitting' must be one word"):
        score(load_config(file, spaced), weights, dump_kitti=dump, **more)


def test_small_kitti_configs_start_from_shipped_weights(repo_root, monkeypatch):
    monkeypatch.chdir(repo_root)
    starts = {
        path.name: load_config(path).load_from
        for path in (repo_root / "configs" / "kitti").glob("*_mini.py")
    }
    given = {name: Path(start) for name, start in starts.items() if start}
    assert {"concat_at_mini.py", "consensus_robust_mini.py"} < set(given)
    for name, start in given.items():
        assert start.parent == Path("data/zoo") and start.is_file(), name
        load_detector(repo_root / "configs" / "kitti" / name, start)  # they all fit


def test_a_start_that_is_not_there_says_what_else_to_take(repo_root, tmp_path):
    config = load_config(repo_root / "configs/synthetic/concat_at.py")
    with pytest.raises(DataError, match=r"epoch_10\.pth: no such .*data/zoo"):
        train(config, work_dir=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optim_wrapper.optimizer.lr": 1e-4}, r"initial_lr is 0\.0001, .* 0\.002;"),
        ({"train_cfg.max_epochs": 5}, r"param_scheduler\.1: T_max is 10, .* 4;"),
    ],
)
def test_resuming_with_another_schedule_is_refused(tiny, tmp_path, options, message):
    """The checkpoint's would silently replace it."""
    file, whole, _ = tiny
    shutil.copy(whole / "epoch_1.pth", tmp_path / "epoch_1.pth")
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "epoch_1.pth"))
    with pytest.raises(DataError, match=message):
        train(load_config(file, IN_PROCESS | options), work_dir=tmp_path, resume=True)


def test_what_weights_lack_is_one_line():
    """MMEngine lists hundreds of tensors where a training starts from another's."""
    text = (
        "The model and loaded state dict do not match exactly\n\n"
        "size mismatch for head.cls: copying a param\n"
        "unexpected key in source state_dict: a.weight, a.bias\n\n"
        "missing keys in source state_dict: b.weight\n"
    )
    record = logging.LogRecord("x", logging.WARNING, "f", 1, text, (), None)
    assert _told(record)
    assert record.getMessage() == (
        "of the weights to start from 2 tensors are not of this detector, 1 are of "
        "another size, and 1 of its own are not among them: those begin at random"
    )
    noise = logging.LogRecord("x", logging.INFO, "f", 1, "Exp name: me", (), None)
    assert not _told(noise)
