"""Options of a config: misspelt ones are refused, and what depends on them follows."""

import pytest
from data_readme import block

from perception.core.config import load_config
from perception.core.structures import DataError

CONFIG = "configs/synthetic/concat.py"


@pytest.fixture(autouse=True)
def at_root(repo_root, monkeypatch):
    monkeypatch.chdir(repo_root)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("dataroot", "no entry 'dataroot' to set; did you mean data_root?"),
        ("dataset.pipline.0.size", "'dataset' is only used while the file is read"),
        ("train_dataloader.dataset.pipline", "in train_dataloader.dataset; did you"),
        ("train_dataloader.batchsize", "did you mean batch_size?"),
        ("train_dataloader.dataset.pipeline.9.size", "no entry '9'"),
        ("train_cfg.max_epoch", "did you mean max_epochs?"),
        ("model.bbox_head.num_clases", "did you mean num_classes?"),
        ("model.test_cfg.scor_thr", "did you mean score_thr?"),
        ("optim_wrapper.optimizer.learning", "no entry 'learning'"),
        ("train_cfg.val_interval.x", "no entry 'x'"),
    ],
)
def test_what_nothing_reads_is_refused(option, message):
    with pytest.raises(DataError) as error:
        load_config(CONFIG, {option: 1})
    assert message in str(error.value)


def test_new_entries_that_something_reads_are_set():
    options = {
        "train_dataloader.drop_last": True,
        "train_dataloader.dataset.indices": 8,
        "optim_wrapper.optimizer.betas": (0.9, 0.99),
        "randomness.deterministic": True,
        "test_evaluator.dump_dir": "results",
    }
    config = load_config(CONFIG, options)
    assert config.train_dataloader.dataset.indices == 8


@pytest.mark.parametrize("option", ["max_epochs", "train_cfg.max_epochs"])
def test_the_schedule_is_as_long_as_the_training(option):
    config = load_config(CONFIG, {option: 3})
    assert config.train_cfg.max_epochs == 3
    assert config.param_scheduler[1].T_max == config.param_scheduler[1].end == 3


def test_variables_may_stand_in_a_config(repo_root, tmp_path):
    own = tmp_path / "own.py"
    base = f"_base_ = {str(repo_root / CONFIG)!r}\n"
    own.write_text(base + "max_epochs = 4\ninput_size = (64, 32)\nclasses = ['Car']\n")
    config = load_config(own)
    assert config.param_scheduler[1].T_max == config.train_cfg.max_epochs == 4
    assert config.test_dataloader.dataset.pipeline[0].size == (64, 32)
    assert config.model.bbox_head.num_classes == 1


def test_a_schedule_that_cannot_follow_says_what_to_set(repo_root, tmp_path):
    own = tmp_path / "own.py"
    steps = "dict(type='MultiStepLR', milestones=[6, 9])"
    own.write_text(
        f"_base_ = {str(repo_root / CONFIG)!r}\nparam_scheduler = [{steps}]\n"
    )
    with pytest.raises(DataError, match=r"param_scheduler\.0\.milestones is \[6, 9\]"):
        load_config(own, {"max_epochs": 3})
    more = {"max_epochs": 3, "param_scheduler.0.milestones": [1, 2]}
    assert load_config(own, more).train_cfg.max_epochs == 3


@pytest.mark.parametrize("size", ["640x192", (640, 192)])
def test_one_input_size_for_all(size):
    config = load_config(CONFIG, {"input_size": size})
    for name in ("train", "val", "test"):
        step = config[f"{name}_dataloader"].dataset.pipeline[0]
        assert (step.type, tuple(step["size"])) == ("ResizeFrame", (640, 192))
    with pytest.raises(DataError, match="WIDTHxHEIGHT"):
        load_config(CONFIG, {"input_size": "big"})


def test_heads_and_overlaps_follow_the_classes():
    config = load_config(CONFIG, {"classes": ["Car", "Van"]})
    assert config.model.bbox_head.num_classes == 2
    assert config.test_evaluator.overlaps == {"Car": 0.5, "Van": 0.5}
    dataset = config.train_dataloader.dataset
    assert (dataset.classes, dataset.also_train_as) == (("Car", "Van"), {})


def test_without_workers_none_persist():
    config = load_config(CONFIG, {"train_dataloader.num_workers": 0})
    assert config.train_dataloader.persistent_workers is False
    assert load_config(CONFIG).train_dataloader.persistent_workers is True


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_dataloader.dataset.classes": ["Car"]}, "FCOSHead detects 3; classes="),
        ({"test_evaluator.overlaps.Vann": 0.5}, "but overlaps has Vann"),
        (
            {"classes": ["Car", "Van"], "test_evaluator.overlaps.Va": 0.5},
            "overlaps has Va; did you mean Van?",
        ),
    ],
)
def test_data_heads_and_overlaps_are_of_the_same_classes(options, message):
    """Else an IndexError after the first epoch, or after all the scoring."""
    with pytest.raises(DataError) as error:
        load_config(CONFIG, options)
    assert message in str(error.value)


def test_overlaps_of_ones_own_for_classes_of_ones_own():
    options = {"classes": ["Car", "Van"], "test_evaluator.overlaps.Van": 0.7}
    overlaps = load_config(CONFIG, options).test_evaluator.overlaps
    assert overlaps == {"Car": 0.5, "Van": 0.7}


def test_one_depth_folder_for_all():
    config = load_config(CONFIG, {"depth_dir": "/data/my depth"})
    for name in ("train", "val", "test"):
        frames = config[f"{name}_dataloader"].dataset.frames
        assert frames.depth_dir == "/data/my depth"
    with pytest.raises(DataError, match="depth_dir is for KittiFrames"):
        load_config("configs/nuscenes/concat.py", {"depth_dir": "a"})


def test_the_lines_that_data_readme_shows(repo_root, tmp_path):
    own = tmp_path / "own.py"
    own.write_text(block("own-variables").replace("configs/", f"{repo_root}/configs/"))
    config = load_config(own)
    assert config.train_cfg.max_epochs == config.param_scheduler[1].T_max == 30
    assert config.train_dataloader.dataset.pipeline[0].size == (960, 288)
    assert config.model.bbox_head.num_classes == 2
    assert config.test_evaluator.overlaps == {"Car": 0.5, "Van": 0.5}
