"""Goals, and the detector as attacks see it."""

import copy
import zlib

import pytest
import torch
from mmengine.structures import InstanceData

from perception.attacks import PGD, MapThreat, prepare_batch
from perception.attacks.goals import Goal
from perception.attacks.objectives import (
    Victim,
    frozen,
    in_eval_mode,
    laid_out_for_speed,
)


def threat(**fields) -> MapThreat:
    return MapThreat(
        **({"name": "t", "sensor": "camera", "eps": 16.0, "steps": 3} | fields)
    )


@pytest.mark.parametrize(
    ("text", "goal"),
    [
        ("detection", Goal("detection")),
        ("class:Car", Goal("class", target="Car")),
        ("hide|none*0.3", Goal("hide", gate="none", weight=0.3)),
        ("create|blame:lidar*1e1", Goal("create", gate="lidar", weight=10.0)),
        ("detection|expert:none", Goal("detection", expert="none")),
        ("rank|view", Goal("rank", through="view")),
        (
            "detection|expert:depth|none*2.",
            Goal("detection", gate="none", weight=2.0, expert="depth"),
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
        *("hide|none*e", "hide|blame:*1", "hide|expert:", "hide|none*1|blame:depth*1"),
    ],
)
def test_what_is_no_goal(text):
    with pytest.raises(ValueError, match="goal"):
        Goal.parse(text)


def values(detector, batch, goal, sensor="camera", **changed):
    with frozen(detector), torch.no_grad():
        victim = Victim(detector, batch, (sensor,))
        inputs = {sensor: changed.get(sensor, batch.inputs[sensor])}
        return victim.objective(inputs, Goal.parse(goal))


def test_detection_is_the_whole_loss_of_each_frame(tiny_detector, tiny_batch):
    together = values(tiny_detector, tiny_batch, "detection")
    with torch.no_grad():
        for n in range(len(tiny_batch)):
            one = tiny_batch.select([n])
            losses = tiny_detector.loss(one.inputs, one.samples)
            terms = {k: v for k, v in losses.items() if "loss" in k}
            total = sum(v for k, v in terms.items() if "odd" not in k)
            assert float(together[n]) == pytest.approx(float(total), rel=1e-4)


def test_untouched_sensors_are_computed_once(tiny_detector, tiny_batch):
    calls = dict.fromkeys(tiny_detector.branches, 0)

    def count(name):
        def hook(*_):
            calls[name] += 1

        return hook

    hooks = [
        branch.register_forward_hook(count(name))
        for name, branch in tiny_detector.branches.items()
    ]
    try:
        PGD(threat(steps=4, restarts=2))(tiny_detector, tiny_batch)
    finally:
        for hook in hooks:
            hook.remove()
    # Four steps, the last iterate, and the verdict.
    assert calls == {"camera": 6, "lidar": 1, "depth": 1}


def test_no_graph_reaches_weights_or_other_sensors(tiny_detector, tiny_batch):
    with frozen(tiny_detector):
        victim = Victim(tiny_detector, tiny_batch, ("camera",))
        image = tiny_batch.inputs["camera"].clone().requires_grad_()
        value = victim.objective({"camera": image}, Goal("detection"))
        (gradient,) = torch.autograd.grad(value.sum(), image)
        assert not gradient.requires_grad
        kept = victim._kept["lidar"] + victim._kept["depth"]
        assert not any(feature.requires_grad for feature in kept)


def test_restarts_lie_side_by_side(tiny_detector, tiny_batch):
    camera = tiny_batch.inputs["camera"]
    one = values(tiny_detector, tiny_batch, "detection")
    both = values(
        tiny_detector, tiny_batch, "detection", camera=torch.cat([camera, camera * 0])
    )
    torch.testing.assert_close(both[:4], one, rtol=1e-4, atol=1e-5)
    assert (both[4:] != one).all()


@pytest.mark.parametrize(
    "goal",
    [
        *("hide", "create", "class:Pedestrian", "detection|none*3"),
        *("detection|blame:depth*3", "detection|expert:depth", "hide|expert:none"),
    ],
)
def test_every_goal_is_reached_for(tiny_detector, tiny_batch, goal):
    before = values(tiny_detector, tiny_batch, goal)
    attack = PGD(threat(goal=goal, eps=32.0, steps=5))
    result = attack(tiny_detector, tiny_batch)
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
        attack = PGD(threat(goal=f"detection|blame:lidar*{weight}", eps=64.0))
        inputs = attack(detector, tiny_batch).inputs
        with torch.no_grad():
            samples = detector.predict(inputs, tiny_batch.samples)
        shares.append(torch.stack([s.gate for s in samples])[:, 1].mean())
    assert shares[1] > shares[0]


def test_frames_without_objects_have_finite_goals(tiny_detector, tiny_batch):
    for sample in tiny_batch.samples:
        sample.gt_instances = InstanceData(
            bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)
        )
    for goal in ("detection", "hide", "create", "class:Car"):
        result = PGD(threat(goal=goal))(tiny_detector, tiny_batch)
        assert result.value.isfinite().all()


def test_a_silent_sensor_can_be_attacked(tiny_detector, tiny_data):
    tiny_data["inputs"]["lidar"] = [p[:0] for p in tiny_data["inputs"]["lidar"]]
    batch = prepare_batch(tiny_detector, tiny_data)
    result = PGD(threat(sensor="lidar", eps=2.0))(tiny_detector, batch)
    assert result.damage.isfinite().all()
    assert float(result.inputs["lidar"].max()) > 0


@pytest.mark.parametrize(
    ("goal", "message"),
    [
        ("detection|none*1", "the detector has none"),
        ("detection|expert:lidar", "the detector has none"),
        ("class:Tram", "classes are"),
    ],
)
def test_goals_that_a_detector_cannot_have(tiny_concat, tiny_batch, goal, message):
    with pytest.raises(ValueError, match=message):
        values(tiny_concat, tiny_batch, goal)


def test_unknown_names_in_goals(tiny_detector, tiny_batch):
    with pytest.raises(ValueError, match="'radar'"):
        values(tiny_detector, tiny_batch, "detection|blame:radar*1")
    with pytest.raises(ValueError, match="'radar'"):
        values(tiny_detector, tiny_batch, "detection|expert:radar")


def test_frames_need_labels_and_ids(tiny_detector, tiny_data):
    with pytest.raises(ValueError, match="as many ids"):
        prepare_batch(tiny_detector, tiny_data, ids=[1])
    del tiny_data["data_samples"][1].gt_instances
    with pytest.raises(ValueError, match="frame 000001: no labels"):
        prepare_batch(tiny_detector, tiny_data)


def test_frames_are_numbered_by_their_names(tiny_detector, tiny_data):
    """So that batches do not share random starts, and their size does not matter."""
    together = prepare_batch(tiny_detector, tiny_data)
    last = {name: values[3:] for name, values in tiny_data["inputs"].items()}
    last = {"inputs": last, "data_samples": tiny_data["data_samples"][3:]}
    alone = prepare_batch(tiny_detector, last)
    assert len(set(together.ids)) == 4
    assert list(alone.ids) == [zlib.crc32(b"000003")] == list(together.ids[3:])
    starts = threat().random(together, 0)
    assert torch.equal(threat().random(alone, 0), starts[3:])


def test_nameless_frames_are_numbered_by_their_places(tiny_detector, tiny_data):
    for sample in tiny_data["data_samples"]:
        del sample.frame_id
    assert len(set(prepare_batch(tiny_detector, tiny_data).ids)) == 4


def test_the_layout_that_is_fast_changes_no_objective(tiny_detector, tiny_batch):
    """Nor does an error leave the weights in it."""
    convolution = next(p for p in tiny_detector.parameters() if p.ndim == 4)
    before, place = convolution.stride(), convolution.data_ptr()
    changed = {"camera": tiny_batch.inputs["camera"]}
    with torch.no_grad(), in_eval_mode(tiny_detector), tiny_detector.for_losses():
        victim = Victim(tiny_detector, tiny_batch, ("camera",))
        plain = victim.objective(changed, Goal("detection"))
        with laid_out_for_speed(tiny_detector):
            assert convolution.is_contiguous(memory_format=torch.channels_last)
            victim = Victim(tiny_detector, tiny_batch, ("camera",))
            fast = victim.objective(changed, Goal("detection"))
            assert torch.equal(victim.objective(changed, Goal("detection")), fast)
    torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-5)
    with pytest.raises(KeyError), laid_out_for_speed(tiny_detector):
        raise KeyError
    assert (convolution.stride(), convolution.data_ptr()) == (before, place)
