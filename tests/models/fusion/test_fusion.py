"""The fusion necks: hand-computed cases, and independence of the sensor left out."""

import warnings
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmdet.registry import MODELS
from torch import Tensor

from perception.models.fusion import (
    ConcatFusion,
    FusionNeck,
    LatentEnsembleFusion,
    MeanFusion,
    OddOneOutFusion,
)
from perception.models.fusion.odd_one_out import hard_routes
from perception.models.losses import gate_hits, odd_one_out_loss
from perception.models.pyramid import PyramidShape

NAMES = ("thermal", "radar", "sonar", "echo")
NECKS = (ConcatFusion, MeanFusion, LatentEnsembleFusion, OddOneOutFusion)


def make(
    neck: type[FusionNeck], sensors: Sequence[str] = NAMES[:3], **changes
) -> FusionNeck:
    torch.manual_seed(0)
    sizes = dict(in_channels=2, num_levels=2, out_channels=3)
    sizes |= {name: changes.pop(name) for name in sizes if name in changes}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return neck(PyramidShape(sensors=tuple(sensors), **sizes), **changes)


def all_frames(number: int, frames: int = 1) -> Tensor:
    return torch.full((frames,), number)


def pyramids(
    sensors: Sequence[str] = NAMES[:3],
    frames: int = 2,
    size: tuple[int, int] = (4, 6),
    channels: int = 2,
    levels: int = 2,
) -> dict[str, tuple[Tensor, ...]]:
    torch.manual_seed(1)
    return {
        name: tuple(
            torch.randn(frames, channels, -(-size[0] // 2**n), -(-size[1] // 2**n))
            for n in range(levels)
        )
        for name in sensors
    }


def scalar_neck(neck: type[FusionNeck], **changes) -> FusionNeck:
    """Three sensors, one level, one channel."""
    return make(
        neck, in_channels=1, num_levels=1, out_channels=1, **changes
    ).requires_grad_(False)


def scalar_pyramids(*values: float) -> dict[str, tuple[Tensor]]:
    return {
        name: (torch.full((1, 1, 1, 1), value),)
        for name, value in zip(NAMES, values, strict=False)
    }


def set_conv(conv: torch.nn.Conv2d, weights: Sequence[float], bias: float) -> None:
    """Weights of a 1x1 convolution to one channel."""
    conv.weight.data = torch.tensor(weights).view(1, -1, 1, 1)
    if conv.bias is not None:
        conv.bias.data = torch.tensor([bias])


def test_concat_by_hand():
    neck = scalar_neck(ConcatFusion)
    set_conv(neck.mix[0], [1.0, 10.0, 100.0], 0.5)
    output = neck(scalar_pyramids(3.0, 4.0, 5.0))
    assert output.features[0].item() == 543.5
    assert output.gate_logits is None


def test_mean_by_hand():
    neck = scalar_neck(MeanFusion)
    set_conv(neck.mix[0], [2.0], 1.0)
    assert neck(scalar_pyramids(3.0, 4.0, 8.0)).features[0].item() == 11.0


def test_latent_ensemble_by_hand():
    neck = scalar_neck(LatentEnsembleFusion, l1_weight=0.1).eval()
    set_conv(neck.mix[0], [1.0, -10.0, 100.0], 0.0)
    neck.norm[0].running_mean.fill_(63.0)
    neck.norm[0].running_var.fill_(4.0 - neck.norm[0].eps)
    neck.norm[0].bias.data.fill_(7.0)
    output = neck(scalar_pyramids(3.0, 4.0, 5.0))  # (3 - 40 + 500 - 63) / 2 + 7
    assert output.features[0].item() == pytest.approx(207.0)
    losses = neck.losses(None, torch.tensor([3]))
    assert losses["loss_lel_l1"].item() == pytest.approx(0.1 * 111.0)


def test_latent_ensemble_penalty_counts_every_level_and_has_a_gradient():
    neck = make(LatentEnsembleFusion)
    (loss,) = neck.losses(None, torch.tensor([3, 3])).values()
    expected = 0.01 * sum(mix.weight.abs().sum() for mix in neck.mix)
    assert loss.item() == pytest.approx(expected.item())
    loss.backward()
    weight = neck.mix[1].weight
    torch.testing.assert_close(weight.grad, 0.01 * weight.sign())


def odd_one_out_by_hand(logits: Sequence[float], **changes) -> FusionNeck:
    """Experts e_i with known weights and a gate that always says the same."""
    neck = scalar_neck(OddOneOutFusion, gate_level=0, **changes)
    experts = neck.experts[0]
    set_conv(experts[0], [1.0, 2.0], 0.0)  # sees z1, z2
    set_conv(experts[1], [3.0, 4.0], 0.0)  # sees z0, z2
    set_conv(experts[2], [5.0, 6.0], 0.0)  # sees z0, z1
    set_conv(experts[3], [1.0, 1.0, 1.0], 0.5)
    neck.decide.weight.data.zero_()
    neck.decide.bias.data = torch.tensor(logits)
    return neck


@pytest.mark.parametrize("gate", ["global", "spatial"])
def test_odd_one_out_by_hand(gate):
    shares = torch.tensor([0.1, 0.2, 0.3, 0.4])
    neck = odd_one_out_by_hand(shares.log().tolist(), gate=gate)
    output = neck(scalar_pyramids(2.0, 3.0, 5.0))
    # e_0 = 3 + 10 = 13; e_1 = 6 + 20 = 26; e_2 = 10 + 18 = 28; e_S = 10.5
    expected = 0.1 * 13 + 0.2 * 26 + 0.3 * 28 + 0.4 * 10.5
    assert output.features[0].item() == pytest.approx(expected)
    torch.testing.assert_close(output.gate_logits.softmax(1).flatten(), shares)


@pytest.mark.parametrize(
    "left_out, expected", [(0, 13.0), (1, 26.0), (2, 28.0), (3, 10.5)]
)
def test_leaving_out_uses_the_expert_without_that_sensor(left_out, expected):
    neck = odd_one_out_by_hand([0.0, 0.0, 0.0, 0.0])
    features = scalar_pyramids(2.0, 3.0, 5.0)
    output = neck(features, all_frames(left_out))
    assert output.features[0].item() == expected
    assert output.gate_logits is None
    assert neck.losses(output.gate_logits, torch.tensor([left_out])) == {}
    assert neck.all_experts(features)[left_out][0].item() == expected
    assert neck(features).gate_logits is not None


@given(
    count=st.integers(2, 4),
    frames=st.integers(1, 2),
    height=st.integers(1, 7),
    width=st.integers(1, 7),
    data=st.data(),
)
def test_a_sensor_left_out_has_no_influence_at_all(count, frames, height, width, data):
    names = NAMES[:count]
    gone = data.draw(st.sampled_from(names))
    worst = data.draw(st.sampled_from([0.0, 1e30, float("nan"), float("inf")]))
    neck = make(OddOneOutFusion, names)
    clean = pyramids(names, frames, (height, width))
    spoilt = dict(clean)
    spoilt[gone] = tuple(torch.full_like(level, worst) for level in clean[gone])
    for features in (clean, spoilt):
        for pyramid in features.values():
            for level in pyramid:
                level.grad = None
                level.requires_grad_()
    numbers = all_frames(names.index(gone), frames)
    a, b = neck(clean, numbers).features, neck(spoilt, numbers).features
    for one, other in zip(a, b, strict=True):
        assert torch.equal(one, other)
    sum(level.square().sum() for level in b).backward()
    assert all(level.grad is None for level in spoilt[gone])
    for name in names:
        if name != gone:
            assert all(level.grad.abs().sum() > 0 for level in spoilt[name])


@pytest.mark.parametrize("gate", ["global", "spatial"])
@pytest.mark.parametrize("index", range(4))
def test_a_certain_gate_is_the_forced_gate(gate, index):
    neck = make(OddOneOutFusion, gate=gate)
    neck.decide.bias.data[index] = 1e4
    features = pyramids()
    certain = neck(features).features
    forced = neck(features, all_frames(index, 2)).features
    for one, other in zip(certain, forced, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("gate_level, grid", [(0, (5, 7)), (1, (3, 4))])
def test_shapes_of_the_gate(gate_level, grid):
    features = pyramids(size=(5, 7))
    for gate, shape in (("global", (2, 4)), ("spatial", (2, 4, *grid))):
        neck = make(OddOneOutFusion, gate=gate, gate_level=gate_level)
        output = neck(features)
        assert output.gate_logits.shape == shape
        assert [f.shape for f in output.features] == [(2, 3, 5, 7), (2, 3, 3, 4)]


def test_odd_one_out_loss_by_hand():
    shares = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]])
    loss = odd_one_out_loss(shares.log(), torch.tensor([0, 2]))
    expected = -(torch.tensor(0.5).log() + torch.tensor(0.7).log()) / 2
    assert loss.item() == pytest.approx(expected.item())


def test_odd_one_out_loss_asks_every_location_for_the_same_answer():
    logits = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    odd = torch.tensor([3, 1])
    by_location = torch.stack(
        [odd_one_out_loss(logits[:, :, y, x], odd) for y in range(3) for x in range(5)]
    )
    loss = odd_one_out_loss(logits, odd)
    torch.testing.assert_close(loss, by_location.mean())


def test_odd_one_out_loss_weight():
    features, odd = pyramids(), torch.tensor([3, 0])
    neck = make(OddOneOutFusion, loss_weight=0.5)
    output = neck(features)
    expected = 0.5 * odd_one_out_loss(output.gate_logits, odd)
    torch.testing.assert_close(
        neck.losses(output.gate_logits, odd)["loss_odd_one_out"], expected
    )
    neck = make(OddOneOutFusion, loss_weight=0)
    assert "loss_odd_one_out" not in neck.losses(neck(features).gate_logits, odd)


def test_hard_routes_by_hand():
    weights = torch.tensor([[0.5, 0.1, 0.4], [0.3, 0.35, 0.35], [0.1, 0.0, 0.9]])
    expected = [[1.0, 0, 0], [0, 0, 1], [0, 0, 1]]
    assert hard_routes(weights, 0.4).tolist() == expected
    by_location = weights.T[None, :, :, None]  # three locations of one frame
    assert hard_routes(by_location, 0.4)[0, :, :, 0].T.tolist() == expected


def test_hard_routing_is_for_test_time_and_leaves_the_sensor_out():
    neck = odd_one_out_by_hand([0.0, 2.0, 0.0, 1.0], threshold=0.4)
    features = scalar_pyramids(1.0, 2.0, 3.0)
    mixed = neck.train()(features).features[0]
    without = neck(features, all_frames(1)).features[0]
    routed = neck.eval()(features).features[0]
    assert torch.equal(routed, without) and not torch.equal(mixed, without)


@pytest.mark.parametrize("spatial", [False, True])
def test_gate_hits_by_hand(spatial):
    logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 3.0], [0.0, 1.0, 0.5]])
    if spatial:  # one of four locations says otherwise
        logits = logits[:, :, None, None].repeat(1, 1, 2, 2)
        logits[0, :, 0, 0] = torch.tensor([0.0, 1.0, 0.0])
    odd = torch.tensor([0, 2, 2])
    assert gate_hits(logits, odd).tolist() == [1.0, 1.0, 0.0]
    neck = make(OddOneOutFusion)
    terms = neck.losses(logits, odd)
    assert terms["gate_right_thermal"] == 1.0
    assert terms["gate_right_sonar"] == 0.5
    assert "gate_right_radar" not in terms and "gate_right_none" not in terms


@pytest.mark.parametrize("neck", NECKS)
@pytest.mark.parametrize("count", [2, 3, 4])
def test_any_number_of_sensors_and_any_order_of_the_mapping(neck, count):
    names = NAMES[:count]
    built = make(neck, names).eval()
    features = pyramids(names)
    output = built(features)
    assert [f.shape for f in output.features] == [(2, 3, 4, 6), (2, 3, 2, 3)]
    again = built(dict(reversed(features.items())) | {"unused": ()})
    for one, other in zip(output.features, again.features, strict=True):
        assert torch.equal(one, other)


def test_who_can_leave_a_sensor_out():
    assert [neck for neck in NECKS if make(neck).can_leave_out] == [OddOneOutFusion]
    with pytest.raises(ValueError, match="ConcatFusion cannot leave a sensor out"):
        make(ConcatFusion)(pyramids(), all_frames(0, 2))
    with pytest.raises(ValueError, match="MeanFusion cannot leave a sensor out"):
        make(MeanFusion).all_experts(pyramids())


def test_frames_come_back_in_their_order():
    neck = make(OddOneOutFusion, gate=None)
    features, left_out = pyramids(frames=6), torch.tensor([2, 3, 0, 2, 1, 3])
    together = neck(features, left_out).features
    for n, number in enumerate(left_out.tolist()):
        one = {name: tuple(f[n : n + 1] for f in x) for name, x in features.items()}
        alone = neck(one, left_out[n : n + 1]).features
        for levels in zip(together, alone, neck.all_experts(one)[number], strict=True):
            torch.testing.assert_close(levels[0][n : n + 1], levels[1])
            torch.testing.assert_close(levels[1], levels[2])
    everybody = neck(features, all_frames(3, 6)).features
    assert not neck.has_gate and neck(features).gate_logits is None
    assert all(map(torch.equal, neck(features).features, everybody))


@pytest.mark.parametrize("neck", NECKS)
def test_errors_of_every_neck(neck):
    features = pyramids()
    with pytest.raises(ValueError, match=r"lacks the features of \['sonar'\]"):
        make(neck)({name: features[name] for name in NAMES[:2]})
    with pytest.raises(ValueError, match="expects 3 pyramid levels, got 2"):
        make(neck, num_levels=3)(features)
    for sensors in (["radar"], ["radar", "radar"]):
        with pytest.raises(ValueError, match="at least two sensors"):
            make(neck, sensors)


def test_errors_of_arguments():
    with pytest.raises(ValueError, match="gate must be 'global', 'spatial' or None"):
        make(OddOneOutFusion, gate="sometimes")
    with pytest.raises(ValueError, match="gate_level must be one of the 2 levels"):
        make(OddOneOutFusion, gate_level=2)
    with pytest.raises(ValueError, match="must not be negative"):
        make(LatentEnsembleFusion, l1_weight=-1.0)


def test_warns_at_two_sensors_and_builds_from_a_config():
    sizes = dict(in_channels=2, num_levels=2, out_channels=3)
    config = dict(type="OddOneOutFusion")
    with pytest.warns(UserWarning, match="cannot tell which one is compromised"):
        MODELS.build(config | {"shape": PyramidShape(sensors=NAMES[:2], **sizes)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MODELS.build(config | {"shape": PyramidShape(sensors=NAMES[:3], **sizes)})
