"""Pictures of validation frames during training."""

import numpy as np
import pytest
from attacked_project import make_project

from perception.apis import build_dataset, load_detector
from perception.core.config import load_config
from perception.datasets.frame_dataset import collate_frames
from perception.visualization.hook import DetectionPicturesHook


class Recorder:
    """Stands for a runner and its visualizer."""

    def __init__(self, model, dataset):
        self.model, self.visualizer, self.iter = model, self, 25
        self.val_dataloader = type("Loader", (), {"dataset": dataset})
        self.images = []

    def add_image(self, name, image, step=0):
        self.images.append((name, image, step))


@pytest.fixture(scope="module", name="parts")
def model_and_frames(tmp_path_factory):
    project = make_project(tmp_path_factory.mktemp("hook"))
    model = load_detector(project.config, project.checkpoint)
    return model, build_dataset(project.config, "val")


def validate(hook, runner, dataset):
    hook.before_val_epoch(runner)
    for batch in ([0, 1], [2, 3]):
        data = collate_frames([dataset[i] for i in batch])
        outputs = runner.model.val_step(data)
        hook.after_val_iter(runner, 0, data, outputs)


def test_first_frames_of_every_second_validation(parts):
    model, dataset = parts
    runner = Recorder(model, dataset)
    hook = DetectionPicturesHook(frames=3, width=640, every=2)
    for _ in range(3):
        validate(hook, runner, dataset)
    names = [name for name, _, _ in runner.images]
    assert names == ["val/000001", "val/000002", "val/000003"] * 2
    assert all(image.dtype == np.uint8 for _, image, _ in runner.images)
    assert {step for _, _, step in runner.images} == {25}


def test_config_adds_the_hook_to_the_default_runtime(repo_root):
    runtime = repo_root / "configs" / "_base_" / "runtime"
    ours = load_config(runtime / "pictures.py")
    assert "perception.visualization.hook" in ours.custom_imports["imports"]
    assert [hook["type"] for hook in ours.custom_hooks] == ["DetectionPicturesHook"]
    assert ours.default_hooks.plain_checkpoint.type == "PlainCheckpointHook"


def test_impossible_hook():
    with pytest.raises(ValueError, match="at least 1"):
        DetectionPicturesHook(frames=0)
