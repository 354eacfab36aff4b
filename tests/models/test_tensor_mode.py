"""What ``tensor`` mode promises: tensors alone decide, traced or not, any number."""

import pytest
import torch
from tiny_detectors import make_batch, make_detector, make_sample

from perception.models.consensus.gate import contradictions
from perception.models.fusion import AgreementFusion


def inputs_of(detector, frames: int) -> dict[str, torch.Tensor]:
    batch = make_batch([make_sample() for _ in range(frames)])
    return detector.data_preprocessor(batch)["inputs"]


def learn_honest(detector, inputs) -> None:
    """Let an agreement gate know these frames, so that it blames whatever differs."""
    views = detector.fuse(detector.extract_branches(inputs)).views
    detector.fusion.mean.copy_(contradictions(views).mean(dim=0))
    detector.fusion.deviation.fill_(0.1)


@pytest.mark.parametrize(
    "fusion",
    [
        dict(fusion="ConcatFusion"),
        dict(fusion="MeanFusion"),
        dict(fusion="LatentEnsembleFusion"),
        dict(fusion="OddOneOutFusion", gate="spatial", threshold=0.3),
        dict(fusion="MedianFusion", fused=dict(type="OddOneOutFusion"), margin=1.0),
        dict(fusion="AgreementFusion", margin=1.0),
        dict(fusion="ConsensusFusion", margin=1.0),
    ],
    ids=lambda config: config["fusion"],
)
@torch.no_grad()
def test_tensor_mode_can_be_traced(fusion):
    """Tensors in, tensors out: nothing but the inputs decides the outputs."""
    detector = make_detector(**fusion).eval()
    inputs = inputs_of(detector, 2)
    judges = isinstance(detector.fusion, AgreementFusion)
    if judges:
        learn_honest(detector, inputs)
    traced = torch.jit.trace(detector, (inputs,), check_trace=False)
    other = {name: value.flip(-1).repeat(2, 1, 1, 1) for name, value in inputs.items()}
    for sensor in (None, *inputs):
        gone = {name: value.clone() for name, value in other.items()}
        if sensor is not None:
            gone[sensor][1] = torch.nan
        if judges and sensor is not None:
            blamed = detector.fuse(detector.extract_branches(gone)).blamed
            assert blamed[1] == [*inputs].index(sensor) and blamed[0] == 3
        for expected, got in zip(detector(gone), traced(gone), strict=True):
            for one, two in zip(expected, got, strict=True):
                torch.testing.assert_close(one, two, equal_nan=True)


@torch.no_grad()
def test_no_frames_at_all():
    for fusion in ("ConcatFusion", "AgreementFusion", "ConsensusFusion"):
        detector = make_detector(fusion=fusion).eval()
        inputs = inputs_of(detector, 1)
        scores, *_ = detector({name: value[:0] for name, value in inputs.items()})
        assert [level.shape for level in scores] == [(0, 2, 8, 16), (0, 2, 4, 8)]
