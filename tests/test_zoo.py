"""Published weights: small, safe to load, and with a card that tells the truth."""

import runpy
import sys
from pathlib import Path

import pytest
import torch

from perception.apis import load_detector
from perception.core.checkpoints import sha256
from perception.core.provenance import Environment
from perception.core.structures import DataError
from perception.evaluation.detection.rules import Scoring
from perception.evaluation.robustness.figures import detector_result
from perception.evaluation.robustness.results import (
    Accuracy,
    AttackResult,
    MeanAP,
    Results,
    RunInfo,
    Stages,
    Success,
)
from perception.evaluation.zoo import publish

REPOSITORY = Path(__file__).parents[1]
CONFIG = REPOSITORY / "configs" / "synthetic" / "camera_only.py"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("zoo") / "epoch_1.pth"
    detector = load_detector(CONFIG)
    torch.save({"state_dict": detector.state_dict(), "optimizer": {"x": 1}}, file)
    return file


def results(folder: Path, digest: str) -> Path:
    """Figures of these weights: clean, one attack, one without any object."""

    def accuracy(mean):
        return Accuracy(MeanAP(mean, {}, {}), MeanAP(mean, {}, {}))

    attacks = {
        name: AttackResult(
            name=name,
            attacked_sensors=("camera",),
            description={"type": "PGD", "threat": {}},
            corruption=None,
            ap=Stages(accuracy(81.25), accuracy(left)),
            success=Success(0.0, 0, 0, 0, 0),
            detection_loss=None,
            gate=None,
            ineffective=ineffective,
            changed=True,
            seconds=1.0,
            seconds_per_frame=0.5,
            environments=(),
        )
        for name, left, ineffective in (
            ("camera_pgd", 40.0, False),
            ("camera_apgd", 50.0, True),
            ("stale", None, False),
        )
    }
    made = dict(name="a", config="", config_sha256="", checkpoint="")
    made["checkpoint_sha256"] = digest
    run = RunInfo("python tools/robustness.py …", "", (), "", "", (), 8, 1, 1.0, "", {})
    results = Results(
        run=run,
        frame_ids=("000001", "000002"),
        classes=(),
        sensors={},
        scoring=Scoring({}),
        attacks=tuple(attacks),
        baseline="a",
        detectors=(detector_result(made, ["camera"], attacks),),
        environments=(Environment("GPU", torch="2.9"),),
    )
    (folder / "robustness.json").write_bytes(results.to_json())
    return folder / "robustness.json"


def test_half_precision_weights_and_a_card_with_figures(checkpoint, tmp_path):
    out = tmp_path / "camera.safetensors"
    digest = publish(CONFIG, checkpoint, out, command="train it")
    assert digest == sha256(out)
    assert out.stat().st_size < 0.6 * checkpoint.stat().st_size
    first, second = load_detector(CONFIG, checkpoint), load_detector(CONFIG, out)
    for name, value in first.state_dict().items():
        expected = value.half().to(value.dtype) if value.is_floating_point() else value
        assert torch.equal(second.state_dict()[name], expected), name
    card = (tmp_path / "camera.md").read_text()
    assert digest in card and "train it" in card and "mean AP" not in card

    # Written anew from the published file: the same bytes, now with figures.
    file = results(tmp_path, digest)
    assert publish(CONFIG, out, out, command="train it", results=file) == digest
    card = (tmp_path / "camera.md").read_text()
    assert "on 2 unseen frames" in card and "Measured on: GPU, torch 2.9\n" in card
    assert "| clean | 81.2 |" in card and "| camera_pgd | 40.0 |" in card
    assert "| stale | – |" in card
    assert "| camera_apgd | 50.0 * |" in card and "no measure of robustness" in card


def test_figures_of_other_weights_are_refused(checkpoint, tmp_path):
    out = tmp_path / "camera.safetensors"
    file = results(tmp_path, "0" * 64)
    out.write_bytes(b"what was there before")
    with pytest.raises(DataError, match="no figures of the weights"):
        publish(CONFIG, checkpoint, out, command="", results=file)
    assert out.read_bytes() == b"what was there before"
    file.write_text("[]")
    with pytest.raises(DataError, match="expected results of"):
        publish(CONFIG, checkpoint, out, command="", results=file)
    with pytest.raises(DataError, match="are published as"):
        publish(CONFIG, checkpoint, tmp_path / "x.pth", command="")


def test_tool(checkpoint, tmp_path, monkeypatch, capsys):
    tool = REPOSITORY / "tools" / "publish.py"
    out = tmp_path / "camera.safetensors"
    arguments = [CONFIG, checkpoint, "--out", out, "--command", "train it"]
    monkeypatch.setattr(sys, "argv", [str(tool), *map(str, arguments)])
    runpy.run_path(str(tool), run_name="__main__")
    assert sha256(out) in capsys.readouterr().out
