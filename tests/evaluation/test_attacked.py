import json
from dataclasses import asdict, replace

import pytest
import torch
from attacked_project import STANDARD, make_project
from mmengine.config import Config

from perception.apis import as_config, build_dataset
from perception.attacks import MapThreat, build_attack
from perception.core.config import load_config
from perception.core.provenance import UNKNOWN, Environment, distinct
from perception.core.structures import DataError
from perception.evaluation.detection.scoring import scoring_of
from perception.evaluation.robustness import figures
from perception.evaluation.robustness.attack_file import AttackFile, Named, describe
from perception.evaluation.robustness.cell import fill
from perception.evaluation.robustness.figures import attack_result
from perception.evaluation.robustness.records import outcome_of
from perception.evaluation.robustness.spec import DetectorRun, DetectorSpec, Running
from perception.evaluation.robustness.store import FrameStore
from perception.evaluation.robustness.subject import choose_frames, load_subject

CAMERA = dict(type="MapThreat", sensor="camera", eps=16.0, steps=2)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def subject(project):
    spec = DetectorSpec(config=str(project.config), checkpoint=str(project.checkpoint))
    return load_subject(DetectorRun(detector=spec))


@pytest.fixture(scope="module")
def frames(subject):
    return subject.dataset


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def attacked(subject, tmp_path_factory):
    """Attacks frames of the project into a store; the figures."""

    def run(attack, indices=None, *, store=None, batch_size=8, save=None):
        chosen = subject if indices is None else replace(subject, indices=indices)
        store = store or FrameStore(tmp_path_factory.mktemp("store"), {})
        named = Named(attack, describe(attack))
        measured = fill(store, chosen, named, Running(batch_size=batch_size), save=save)
        return attack_result(measured, list(chosen.target.sensors), chosen.scoring)

    return run


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


def lasting(result):
    """Everything that must be the same at every run."""
    return replace(result, seconds=0.0, seconds_per_frame=0.0)


def test_result(attacked, frames):
    result = attacked(pgd(), batch_size=3)
    assert [one.frame_id for one in result.frames] == list(frames.frames.frame_ids)
    assert result.attacked_sensors == ("camera",)
    expected = CAMERA | {"name": "camera_pgd", "goal": "detection", "seed": 0}
    assert expected.items() <= result.threat.items()
    assert result.detection_loss.attacked > result.detection_loss.clean
    for one in result.frames:
        assert max(one.change["camera"].values()) == pytest.approx(16)
        assert sum(one.gate_clean) == pytest.approx(1, abs=1e-5)
        assert one.state_attacked in ("camera", "lidar", "depth", "none")
    counts = result.gate.attacked.attributed
    assert list(counts) == ["camera", "lidar", "depth", "none"]
    assert sum(counts.values()) == 4
    assert result.gate.right_rate == counts["camera"] / 4
    assert result.gate.attacked.alarm is None  # this gate cannot tell
    assert set(result.ap.clean.kitti.classes["Car"]) == {"all"}


def test_frames_are_judged_once(attacked, monkeypatch):
    judged = []

    def spy(record, *how):
        judged.append(record.frame_id)
        return outcome_of(record, *how)

    monkeypatch.setattr(figures, "outcome_of", spy)
    attacked(pgd(), [0, 1])
    assert judged == ["000001", "000002"]


def test_the_batch_size_does_not_matter(attacked):
    one, four = (attacked(pgd(), batch_size=size) for size in (1, 4))
    # Convolutions may sum in another order, so that the last digits differ.
    for row, other in zip(one.frames, four.frames, strict=True):
        for name in ("loss_clean", "loss_attacked"):
            assert getattr(row, name) == pytest.approx(getattr(other, name), rel=1e-3)


def test_other_frames_and_order_do_not_matter(attacked):
    every = attacked(pgd(), batch_size=1).frames
    assert attacked(pgd(), [3, 1], batch_size=1).frames == (every[3], every[1])


class KilledError(Exception):
    pass


OTHER_TORCH = Environment("cpu", kind="cpu", tf32=False, torch="1.0")


def test_results_tell_what_attacked(attacked, tmp_path):
    """The store says it, not the process that collects."""
    store = FrameStore(tmp_path, {})
    now = Environment.here("cpu")
    assert attacked(pgd(), [0, 1], store=store).environments == (now,)
    assert now.torch == torch.__version__ and now.threads == 1

    others = json.dumps([asdict(OTHER_TORCH)])
    (tmp_path / "environments.json").write_text(others)
    assert attacked(pgd(), [0, 1], store=store).environments == (OTHER_TORCH,)
    with pytest.raises(DataError, match=r"cpu, torch 1\.0, .*on cpu, torch .*--out"):
        attacked(pgd(), [0, 1, 2], store=store)
    assert (tmp_path / "environments.json").read_text() == others

    (tmp_path / "environments.json").unlink()
    assert attacked(pgd(), [0, 1], store=store).environments == (UNKNOWN,)
    found = attacked(pgd(), [0, 1, 2], store=store).environments
    assert found == (UNKNOWN, now)
    (tmp_path / "environments.json").write_text('[{"name": "x"}]')
    with pytest.raises(DataError, match=r"environments\.json: damaged"):
        store.environments()


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
    one = Environment.here("cpu")
    assert one.mixable(replace(one, **changed)) is belongs
    assert UNKNOWN.mixable(replace(one, **changed))


def test_a_gpu_is_told_by_its_name_and_precision(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device}")
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    found = Environment.here("cuda:1")
    assert (found.kind, found.device) == ("cuda", "GPU cuda:1")
    assert found.tf32 is True and Environment.here("cpu").tf32 is False


def test_a_device_as_text():
    one = Environment("GPU", kind="cuda", tf32=True, torch="2.9", threads=2)
    assert str(one) == "GPU, TF32, torch 2.9, 2 threads"
    assert str(UNKNOWN) == "an unknown device"
    assert distinct([one, UNKNOWN, one]) == (one, UNKNOWN)


def test_killed_and_resumed_is_as_if_never_killed(attacked, tmp_path):
    straight = attacked(pgd(), batch_size=2)
    batches = []

    def killer(attack, batch, result):
        batches.append(list(batch.ids))
        if len(batches) == 2:
            raise KilledError

    store = FrameStore(tmp_path, {"a": 1})
    with pytest.raises(KilledError):
        attacked(pgd(), store=store, save=killer, batch_size=2)
    assert len(store.read()) == 2
    store = FrameStore(tmp_path, {"a": 1}, resume=True)
    resumed = attacked(pgd(), store=store, save=killer, batch_size=2)
    assert batches == [[0, 1], [2, 3], [2, 3]]
    assert lasting(resumed) == lasting(straight)
    loaded = attacked(pgd(), store=store, save=killer)
    assert len(batches) == 3
    assert lasting(loaded) == lasting(straight)


def test_the_detector_stays_as_it_was(attacked, subject):
    detector = subject.target.detector
    wanted = [p.requires_grad for p in detector.parameters()]
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    attacked(pgd(), [0])
    assert wanted == [p.requires_grad for p in detector.parameters()]
    after = detector.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize(
    ("threat", "message"),
    [
        (dict(sensor="radar"), "'radar', but the detector has"),
        (dict(goal="detection|attribute:radar*1"), "radar"),
        (dict(eps=dict(blue_m=1.0)), "blue_m"),
    ],
)
def test_impossible_requests(attacked, threat, message):
    with pytest.raises(DataError, match=message):
        attacked(pgd(**threat), [0])


def test_frames_without_labels_are_named(subject, attacked, project):
    config = as_config(load_config(project.config))
    config.test_dataloader.dataset.frames.label_dir = "none"
    bare = replace(subject, dataset=build_dataset(config, "test"))
    with pytest.raises(DataError, match="frame 000001: no labels"):
        next(bare.batches(Running()))


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


def test_every_standard_attack_can_be_built(standard, subject):
    for name in standard.attacks:
        if name not in standard.suites["transfer"]:
            named = standard.build(name)
            assert named.perturbation.name == name
            named.perturbation.check(subject.target.sensors)
            json.dumps(named.description)
    for names in standard.suites.values():
        assert set(names) <= set(standard.attacks)


def test_a_changed_threat_tells_so_in_its_name(standard):
    named = standard.build("camera_pgd", {"eps": 4.0, "steps": 7})
    attack = named.perturbation
    assert isinstance(attack.threat, MapThreat)
    assert attack.threat.name == "camera_pgd@eps=4,steps=7"
    assert named.description == describe(attack)
    eps = {"depth_m": 0.5}
    changes = {"eps": eps, "goal": "class:Car"}
    attack = standard.build("lidar_pgd", changes).perturbation
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
    told = {name: AttackFile(path).build(name).description for name in variants}
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
    assert mine.build("weak").perturbation.threat.eps == 4
    assert "lidar_pgd" in mine.attacks
    path.write_text("attacks = dict(a=dict(threat=dict()))")
    with pytest.raises(DataError, match="attack 'a' must be a dict with type"):
        AttackFile(path).build("a")
    path.write_text("nothing = 1")
    with pytest.raises(DataError, match="defines no `attacks`"):
        AttackFile(path)
    with pytest.raises(DataError, match="no such attacks file"):
        AttackFile(tmp_path / "none.py")
