"""Goals, and the detector as attacks see it."""

import copy

import pytest
import torch
from mmengine.structures import InstanceData

from perception.attacks import PGD, MapThreat
from perception.attacks.goals import GateTerm, Goal, Through
from perception.attacks.objectives import Create, Hide, Rank, TakenFor
from perception.attacks.target import frozen
from perception.attacks.victim import Query, Victim
from perception.core.parts import LeaveOut
from perception.targets import DetectorTarget


def threat(**fields) -> MapThreat:
    return MapThreat(
        **({"name": "t", "sensor": "camera", "eps": 16.0, "steps": 3} | fields)
    )


@pytest.mark.parametrize(
    ("text", "goal"),
    [
        ("detection", Goal()),
        ("class:Car", Goal(TakenFor("Car"))),
        ("hide|none*0.3", Goal(Hide(), gate=GateTerm(None, 0.3))),
        ("create|attribute:lidar*1e1", Goal(Create(), gate=GateTerm("lidar", 10.0))),
        ("detection|expert:none", Goal(leave_out=LeaveOut(None))),
        ("rank|branch", Goal(Rank(), through=Through.BRANCH)),
        (
            "detection|expert:depth|none*2.",
            Goal(leave_out=LeaveOut("depth"), gate=GateTerm(None, 2.0)),
        ),
    ],
)
def test_goals_are_read(text, goal):
    assert Goal.parse(text) == goal
    assert Goal.parse(str(goal)) == goal


@pytest.mark.parametrize(
    "text",
    [
        *("", "harm", "class", "detection:Car", "detection|none", "hide|none*-1"),
        *(
            "hide|none*e",
            "hide|attribute:*1",
            "hide|expert:",
            "hide|view",
            "hide|none*1|attribute:depth*1",
        ),
    ],
)
def test_what_is_no_goal(text):
    with pytest.raises(ValueError, match="goal"):
        Goal.parse(text)


def values(detector, batch, goal, sensor="camera", **changed):
    with frozen(detector), torch.no_grad():
        victim = Victim(detector, batch, (sensor,))
        inputs = {sensor: changed.get(sensor, batch.inputs[sensor])}
        return Goal.parse(goal).value(Query(victim, inputs))


def test_detection_is_the_whole_loss_of_each_frame(tiny_target, tiny_batch):
    together = values(tiny_target, tiny_batch, "detection")
    with torch.no_grad():
        for n in range(len(tiny_batch)):
            one = tiny_batch.select([n])
            losses = tiny_target.detector.loss(one.inputs, one.samples)
            terms = {k: v for k, v in losses.items() if "loss" in k}
            total = sum(v for k, v in terms.items() if "odd" not in k)
            assert float(together[n]) == pytest.approx(float(total), rel=1e-4)


def test_untouched_sensors_are_computed_once(tiny_target, tiny_batch):
    branches = tiny_target.detector.branches
    calls = dict.fromkeys(branches, 0)

    def count(name):
        def hook(*_):
            calls[name] += 1

        return hook

    hooks = [
        branch.register_forward_hook(count(name)) for name, branch in branches.items()
    ]
    try:
        PGD(threat(steps=4, restarts=2))(tiny_target, tiny_batch)
    finally:
        for hook in hooks:
            hook.remove()
    # Four steps, the last iterate, and the verdict.
    assert calls == {"camera": 6, "lidar": 1, "depth": 1}


def test_no_graph_reaches_weights_or_other_sensors(tiny_target, tiny_batch):
    with frozen(tiny_target):
        victim = Victim(tiny_target, tiny_batch, ("camera",))
        image = tiny_batch.inputs["camera"].clone().requires_grad_()
        value = Goal().value(Query(victim, {"camera": image}))
        (gradient,) = torch.autograd.grad(value.sum(), image)
        assert not gradient.requires_grad
        kept = victim._kept["lidar"] + victim._kept["depth"]
        assert not any(feature.requires_grad for feature in kept)


def test_restarts_lie_side_by_side(tiny_target, tiny_batch):
    camera = tiny_batch.inputs["camera"]
    one = values(tiny_target, tiny_batch, "detection")
    both = values(
        tiny_target, tiny_batch, "detection", camera=torch.cat([camera, camera * 0])
    )
    torch.testing.assert_close(both[:4], one, rtol=1e-4, atol=1e-5)
    assert (both[4:] != one).all()


@pytest.mark.parametrize(
    "goal",
    [
        *("hide", "create", "class:Pedestrian", "detection|none*3"),
        *("detection|attribute:depth*3", "detection|expert:depth", "hide|expert:none"),
    ],
)
def test_every_goal_is_reached_for(tiny_target, tiny_batch, goal):
    before = values(tiny_target, tiny_batch, goal)
    attack = PGD(threat(goal=Goal.parse(goal), eps=32.0, steps=5))
    result = attack(tiny_target, tiny_batch)
    assert (result.value > before).all()


def test_blaming_moves_the_gate(tiny_detector, tiny_batch):
    # Its short training leaves the gate's units dead; fresh ones answer to their input.
    detector = copy.deepcopy(tiny_detector)
    torch.manual_seed(0)
    gate = [*detector.fusion.align, *detector.fusion.compare, detector.fusion.decide]
    for module in (m for part in gate for m in part.modules()):
        if isinstance(module, torch.nn.Conv2d):
            module.reset_parameters()
    shares = []
    for weight in (0, 1000):
        attack = PGD(threat(goal=Goal(gate=GateTerm("lidar", weight)), eps=64.0))
        target = DetectorTarget(detector)
        inputs = attack(target, tiny_batch).inputs
        found = target.predict(inputs, tiny_batch.samples)
        shares.append(sum(prediction.gate[1] for prediction in found))
    assert shares[1] > shares[0]


def test_frames_without_objects_have_finite_goals(tiny_target, tiny_batch):
    for sample in tiny_batch.samples:
        sample.gt_instances = InstanceData(
            bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)
        )
    for goal in ("detection", "hide", "create", "class:Car"):
        result = PGD(threat(goal=Goal.parse(goal)))(tiny_target, tiny_batch)
        assert result.value.isfinite().all()


def test_a_silent_sensor_can_be_attacked(tiny_target, tiny_data):
    tiny_data["inputs"]["lidar"] = [p[:0] for p in tiny_data["inputs"]["lidar"]]
    batch = tiny_target.batch(tiny_data)
    result = PGD(threat(sensor="lidar", eps=2.0))(tiny_target, batch)
    assert result.detection_loss.isfinite().all()
    assert float(result.inputs["lidar"].max()) > 0


@pytest.mark.parametrize(
    ("goal", "message"),
    [
        ("detection|none*1", "the target has none"),
        ("detection|expert:lidar", "cannot be told to leave a sensor out"),
        ("class:Tram", "classes are"),
    ],
)
def test_goals_that_a_detector_cannot_have(plain_target, tiny_batch, goal, message):
    with pytest.raises(ValueError, match=message):
        values(plain_target, tiny_batch, goal)


def test_unknown_names_in_goals(tiny_target, tiny_batch):
    with pytest.raises(ValueError, match="'radar'"):
        values(tiny_target, tiny_batch, "detection|attribute:radar*1")
    with pytest.raises(ValueError, match="'radar'"):
        values(tiny_target, tiny_batch, "detection|expert:radar")
