"""What ``tensor`` mode promises: tensors alone decide, traced or not, any number."""

import pytest
import torch
from tiny_detectors import (
    AGREEMENT,
    CONSENSUS,
    EXPERTS,
    MEDIAN,
    make_batch,
    make_detector,
    make_sample,
)


def inputs_of(detector, frames: int) -> dict[str, torch.Tensor]:
    batch = make_batch([make_sample() for _ in range(frames)])
    return detector.data_preprocessor(batch)["inputs"]


def learn_benign(detector, inputs) -> None:
    """Let a gate know these frames, so that whatever differs raises an alarm."""
    said = detector.fuse(detector.extract_feat(inputs)).verdict.contradictions
    detector.aggregator.gate.mean.copy_(said.mean(dim=0))
    detector.aggregator.gate.deviation.fill_(0.1)


@pytest.mark.parametrize(
    "config",
    [
        dict(fusion="ConcatFusion"),
        dict(fusion="MeanFusion"),
        dict(fusion="LatentEnsembleFusion"),
        dict(fusion="OddOneOutFusion", gate="spatial", threshold=0.3),
        dict(fusion="OddOneOutFusion", aggregator=MEDIAN | {"margin": 1.0}),
        dict(**EXPERTS, aggregator=AGREEMENT | {"margin": 1.0}),
        dict(**EXPERTS, aggregator=CONSENSUS | {"margin": 1.0}),
    ],
    ids=["concat", "mean", "lel", "spatial", "median", "agreement", "consensus"],
)
@torch.no_grad()
def test_tensor_mode_can_be_traced(config):
    """Tensors in, tensors out: nothing but the inputs decides the outputs."""
    detector = make_detector(**config).eval()
    inputs = inputs_of(detector, 2)
    judges = detector.aggregator is not None and detector.aggregator.gate is not None
    if judges:
        learn_benign(detector, inputs)
    traced = torch.jit.trace(detector, (inputs,), check_trace=False)
    other = {name: value.flip(-1).repeat(2, 1, 1, 1) for name, value in inputs.items()}
    for sensor in (None, *inputs):
        gone = {name: value.clone() for name, value in other.items()}
        if sensor is not None:
            gone[sensor][1] = torch.nan
        if judges and sensor is not None:
            left_out = detector.fuse(detector.extract_feat(gone)).attributed
            assert left_out[1] == [*inputs].index(sensor) and left_out[0] == 3
        for expected, got in zip(detector(gone), traced(gone), strict=True):
            for one, two in zip(expected, got, strict=True):
                torch.testing.assert_close(one, two, equal_nan=True)


@torch.no_grad()
def test_no_frames_at_all():
    for config in (
        {},
        dict(**EXPERTS, aggregator=AGREEMENT),
        dict(**EXPERTS, aggregator=CONSENSUS),
    ):
        detector = make_detector(**config).eval()
        inputs = inputs_of(detector, 1)
        scores, *_ = detector({name: value[:0] for name, value in inputs.items()})
        assert [level.shape for level in scores] == [(0, 2, 8, 16), (0, 2, 4, 8)]
