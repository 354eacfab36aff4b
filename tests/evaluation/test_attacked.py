import json
from dataclasses import replace

import pytest
import torch
from attacked_project import STANDARD, make_project
from mmengine.config import Config

from perception.apis import as_config, build_dataset, load_detector
from perception.attacks import MapThreat, build_attack
from perception.core.config import load_config
from perception.core.provenance import UNKNOWN, distinct, made_on, mixable, told
from perception.core.structures import DataError
from perception.evaluation.robustness import attack_report as attacked_report
from perception.evaluation.robustness.attack_file import AttackFile
from perception.evaluation.robustness.cell import describe_attack, evaluate_attack
from perception.evaluation.robustness.old_results import attack_table
from perception.evaluation.robustness.prepare import choose_frames, scoring_of
from perception.evaluation.robustness.records import outcome_of
from perception.evaluation.robustness.store import FrameStore

CAMERA = dict(type="MapThreat", sensor="camera", eps=16.0, steps=2)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def detector(project):
    return load_detector(project.config, project.checkpoint)


@pytest.fixture(scope="module")
def frames(project):
    return build_dataset(project.config, "test")


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("evaluator", "overlaps"),
    [
        ({"type": "KittiMetric"}, [("Car", 0.7), ("Cyclist", 0.5)]),
        (
            {"type": "KittiMetric", "overlaps": "kitti"},
            [("Car", 0.7), ("Cyclist", 0.5)],
        ),
        ({"type": "KittiMetric", "overlaps": {"Car": 0.6}}, [("Car", 0.6)]),
        (
            [{"type": "FrameCocoMetric"}],
            [("Car", 0.5), ("Cyclist", 0.5), ("tram", 0.5)],
        ),
        ({}, [("Car", 0.5), ("Cyclist", 0.5), ("tram", 0.5)]),
    ],
    ids=["default", "kitti", "own", "coco", "none"],
)
def test_overlaps_are_those_of_the_test_evaluator(evaluator, overlaps):
    dataset = {"classes": ("Car", "Cyclist", "tram")}
    config = {"test_evaluator": evaluator, "test_dataloader": {"dataset": dataset}}
    assert list(scoring_of(Config(config), 0.3).overlaps.items()) == overlaps


def test_the_headline_is_one_of_the_difficulties(project):
    options = {"test_evaluator.headline": "moderate"}
    config = load_config(project.config, options)
    with pytest.raises(DataError, match="headline must be one of all, got 'moderate'"):
        scoring_of(config, 0.3)


def pgd(name="camera_pgd", **threat):
    return build_attack(name, dict(type="PGD", threat=CAMERA | threat))


def figures(report):
    """Everything that must be the same at every run."""
    values = json.loads(json.dumps(report.to_json()))
    values.pop("timing")
    return values


def test_report(detector, frames):
    report = evaluate_attack(detector, frames, pgd(), batch_size=3)
    values = figures(report)
    assert [row["frame_id"] for row in values["frames"]] == list(
        frames.frames.frame_ids
    )
    assert values["touched"] == ["camera"]
    expected = CAMERA | {"name": "camera_pgd", "goal": "detection", "seed": 0}
    assert expected.items() <= values["attack"]["threat"].items()
    assert values["damage"]["attacked"] > values["damage"]["clean"]
    for row in values["frames"]:
        assert max(row["change"]["camera"].values()) == pytest.approx(16)
        assert sum(row["gate_clean"]) == pytest.approx(1, abs=1e-5)
        assert row["blamed_attacked"] in ("camera", "lidar", "depth", "none")
    blamed = values["gate"]["attacked"]["blamed"]
    assert list(blamed) == ["camera", "lidar", "depth", "none"]
    assert sum(blamed.values()) == 4
    assert values["gate"]["right_rate"] == blamed["camera"] / 4
    assert values["gate"]["attacked"]["in_doubt"] is None  # this gate cannot tell
    doubting = [
        replace(record, doubt_clean=0.1, doubt_attacked=-0.1)
        for record in report.records
    ]
    gate = figures(replace(report, records=doubting))["gate"]
    assert gate["clean"]["in_doubt"] == gate["clean"]["blamed"]["none"]
    assert gate["attacked"]["in_doubt"] == 0
    assert set(values["ap"]["attacked"]) == {"headline", "kitti"}
    assert set(values["ap"]["clean"]["kitti"]["classes"]["Car"]) == {
        *("easy", "moderate", "hard")
    }
    assert "camera_pgd" in attack_table([report])


def test_frames_are_judged_once(detector, frames, monkeypatch):
    judged = []

    def spy(record, *how):
        judged.append(record.frame_id)
        return outcome_of(record, *how)

    monkeypatch.setattr(attacked_report, "outcome_of", spy)
    report = evaluate_attack(detector, frames, pgd(), [0, 1])
    assert report.to_json() == report.to_json()
    assert judged == ["000001", "000002"]


def test_the_batch_size_does_not_matter(detector, frames):
    one, four = (
        figures(evaluate_attack(detector, frames, pgd(), batch_size=size))
        for size in (1, 4)
    )
    # Convolutions may sum in another order, so that the last digits differ.
    for row, other in zip(one["frames"], four["frames"], strict=True):
        for name in ("damage_clean", "damage_attacked"):
            assert row[name] == pytest.approx(other[name], rel=1e-3)


def test_other_frames_and_order_do_not_matter(detector, frames):
    every = figures(evaluate_attack(detector, frames, pgd(), batch_size=1))["frames"]
    some = evaluate_attack(detector, frames, pgd(), [3, 1], batch_size=1)
    assert figures(some)["frames"] == [every[3], every[1]]


class KilledError(Exception):
    pass


OTHER_TORCH = {"kind": "cpu", "device": "cpu", "tf32": False, "torch": "1.0"}


def test_results_tell_what_attacked(detector, frames, tmp_path):
    """The store says it, not the process that collects."""
    store = FrameStore(tmp_path, {})
    now = made_on("cpu")
    report = evaluate_attack(detector, frames, pgd(), [0, 1], store=store)
    assert report.made_on == [now] and report.to_json()["made_on"] == [now]
    assert now["torch"] == torch.__version__ and now["threads"] == 1

    others = json.dumps([OTHER_TORCH])
    (tmp_path / "made_on.json").write_text(others)
    collected = evaluate_attack(detector, frames, pgd(), [0, 1], store=store)
    assert collected.made_on == [OTHER_TORCH]
    with pytest.raises(DataError, match=r"cpu, torch 1\.0, .*on cpu, torch .*--out"):
        evaluate_attack(detector, frames, pgd(), [0, 1, 2], store=store)
    assert (tmp_path / "made_on.json").read_text() == others

    (tmp_path / "made_on.json").unlink()  # as older versions left it
    collected = evaluate_attack(detector, frames, pgd(), [0, 1], store=store)
    assert collected.made_on == [UNKNOWN]
    collected = evaluate_attack(detector, frames, pgd(), [0, 1, 2], store=store)
    assert collected.made_on == [UNKNOWN, now]


@pytest.mark.parametrize(
    ("changed", "belongs"),
    [
        ({"kind": "cuda", "device": "GPU"}, False),
        ({"tf32": True}, False),
        ({"torch": "2.0"}, False),
        ({"threads": 8, "perception": "9"}, True),
    ],
    ids=["device", "precision", "torch", "others"],
)
def test_frames_that_belong_together(changed, belongs):
    one = made_on("cpu")
    assert mixable(one, one | changed) is belongs
    assert mixable(UNKNOWN, one | changed)


def test_a_gpu_is_told_by_its_name_and_precision(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device}")
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    found = made_on("cuda:1")
    assert (found["kind"], found["device"]) == ("cuda", "GPU cuda:1")
    assert found["tf32"] is True and made_on("cpu")["tf32"] is False


def test_a_device_as_text():
    one = {"kind": "cuda", "device": "GPU", "tf32": True, "torch": "2.9", "threads": 2}
    assert told(one) == "GPU, TF32, torch 2.9, 2 threads"
    assert told(UNKNOWN) == "an unknown device"
    assert distinct([one, UNKNOWN, one]) == [one, UNKNOWN]


def test_killed_and_resumed_is_as_if_never_killed(detector, frames, tmp_path):
    straight = evaluate_attack(detector, frames, pgd(), batch_size=2)
    batches = []

    def killer(attack, batch, result):
        batches.append(list(batch.ids))
        if len(batches) == 2:
            raise KilledError

    store = FrameStore(tmp_path, {"a": 1})
    with pytest.raises(KilledError):
        evaluate_attack(detector, frames, pgd(), store=store, save=killer, batch_size=2)
    assert len(store.read()) == 2
    store = FrameStore(tmp_path, {"a": 1}, resume=True)
    resumed = evaluate_attack(
        detector, frames, pgd(), store=store, save=killer, batch_size=2
    )
    assert batches == [[0, 1], [2, 3], [2, 3]]
    assert figures(resumed) == figures(straight)
    loaded = evaluate_attack(detector, frames, pgd(), store=store, save=killer)
    assert len(batches) == 3
    assert figures(loaded) == figures(straight)


def test_the_detector_stays_as_it_was(detector, frames):
    wanted = [p.requires_grad for p in detector.parameters()]
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    evaluate_attack(detector, frames, pgd(), [0])
    assert wanted == [p.requires_grad for p in detector.parameters()]
    after = detector.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize(
    ("threat", "indices", "message"),
    [
        (dict(sensor="radar"), [0], "'radar', but the detector has"),
        (dict(goal="detection|blame:radar*1"), [0], "radar"),
        (dict(), [], "no frames to attack"),
        (dict(eps=dict(blue_m=1.0)), [0], "blue_m"),
    ],
)
def test_impossible_requests(detector, frames, threat, indices, message):
    with pytest.raises(DataError, match=message):
        evaluate_attack(detector, frames, pgd(**threat), indices)


def test_frames_without_labels_are_named(detector, project):
    config = as_config(load_config(project.config))
    config.test_dataloader.dataset.frames.label_dir = "none"
    frames = build_dataset(config, "test")
    with pytest.raises(DataError, match="frame 000001: no labels"):
        evaluate_attack(detector, frames, pgd())


def test_choosing_frames(frames):
    assert choose_frames(frames, None, None) == [0, 1, 2, 3]
    assert choose_frames(frames, None, 2) == [0, 2]
    assert choose_frames(frames, None, 9) == [0, 1, 2, 3]
    assert choose_frames(frames, ["000003", "000002"], None) == [2, 1]
    with pytest.raises(DataError, match="not in the split: 000000; it has 000001"):
        choose_frames(frames, ["000000", "000002"], None)


@pytest.fixture(scope="module")
def standard():
    return AttackFile(STANDARD)


def test_every_standard_attack_can_be_built(standard, detector):
    for name in standard.attacks:
        if name not in standard.suites["transfer"]:
            attack, description = standard.build(name)
            assert attack.threat.name == name
            attack.threat.check(detector.sensors)
            json.dumps(description)
    for names in standard.suites.values():
        assert set(names) <= set(standard.attacks)


def test_a_changed_threat_tells_so_in_its_name(standard):
    attack, description = standard.build("camera_pgd", {"eps": 4.0, "steps": 7})
    assert isinstance(attack.threat, MapThreat)
    assert attack.threat.name == "camera_pgd@eps=4,steps=7"
    assert description == describe_attack(attack)
    eps = {"depth_m": 0.5}
    attack, _ = standard.build("lidar_pgd", {"eps": eps, "goal": "class:Car"})
    assert attack.threat.name == "lidar_pgd@eps=depth_m-0.5,goal=class_Car"
    assert attack.threat.eps == eps


def test_other_attacks_are_described_otherwise(tmp_path, project):
    """What an attack keeps as a tensor or an attack is told as the file has it."""
    path = tmp_path / "mine.py"
    source = dict(config=str(project.config), checkpoint=str(project.checkpoint))
    place = dict(on="image", size=(0.2, 0.2), center=(0.5, 0.5))
    patch = dict(type="PatchThreat", sensor="camera", placement=place)
    variants = {
        "grey": dict(type="FixedPatch", texture="grey", threat=patch),
        "noise": dict(type="FixedPatch", texture="noise", threat=patch),
        "pgd": dict(type="TransferAttack", source=source, threat=CAMERA),
    }
    variants["apgd"] = variants["pgd"] | dict(search=dict(type="APGD", first_step=0.3))
    path.write_text(f"attacks = {variants!r}")
    told = {name: AttackFile(path).build(name)[1] for name in variants}
    assert (told["grey"]["texture"], told["noise"]["texture"]) == ("grey", "noise")
    assert told["apgd"]["search"] == dict(type="APGD", first_step=0.3)
    assert "search" not in told["pgd"]
    assert told["apgd"]["source"]["checkpoint"] == source["checkpoint"]


def test_suites_leave_out_sensors_that_are_not_there(standard):
    assert standard.names(["quick", "camera_apgd"], ["lidar"]) == [
        "lidar_pgd",
        "camera_apgd",
    ]
    with pytest.raises(DataError, match=r"no threat 'fog'; there are camera_pgd, "):
        standard.names(["fog"])


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("camera_pgd", {"eps": -1.0}, "eps must not be negative"),
        ("lidar_pgd", {"eps": 1.0}, "one eps per channel.*depth_m=5.02"),
        ("all_pgd", {"eps": 1.0}, "'all_pgd' has no eps to change"),
        ("lidar_add", {"eps": 1.0}, "'lidar_add' has no eps to change, only.*count"),
        ("camera_pgd", {"goal": "win"}, "unknown goal 'win'"),
        ("camera_pgd", {"steps": 0}, "steps"),
    ],
)
def test_impossible_changes(standard, name, changes, message):
    with pytest.raises(DataError, match=message):
        standard.build(name, changes)


def test_a_file_of_ones_own(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        f"_base_ = {str(STANDARD)!r}\n"
        "attacks = dict(weak=dict(type='PGD', threat=dict(\n"
        "    type='MapThreat', sensor='camera', eps=4.0)))\n"
    )
    mine = AttackFile(path)
    assert mine.build("weak")[0].threat.eps == 4
    assert "lidar_pgd" in mine.attacks
    path.write_text("attacks = dict(a=dict(threat=dict()))")
    with pytest.raises(DataError, match="attack 'a' must be a dict with type"):
        AttackFile(path).build("a")
    path.write_text("nothing = 1")
    with pytest.raises(DataError, match="defines no `attacks`"):
        AttackFile(path)
    with pytest.raises(DataError, match="no such attacks file"):
        AttackFile(tmp_path / "none.py")
