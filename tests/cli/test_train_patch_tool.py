"""One patch for many frames: trained, saved, then shown to frames it never saw."""

import json
from dataclasses import replace

import pytest
import torch
from attacked_project import make_project

from perception.apis import load_detector
from perception.attacks.patch.files import load_patch
from perception.cli import attack, train_patch
from perception.cli.options import run_tool
from perception.core.checkpoints import save_weights, sha256
from perception.core.structures import DataError
from perception.evaluation import patch as patch_training
from perception.evaluation.robustness.results import read_results

TRAIN = ("--threat", "camera_patch_free", "--epochs", "2", "--batch-size", "1")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("project"))


def run(tool, project, *words):
    tool.main([str(project.config), str(project.checkpoint), *map(str, words)])


def test_trained_then_shown_to_unseen_frames(project, tmp_path, capsys):
    picture = tmp_path / "deep" / "sign.png"
    run(train_patch, project, *TRAIN, "--out", picture)
    told = capsys.readouterr().out
    assert "in the first epoch" in told and str(picture) in told
    texture, made_for = load_patch(picture)
    assert texture.std() > 1 and made_for.placement.on == "image"
    left = {file.name for file in picture.parent.iterdir()}
    assert left == {"sign.png", "sign.json"}

    words = ("--threat", "camera_patch_free", "camera_noise", "--set", "steps=1")
    words += ("--patch", picture, "--out", tmp_path / "out")
    run(attack, project, *words)
    results = read_results(tmp_path / "out" / "results.json")
    (detector,) = results.detectors
    assert results.attacks == (
        "camera_patch_free@steps=1,patch=sign",
        "camera_noise@steps=1",
    )
    shown, other = (detector.attacks[name] for name in results.attacks)
    assert shown.description["type"] == "FixedPatch"
    assert shown.description["patch"]["picture"] == str(picture)
    assert len(shown.description["patch"]["sha256"]) == 64
    assert "patch" not in other.description
    assert all(frame.change["camera"]["red"] > 0 for frame in shown.frames)


def test_an_unfinished_training_is_never_lost(project, tmp_path):
    state = tmp_path / "sign.pth"
    state.write_bytes(b"hours of work")
    with pytest.raises(DataError, match=r"sign\.pth: .*unfinished.*--resume"):
        run(train_patch, project, *TRAIN, "--out", tmp_path / "sign.png")
    assert state.read_bytes() == b"hours of work"


def test_the_picture_tells_how_it_came_about(project, tmp_path):
    run(train_patch, project, *TRAIN, "--num", 1, "--out", tmp_path / "sign.png")
    told = json.loads((tmp_path / "sign.json").read_text())["training"]
    assert told["checkpoint_sha256"] == sha256(project.checkpoint)
    assert told["frame_ids"] == ["000000"]
    assert (told["epochs"], told["batch_size"], told["split"]) == (2, 1, "train")
    assert len(told["config_sha256"]) == 64
    assert told["command"].startswith("python tools/train_patch.py ")


def test_only_the_same_training_is_gone_on_with(project, tmp_path, monkeypatch):
    """Other weights or frames are refused, however alike the trainings are."""
    split = project.data / "ImageSets" / "one.txt"
    split.write_text("000001\n")
    words = [*TRAIN, "--split", "one", "--resume", "--out", tmp_path / "sign.png"]
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(patch_training, "save_patch", _stopped)
        run(train_patch, project, *words)
    torch.manual_seed(1)
    other = tmp_path / "other.safetensors"
    save_weights(other, load_detector(project.config).state_dict())
    with pytest.raises(DataError, match="another detector or other frames"):
        run(train_patch, replace(project, checkpoint=other), *words)
    split.write_text("000002\n")
    with pytest.raises(DataError, match="another detector or other frames"):
        run(train_patch, project, *words)
    split.write_text("000001\n")
    run(train_patch, project, *words)
    assert (tmp_path / "sign.png").is_file()


def _stopped(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("tool", "words", "message"),
    [
        (train_patch, ["--threat", "camera_pgd", "--out", "p.png"], "PatchThreat"),
        (train_patch, ["--threat", "patches", "--out", "p.png"], "no threat 'patches'"),
        (train_patch, ["--threat", "quick", "--out", "p.png"], "one patch is trained"),
        (train_patch, ["--threat", "camera_patch_free", "--out", "p.jpg"], "is a .png"),
        (
            attack,
            ["--threat", "camera_patch_free", "--patch", "none.png", "--out", "o"],
            "none.json: cannot read",
        ),
    ],
    ids=["no patch", "unknown", "several", "no png", "no such picture"],
)
def test_errors_are_one_line(
    project, tmp_path, capsys, monkeypatch, tool, words, message
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        run_tool(lambda: run(tool, project, *words))
    assert ended.value.code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and message in error
    assert not list(tmp_path.iterdir())
