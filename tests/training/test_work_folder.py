"""A training's folder speaks of itself alone, and is one training's."""

import math
import multiprocessing
import os
import shutil
import types
from pathlib import Path

import pytest
import torch
from tiny_kitti import write_config, write_kitti

from perception.core.checkpoints import load_checkpoint
from perception.core.config import load_config
from perception.core.locks import sole_user
from perception.core.structures import DataError
from perception.training.hooks import FiniteLossHook
from perception.training.runner import train
from perception.training.work_folder import PlainCheckpointHook, latest_checkpoint

IN_PROCESS = {
    "train_dataloader.num_workers": 0,
    "train_dataloader.persistent_workers": False,
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, repo_root):
    """A config file with its frames, and the work folder of two epochs."""
    folder = tmp_path_factory.mktemp("trained")
    root = write_kitti(folder / "kitti")
    base = repo_root / "configs" / "synthetic" / "concat.py"
    file = write_config(folder / "concat.py", root, base)
    train(load_config(file, IN_PROCESS), work_dir=folder / "whole")
    return file, folder / "whole"


@pytest.mark.parametrize(
    "said, expected",
    [
        ("", "epoch_10.pth"),  # a kill left it empty
        (None, "epoch_10.pth"),
        ("/elsewhere/epoch_2.pth", "epoch_2.pth"),  # the folder was copied
        ("../epoch_3.pth", "epoch_10.pth"),
        ("epoch_77.pth", "epoch_10.pth"),
        ("..", "epoch_10.pth"),
    ],
)
def test_the_folder_itself_says_what_is_newest(said, expected, tmp_path):
    (tmp_path / "work").mkdir()
    for name in ("work/epoch_2.pth", "work/epoch_10.pth", "epoch_3.pth"):
        (tmp_path / name).touch()
    (tmp_path / "work" / "best_kitti_mAP_epoch_11.pth").touch()
    if said is not None:
        (tmp_path / "work" / "last_checkpoint").write_text(said)
    found = latest_checkpoint(tmp_path / "work")
    assert found == tmp_path / "work" / expected


def test_an_empty_folder_has_none(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    assert latest_checkpoint(tmp_path / "missing") is None


@pytest.mark.slow
def test_a_copied_folder_leaves_the_original_alone(trained, tmp_path):
    """It goes on from its own checkpoint; a better one replaces its own best."""
    file, whole = trained
    copy = tmp_path / "copy"
    shutil.copytree(whole, copy)
    for name in ("epoch_2.pth",):
        checkpoint = load_checkpoint(copy / name)
        info = checkpoint["message_hub"]["runtime_info"]
        assert Path(info["best_ckpt"]).name == info["best_ckpt"]  # relative
        info |= {"best_score": -1.0, "best_ckpt": str(whole / info["best_ckpt"])}
        torch.save(checkpoint, copy / name)
    (copy / "last_checkpoint").write_text(str(whole / "epoch_2.pth"))
    before = {p.name: p.stat().st_mtime_ns for p in whole.iterdir()}
    options = IN_PROCESS | {"train_cfg.max_epochs": 3, "train_cfg.val_interval": 1}
    # The schedule is that of the training which is gone on with.
    options |= {"param_scheduler.1.T_max": 2, "param_scheduler.1.end": 2}
    best = train(load_config(file, options), work_dir=copy, resume=True)
    assert best.parent == copy and (copy / "epoch_3.pth").is_file()
    assert {p.name: p.stat().st_mtime_ns for p in whole.iterdir()} == before
    kept = load_checkpoint(copy / "epoch_3.pth")["message_hub"]["runtime_info"]
    assert kept["keep_ckpt_ids"] == [2, 3] and not (copy / "epoch_1.pth").exists()


def test_a_checkpoint_cannot_name_files_elsewhere(tmp_path):
    victim, work = tmp_path / "victim", tmp_path / "work"
    victim.mkdir(), work.mkdir()
    (work / "best.pth").touch()
    info = {
        "best_ckpt": str(victim),
        "best_score": 1.0,
        "best_ckpt_a": "/x/best.pth",
        "last_ckpt": "../victim",
        "keep_ckpt_ids": ["../victim"],
        "epoch": 2,
    }
    checkpoint = {"message_hub": {"runtime_info": info}}
    runner = types.SimpleNamespace(work_dir=str(work))
    PlainCheckpointHook().after_load_checkpoint(runner, checkpoint)
    assert checkpoint["message_hub"]["runtime_info"] == {
        "best_ckpt_a": str(work / "best.pth"),
        "epoch": 2,
    }


@pytest.mark.slow
def test_a_second_training_is_refused(trained):
    file, whole = trained
    before = sorted(os.listdir(whole))
    with pytest.raises(DataError, match=r"epoch_2\.pth.*--resume goes on"):
        train(load_config(file, IN_PROCESS), work_dir=whole)
    with (
        sole_user(whole, "a training"),
        pytest.raises(DataError, match="another program is at work"),
    ):
        train(load_config(file, IN_PROCESS), work_dir=whole, resume=True)
    assert sorted(os.listdir(whole)) == before


def _hold(folder: str, ready, end) -> None:
    with sole_user(folder, "a test"):
        ready.set()
        end.wait()


def test_a_lock_ends_with_its_process(tmp_path):
    context = multiprocessing.get_context("fork")
    ready, end = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(str(tmp_path), ready, end))
    process.start()
    assert ready.wait(30)
    with pytest.raises(DataError, match="a test"), sole_user(tmp_path, "a test"):
        pass
    process.kill()
    process.join()
    with sole_user(tmp_path, "a test"):
        pass


def test_a_lock_is_not_opened_through_a_link(tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError), sole_user(tmp_path / "work", "a test"):
        pass
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_ends_the_training(value):
    runner = types.SimpleNamespace(iter=6)
    samples = [{"frame_id": "000004"}, {"frame_id": "000009"}]
    batch = {"data_samples": samples}
    hook = FiniteLossHook()
    hook.after_train_iter(runner, 0, batch, {"loss": 1.0, "grad_norm": math.inf})
    with pytest.raises(DataError, match=r"iteration 7: loss_cls .* 000004, 000009"):
        hook.after_train_iter(
            runner, 0, batch, {"loss": 1.0, "loss_cls": torch.tensor(value)}
        )


@pytest.mark.slow
def test_the_last_good_checkpoint_stays(trained, tmp_path):
    file, _ = trained
    options = IN_PROCESS | {"optim_wrapper.optimizer.lr": 1e30}
    with pytest.raises(DataError, match=r"iteration [23].*on frames"):
        train(load_config(file, options), work_dir=tmp_path)
    for path in tmp_path.glob("*.pth"):
        weights = load_checkpoint(path)["state_dict"].values()
        assert all(w.isfinite().all() for w in weights)
