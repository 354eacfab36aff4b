"""What the base class guarantees, whatever a subclass does."""

import math
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from attack_makers import SENSORS, Bowl, made_batch
from toy_target import ToyTarget

from perception.attacks import PGD, Attack, AttackBatch, MapThreat, build_attack
from perception.attacks.base import Search
from perception.attacks.target import DoesNotApplyError, NoGradientError
from perception.attacks.threats.budgets import scaled
from perception.attacks.victim import Victim
from perception.corruptions import build_perturbation
from perception.evaluation.audit.checks import AuditSettings, audit
from perception.targets import DetectorTarget


def threat(**fields) -> MapThreat:
    return MapThreat(
        **({"name": "t", "sensor": "camera", "eps": 16.0, "steps": 2} | fields)
    )


class Greedy(Attack):
    """Asks for far more than the budget."""

    def run(self, victim):
        return self.threat.clean(victim.batch) + 1000


class Vandal(Attack):
    """Spoils the clean input of another sensor."""

    def run(self, victim):
        victim.batch.inputs["depth"].add_(1)
        return self.threat.clean(victim.batch)


@dataclass(frozen=True, kw_only=True)
class WideThreat(MapThreat):
    """Changes a sensor that it does not name."""

    def render(self, variable, batch):
        return {self.sensor: variable, "depth": batch.inputs["depth"] + 1}


def test_the_budget_is_kept(tiny_target, tiny_batch):
    result = Greedy(threat())(tiny_target, tiny_batch)
    change = result.inputs["camera"] - tiny_batch.inputs["camera"]
    assert float(change.max()) == 16
    for name in ("lidar", "depth"):
        assert torch.equal(result.inputs[name], tiny_batch.inputs[name])


def test_other_sensors_are_proved_untouched(tiny_target, tiny_batch):
    with pytest.raises(RuntimeError, match="clean input of 'depth'"):
        Vandal(threat())(tiny_target, tiny_batch)
    wide = WideThreat(name="wide", sensor="camera", eps=1.0)
    with pytest.raises(RuntimeError, match=r"rendered other sensors: \['depth'\]"):
        Greedy(wide)(tiny_target, tiny_batch)


def test_a_clean_input_that_holds_nan_is_not_taken_for_changed(tiny_target, tiny_batch):
    tiny_batch.inputs["depth"][0, 0, :3] = torch.nan
    result = Greedy(threat())(tiny_target, tiny_batch)
    assert result.inputs["depth"][0, 0, :3].isnan().all()
    with pytest.raises(RuntimeError, match="clean input of 'depth'"):
        Vandal(threat())(tiny_target, tiny_batch)


def test_the_detector_is_left_as_it_was(tiny_detector, tiny_batch):
    tiny_detector.branches["lidar"].train()
    tiny_detector.zero_grad()  # another test may have left some
    wanted = [p.requires_grad for p in tiny_detector.parameters()]
    weights = {k: v.clone() for k, v in tiny_detector.state_dict().items()}
    places = [(p.data_ptr(), p.stride()) for p in tiny_detector.parameters()]
    try:
        PGD(threat())(DetectorTarget(tiny_detector), tiny_batch)
        assert tiny_detector.branches["lidar"].training
        assert not tiny_detector.training
    finally:
        tiny_detector.eval()
    assert [p.requires_grad for p in tiny_detector.parameters()] == wanted
    assert all(p.grad is None for p in tiny_detector.parameters())
    assert [(p.data_ptr(), p.stride()) for p in tiny_detector.parameters()] == places
    after = tiny_detector.state_dict()
    assert all(torch.equal(after[k], v) for k, v in weights.items())


def test_the_best_restart_of_each_frame_is_returned():
    search = Search(PGD(threat(restarts=3)), Bowl(made_batch(), top=0.0))
    variable = torch.arange(6.0).view(6, 1, 1, 1).expand(-1, 3, 8, 8).clone()
    # Rows are restart by restart: frame 0 is 0, 2, 4 and frame 1 is 1, 3, 5.
    search.remember(variable, torch.tensor([5.0, 1.0, 7.0, 9.0, 6.0, 2.0]))
    search.remember(variable + 10, torch.tensor([4.0, 1.0, 6.0, 8.0, 8.0, 2.5]))
    assert search.result()[:, 0, 0, 0].tolist() == [14, 3]


def test_nan_is_worse_than_any_value_and_the_last_one_counts():
    search = Search(PGD(threat()), Bowl(made_batch(3), top=0.0))
    variable = torch.zeros(3, 3, 8, 8)
    search.remember(variable + 1, torch.tensor([math.nan, 4.0, math.nan]))
    search.remember(variable + 2, torch.tensor([-9.0, math.nan, math.nan]))
    search.remember(variable + 3, torch.tensor([-10.0, 3.0, math.nan]))
    assert search.result()[:, 0, 0, 0].tolist() == [2, 1, 3]


USUAL = {"camera": 100.0, "depth": 20.0}


def test_a_target_that_leaves_the_sensor_out_gives_a_gradient_of_zero():
    """Nothing is found, and that is true."""

    class Wary(ToyTarget):
        def losses(self, inputs, frames):
            return super().losses(dict(inputs) | {"camera": torch.ones(2, 3, 8, 8)}, [])

    victim = Victim(Wary(SENSORS, USUAL), made_batch(), ("camera",))
    search = Search(PGD(threat()), victim)
    _, gradient = search.ascent(search.start(random=False))
    assert (gradient == 0).all()


def test_a_target_without_a_graph_is_an_error():
    class Detached(ToyTarget):
        def losses(self, inputs, frames):
            return super().losses(inputs, frames).detach()

    with pytest.raises(NoGradientError, match=r"to \['camera'\].*without a graph"):
        PGD(threat())(Detached(SENSORS, USUAL), made_batch())


def test_a_branch_without_a_graph_is_an_error(tiny_target, tiny_batch, monkeypatch):
    encode = DetectorTarget.encode

    def detached(target, sensor, x):
        return tuple(level.detach() for level in encode(target, sensor, x))

    monkeypatch.setattr(DetectorTarget, "encode", detached)
    with pytest.raises(NoGradientError, match="features of camera are detached"):
        PGD(threat())(tiny_target, tiny_batch)


@pytest.mark.parametrize("within", [torch.inference_mode, torch.no_grad])
def test_the_callers_mode_changes_no_bit(within, tiny_target, tiny_data):
    expected = PGD(threat())(tiny_target, tiny_target.batch(tiny_data))
    with within():
        result = PGD(threat())(tiny_target, tiny_target.batch(tiny_data))
        crafted = PGD(threat()).craft(tiny_target, tiny_target.batch(tiny_data))
    assert torch.equal(result.inputs["camera"], expected.inputs["camera"])
    assert torch.equal(crafted["camera"], expected.inputs["camera"])
    assert torch.equal(result.detection_loss, expected.detection_loss)
    assert not result.inputs["camera"].requires_grad


def test_anything_with_losses_can_be_attacked_and_audited():
    target, batch = ToyTarget(SENSORS, USUAL), made_batch()
    clean = target.losses(batch.inputs, batch.samples)
    for kind in ("PGD", "APGD", "SquareAttack", "RandomNoise"):
        config = {"type": kind, "threat": CAMERA | {"steps": 30}}
        result = build_attack("x", config)(target, batch)
        assert (result.detection_loss > clean).all(), kind
        assert torch.equal(result.inputs["depth"], batch.inputs["depth"])
    config = {"type": "PGD", "threat": CAMERA | {"goal": "detection|none*1"}}
    with pytest.raises(DoesNotApplyError, match="the target has none"):
        build_attack("x", config)(target, batch)
    report = audit(target, [batch], settings=AuditSettings(queries=5, directions=2))
    assert report.passed, report.failed()


class OwnBowl(Bowl):
    """Looks at each frame without its padding, at all sensors it is shown."""

    def height(self, changed):
        total = 0
        for images in changed.values():
            sizes = self.batch.sizes("camera") * (len(images) // len(self.batch))
            own = [x[:, :h, :w] for x, (h, w) in zip(images, sizes, strict=True)]
            total += torch.stack([-((x - self.top) ** 2).sum() for x in own])
        return total


CAMERA = {"type": "MapThreat", "sensor": "camera", "eps": 16.0}
PIXELS = {"type": "MapThreat", "sensor": "depth", "eps": 2.0, "disparity": True}
STICKER = {
    "type": "PatchThreat",
    "sensor": "camera",
    "texture_px": (3, 3),
    "placement": {"on": "image", "size": (0.5, 0.5), "center": (0.5, 0.5)},
}
BUDGETS = {
    "linf": CAMERA,
    "l2": CAMERA | {"norm": "l2"},
    "disparity": PIXELS,
    "patch": STICKER,
    "eot": STICKER | {"eot": {"draws": 2}},
    "joint": {"type": "JointThreat", "parts": [CAMERA, PIXELS]},
}
CASES = [(s, budget) for s in ("RandomNoise", "PGD", "APGD") for budget in BUDGETS]
CASES += [("SquareAttack", budget) for budget in ("linf", "l2", "disparity")]


@pytest.mark.parametrize(("search", "budget"), CASES)
def test_frames_fare_alike_however_far_they_are_padded(search, budget):
    small = made_batch(1, size=(6, 8), padded=(8, 8))
    large = made_batch(1, size=(5, 12), padded=(8, 16), first_id=1)
    inputs = {
        name: torch.cat([F.pad(small.inputs[name], (0, 8)), large.inputs[name]])
        for name in SENSORS
    }
    samples = [*small.samples, *large.samples]
    together = AttackBatch(inputs, {}, samples, SENSORS, [0, 1])
    config = {"type": search, "threat": BUDGETS[budget] | {"steps": 4, "restarts": 2}}
    attack = build_attack("x", config)
    found = []
    for batch in (small, together):
        variable = attack.run(OwnBowl(batch, top=107.0))
        found.append(attack.threat.render(variable, batch))
    for name, image in found[0].items():
        torch.testing.assert_close(found[1][name][:1, :, :, :8], image)


@pytest.mark.parametrize("search", ["SquareAttack", "RandomNoise", "PGD", "APGD"])
def test_a_copy_keeps_to_a_smaller_budget(search):
    """As adversarial training asks of it while it warms up."""
    attack = build_attack("x", {"type": search, "threat": CAMERA})
    attack.threat = scaled(attack.threat, 0.25)
    found = attack.run(Bowl(made_batch(), top=200.0))
    assert 103 < found.max() <= 104


def test_unknown_sensor_is_one_clear_error(tiny_target, tiny_batch):
    with pytest.raises(ValueError, match="attacks 'radar'"):
        PGD(threat(sensor="radar"))(tiny_target, tiny_batch)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"type": "PGD", "threat": {"type": "Nothing"}}, "unknown type 'Nothing'"),
        ({"type": "Nothing", "threat": CAMERA}, "attack 'x': unknown type 'Nothing'"),
        ({"threat": CAMERA}, "attack 'x': unknown type None"),
        ({"type": "PGD"}, "threat 'x': unknown type None"),
        ({"type": "os.mkdir", "threat": CAMERA}, "unknown type 'os.mkdir'"),
        (
            {"type": "PGD", "threat": {"type": "MapThreat", "sensor": "s", "e": 1}},
            "threat 'x'.*'e'",
        ),
        (
            {
                "type": "PGD",
                "speed": 9,
                "threat": {"type": "MapThreat", "sensor": "camera"},
            },
            "attack 'x'.*'speed'",
        ),
    ],
)
def test_configs_that_make_no_attack(config, message):
    with pytest.raises(ValueError, match=message):
        build_attack("x", config)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"type": "FixedPatch"}, "'x': a patch needs a PatchThreat"),
        ({"type": "PGD", "step_fraction": 0.0}, "step_fraction must be above 0"),
        ({"type": "PGD", "step_fraction": -0.5}, "step_fraction must be above 0"),
    ],
)
def test_settings_that_mean_nothing(config, message):
    with pytest.raises(ValueError, match=message):
        build_attack("x", config | {"threat": CAMERA})


@pytest.mark.parametrize("where", ["attack", "threat", "part", "goal", "placement"])
def test_a_dotted_name_is_not_imported(where, tmp_path, monkeypatch):
    """A file may come from anybody: only registered names are looked up."""
    (tmp_path / "spoilt.py").write_text("open('imported', 'w')\nclass Any: pass")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    evil = "spoilt.Any"
    joint = {"type": "JointThreat", "parts": [{"type": evil}]}
    config = {
        "attack": {"type": evil, "threat": CAMERA},
        "threat": {"type": "PGD", "threat": {"type": evil}},
        "part": {"type": "PGD", "threat": joint},
        "goal": {"type": "PGD", "threat": CAMERA | {"goal": evil}},
        "placement": {"type": "PGD", "threat": STICKER | {"placement": {"on": evil}}},
    }[where]
    with pytest.raises(ValueError, match=r"'x.*spoilt\.Any|unknown goal"):
        build_attack("x", config)
    with pytest.raises(ValueError, match="unknown type"):
        build_perturbation("x", {"type": evil, "sensor": "camera"})
    assert not (tmp_path / "imported").exists()


def test_changes_replace_what_a_config_says():
    config = {
        "type": "PGD",
        "threat": {"type": "MapThreat", "sensor": "camera", "eps": 16.0},
    }
    attack = build_attack("x", config, eps=4.0, steps=3)
    assert (attack.threat.eps, attack.threat.steps) == (4.0, 3)
    assert config["threat"]["eps"] == 16.0
