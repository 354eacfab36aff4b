import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict

import pytest
import torch
from attacked_project import EXTRAS, REPOSITORY, make_project
from tiny_kitti import write_config

from perception.apis import load_detector
from perception.cli import robustness as tool
from perception.cli.options import run_tool
from perception.core.checkpoints import save_weights
from perception.core.provenance import Environment
from perception.evaluation.robustness import jobs as robustness_jobs
from perception.evaluation.robustness.jobs import Ended, Job, Ranks, do_jobs
from perception.evaluation.robustness.results import AuditResult, read_results
from perception.evaluation.robustness.spec import AttackRun, AttacksSpec, DetectorSpec

ATTACKS = """
camera = dict(type="MapThreat", sensor="camera", eps=16.0, steps=1)
lidar = dict(type="MapThreat", sensor="lidar", eps=dict(depth_m=5.0), steps=1)
shift = dict(type="PointShift", sensor="lidar", radius_m=0.5, steps=1)
fails = dict(type="Corruption", sensor="camera", kind="blackout")
gated = dict(camera, goal="detection|none*1.0")
attacks = dict(
    camera_pgd=dict(type="PGD", threat=camera),
    lidar_pgd=dict(type="PGD", threat=lidar),
    lidar_shift=dict(type="PGD", threat=shift),
    camera_gate=dict(type="PGD", threat=gated),
    camera_blackout_1=dict(fails, severity=1),
    camera_blackout_5=dict(fails, severity=5),
)
suites = dict(quick=["camera_pgd", "lidar_pgd"], all=list(attacks))
"""
LIDAR_MISSING = (
    "threat 'lidar_pgd' attacks 'lidar', but the detector has only ['camera']"
)


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """Arguments for three detectors: one with a gate, trained twice, and a camera."""
    folder = tmp_path_factory.mktemp("project")
    gate = make_project(folder)
    torch.manual_seed(1)
    second = folder / "second.safetensors"
    save_weights(second, load_detector(gate.config).state_dict())
    camera = folder / "camera.py"
    write_config(camera, gate.data, REPOSITORY / "configs/synthetic/camera_only.py")
    camera.write_text(camera.read_text() + EXTRAS)
    camera_weights = folder / "camera.safetensors"
    save_weights(camera_weights, load_detector(camera).state_dict())
    attacks = folder / "attacks.py"
    attacks.write_text(ATTACKS)
    detectors = [gate.config, gate.checkpoint, gate.config, second]
    detectors += [camera, camera_weights]
    return [*map(str, detectors), "--attacks", str(attacks)]


def run(words, *more):
    """The tool in this process; its exit status."""
    try:
        tool.main([*words, *map(str, more)])
    except SystemExit as ended:
        return ended.code
    return 0


def read(folder):
    return read_results(folder / "robustness.json")


def lasting(value):
    """All that must be the same at every run."""
    if isinstance(value, list):
        return [lasting(one) for one in value]
    if not isinstance(value, dict):
        return value
    changing = ("run", "seconds", "seconds_per_frame")
    return {k: lasting(one) for k, one in value.items() if k not in changing}


def content(folder):
    return lasting(json.loads((folder / "robustness.json").read_text()))


@pytest.fixture(scope="module")
def done(words, tmp_path_factory):
    """All attacks of the file on all detectors, with everything else."""
    out = tmp_path_factory.mktemp("done")
    more = ("--suite", "all", "--out", out, "--names", "gate", "again", "camera")
    assert run(words, *more, "--curve", 0.5, 1, 2) == 0
    return out


def test_end_to_end(done):
    results = read(done)
    assert results.frame_ids == ("000001", "000002", "000003", "000004")
    assert results.attacks[:2] == ("camera_pgd", "lidar_pgd")
    assert (results.baseline, results.run.suite) == ("gate", ("all",))
    assert list(results.sensors) == ["camera", "lidar", "depth"]
    gate, again, _ = results.detectors
    assert tuple(gate.attacks) == results.attacks
    assert gate.attacks["camera_pgd"].frames == ()
    assert gate.clean == gate.attacks["camera_pgd"].ap.clean
    assert gate.difference == {}
    lost = again.clean_mean - gate.clean_mean
    assert again.difference["clean"] == pytest.approx(lost)
    assert set(gate.worst) == {"camera", "lidar"}
    assert gate.oracle["camera"].attack == gate.worst["camera"].attack
    rows = gate.gate.confusion
    assert [row.sensor for row in rows] == [None, "camera", "lidar"]
    assert sum(rows[1].attributed.values()) == 2 * 4
    assert 0 <= gate.attacks["camera_pgd"].gate.auroc <= 1
    assert gate.monitor.held_out_frames == 2
    assert list(gate.corruptions["camera"]["blackout"]) == ["1", "5"]
    assert gate.mce == {"camera": 100.0, "mean": 100.0}
    assert list(gate.curves) == ["camera_pgd", "lidar_pgd"]
    assert [point.scale for point in gate.curves["lidar_pgd"]] == [0.5, 1.0, 2.0]
    nested = [p.name for p in (done / "gate").iterdir() if "lidar_pgd" in p.name]
    ends = sorted(name.partition("after=")[2] for name in nested)
    assert ends == ["", "", "0.25+0.5", "0.5"]  # by its name and by 0.5, by 2, by 1
    (group,) = results.groups
    assert group.detectors == ("gate", "again")
    assert set(group.attacks) == set(results.attacks)


def test_what_does_not_apply_is_listed(done):
    camera = read(done).detectors[2]
    assert camera.not_applicable["lidar_pgd"] == LIDAR_MISSING
    assert "lidar_shift" in camera.not_applicable
    assert "the target has none" in camera.not_applicable["camera_gate"]
    assert camera.failed == {}
    assert list(camera.attacks) == [
        *("camera_pgd", "camera_blackout_1", "camera_blackout_5")
    ]
    assert (camera.gate, camera.oracle, camera.monitor) == (None, {}, None)


def test_what_fails_is_listed_and_the_others_go_on(words, tmp_path):
    attacks = tmp_path / "attacks.py"
    attacks.write_text(
        ATTACKS + 'attacks["stale"] = dict(fails, kind="stale", severity=1)\n'
    )
    more = ["--threat", "stale", "camera_blackout_1", "--num", "1"]
    more += ["--attacks", str(attacks), "--out", str(tmp_path / "out")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(robustness_jobs, "fill", _fails_if_stale(robustness_jobs.fill))
        assert run(words[:2], *more) == 1
    (detector,) = read(tmp_path / "out").detectors
    assert detector.failed == {"stale": "OSError: gone"}
    assert list(detector.attacks) == ["camera_blackout_1"]
    assert "**failed** (OSError: gone)" in (tmp_path / "out/robustness.md").read_text()


def _fails_if_stale(fill):
    def filled(store, subject, named, *more, **options):
        if named.perturbation.name == "stale":
            raise OSError("gone")
        return fill(store, subject, named, *more, **options)

    return filled


def test_the_oracle_does_not_read_the_sensor_it_leaves_out(done):
    gate = read(done).detectors[0]
    told = {name: one.ap.oracle for name, one in gate.attacks.items()}
    assert None not in told.values()
    assert told["camera_pgd"] == told["camera_gate"]


def test_every_frame_is_kept_as_the_attack_tool_keeps_it(done):
    (detector,) = read_results(done / "gate" / "results.json").detectors
    assert len(detector.attacks["camera_pgd"].frames) == 4
    assert "camera_pgd@eps=8" in detector.attacks


def test_tables(done):
    text = (done / "robustness.md").read_text()
    lines = text.splitlines()
    summary = next(line for line in lines if line.startswith("| camera |"))
    assert summary.count("|") == 15
    clean = read(done).detectors[0].clean_mean
    assert any(line.startswith(f"| gate | {clean:.1f}") for line in lines)
    for word in (
        *("## Summary", "## Each attack", "## Classes", "## Which sensor the gate"),
        *("## Several trainings", "does not apply", "×0.5: "),
        "| camera | blackout |",
        "Reproduce: `python tools/robustness.py ",
    ):
        assert word in text


@pytest.mark.slow
def test_two_processes_and_a_stop_change_nothing(words, done, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(done, out)
    for name in ("gate/camera_pgd", "again/lidar_shift"):
        shutil.rmtree(out / name)
    lines = out / "gate" / "lidar_pgd" / "frames.jsonl"
    lines.write_text("")
    untouched = out / "gate" / "camera_gate" / "frames.jsonl"
    before = untouched.stat().st_mtime_ns
    more = ("--suite", "all", "--out", out, "--names", "gate", "again", "camera")
    assert run(words, *more, "--curve", 0.5, 1, 2, "--jobs", 2) == 0
    assert content(out) == content(done)
    assert untouched.stat().st_mtime_ns == before
    assert read(out).run.processes == 2


def test_audit_flags(words, done, tmp_path):
    detector = read(done).detectors[1]
    checks = [{"name": "camera: gradients", "passed": False}]
    checks += [{"name": "camera: steps", "passed": True}]
    report = {"audit": {"passed": False, "checks": checks}}
    same = ("checkpoint_sha256", "config_sha256")
    report |= {key: getattr(detector, key) for key in same}
    passed = report | {"audit": {"passed": True, "checks": checks[1:]}}
    audits = tmp_path / "audits" / "one"
    for folder, content in (("a", passed), ("one", report), ("two", report)):
        path = tmp_path / "audits" / folder / "audit.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(content))
    more = ("--suite", "all", "--out", done, "--names", "gate", "again", "camera")
    more += ("--curve", 0.5, 1, 2)
    run(words, *more, "--audit", audits.parent, "--baseline", "again")
    results = read(done)
    found = [one.audit for one in results.detectors]
    assert found == [None, AuditResult(False, ("camera: gradients",)), None]
    assert "**FLAGGED**: camera: gradients" in (done / "robustness.md").read_text()
    assert results.baseline == "again"
    (audits / "audit.json").write_text("{}")
    with pytest.raises(SystemExit):
        run_tool(
            lambda: tool.main([*words, "--out", str(done), "--audit", str(audits)])
        )


def test_an_audit_of_ones_own(words, tmp_path):
    more = ("--out", tmp_path, "--audit", "--probe", "camera_pgd", "--audit-num", 1)
    assert run([*words[4:]], "--threat", "camera_pgd", *more, "--num", 1) == 0
    (detector,) = read(tmp_path).detectors
    file = tmp_path / detector.name / "audit" / "audit.json"
    report = json.loads(file.read_text())
    assert detector.audit.passed == report["audit"]["passed"]


ERRORS = {
    "too few names": (["--names", "a"], "--names must name each of the 3 detectors"),
    "a name twice": (["--names", "a", "b", "a"], "--names must name each"),
    "no folder's name": (["--names", "a", "b/c", "d"], "not usable: b/c"),
    "unknown baseline": (["--baseline", "x"], "--baseline x: detectors are"),
    "unknown suite": (["--suite", "rain"], "no threat 'rain'"),
    "no audits": (["--audit", "nowhere"], "--audit nowhere: no such folder"),
    "no budget": (
        ["--curve", "2", "--probe", "camera_blackout_1"],
        "'camera_blackout_1' has no budget to scale",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_are_one_line(words, tmp_path, capsys, case):
    more, message = ERRORS[case]
    with pytest.raises(SystemExit) as ended:
        run_tool(lambda: tool.main([*words, "--out", str(tmp_path / "x"), *more]))
    assert ended.value.code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error


def test_records_of_other_settings_are_refused(words, done, capsys):
    more = ["--out", str(done), "--names", "gate", "again", "camera"]
    for changed, message in (
        (["--num", "2"], "holds results of other settings"),
        (["--no-resume"], "holds results of this attack already"),
    ):
        with pytest.raises(SystemExit):
            run_tool(lambda changed=changed: tool.main([*words, *more, *changed]))
        assert message in capsys.readouterr().err


def test_a_command_adds_or_is_refused(words, tmp_path, capsys):
    gate, camera, attacks = words[:2], words[4:6], words[6:]
    out = ["--out", str(tmp_path), "--num", "1", *attacks]
    camera_pgd = ["--threat", "camera_pgd", "--curve", "1", "2", "--probe"]
    camera_pgd += ["camera_pgd", *out]
    first, second = ["--names", "gate"], ["--names", "gate", "camera"]
    assert run([*gate, *camera, *second, *camera_pgd]) == 0
    before = (tmp_path / "robustness.json").read_bytes()
    more = ["--threat", "lidar_pgd", "camera_pgd", *camera_pgd[2:]]
    for less, lost in (
        ([*gate, *first, *camera_pgd], "(camera)"),
        (
            [*gate, *camera, *second, "--threat", "lidar_pgd", *camera_pgd[2:]],
            "(gate/camera_pgd, camera/camera_pgd)",
        ),
        (
            [*gate, *camera, *second, *camera_pgd[:2], *out],
            "(gate/camera_pgd --curve 2, camera/camera_pgd --curve 2)",
        ),
    ):
        with pytest.raises(SystemExit):
            run_tool(lambda less=less: tool.main(less))
        error = capsys.readouterr().err.splitlines()[-1]
        assert f"has more than this command asks for {lost}" in error
        assert (tmp_path / "robustness.json").read_bytes() == before
    assert run([*gate, *camera, *second, *more]) == 0
    both = {one.name: list(one.attacks) for one in read(tmp_path).detectors}
    assert both == {"gate": ["lidar_pgd", "camera_pgd"], "camera": ["camera_pgd"]}


def test_what_attacked_is_told_and_not_mixed(words, done, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(done, out)
    more = ["--suite", "all", "--names", "gate", "again", "camera"]
    more += ["--curve", "0.5", "1", "2", "--out", str(out)]
    elsewhere = Environment("GPU", kind="cuda", tf32=False, torch="2.0")
    folder = out / "again" / "lidar_pgd"
    (folder / "environments.json").write_text(json.dumps([asdict(elsewhere)]))
    assert run(words, *more) == 0  # collected
    results = read(out)
    assert results.detectors[1].attacks["lidar_pgd"].environments == (elsewhere,)
    here, other = results.environments
    assert (here.device, here.threads, other) == ("cpu", 1, elsewhere)
    assert "Attacked on cpu, torch " in (out / "robustness.md").read_text()

    lines = folder / "frames.jsonl"
    lines.write_text("".join(lines.read_text().splitlines(keepends=True)[:2]))
    before = (out / "robustness.json").read_bytes()
    with pytest.raises(SystemExit):
        run_tool(lambda: tool.main([*words, *more]))
    error = capsys.readouterr().err.splitlines()[-1]
    assert "again/lidar_pgd: its frames were attacked on GPU, torch 2.0" in error
    assert "remaining ones would be on cpu, torch" in error and "--out" in error
    assert (out / "robustness.json").read_bytes() == before


KILLER = (
    "import multiprocessing, os\nif multiprocessing.parent_process():\n    os._exit(1)"
)


@pytest.mark.slow
def test_a_dying_process_loses_its_own_job_alone(words, tmp_path):
    killer = tmp_path / "killer.py"
    killer.write_text(KILLER)
    own = run_of(tmp_path, words[-1])
    jobs = [
        Job(detector="a", title=title, run=one, settings={"frame_ids": ["000001"]})
        for title, one in (("x", run_of(tmp_path, killer)), ("y", own))
    ]
    ended = do_jobs(jobs, 2, Ranks())
    assert "its process died" in ended[0].reason
    assert ended[1].reason == "none.py: no such config file"


def run_of(folder, attacks_file):
    return AttackRun(
        detector=DetectorSpec(config="none.py", checkpoint="none.pth"),
        attacks=AttacksSpec(threats=("camera_pgd",), attacks_file=str(attacks_file)),
        out=str(folder),
    )


def test_ranks_share_the_jobs(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert Ranks().share(range(8)) == [1, 4, 7]
    monkeypatch.delenv("RANK")
    monkeypatch.delenv("WORLD_SIZE")
    with Ranks() as alone:
        assert alone.share(range(3)) == [0, 1, 2]
        assert alone.gather({0: Ended()}) == {0: Ended()}


def test_a_defect_ends_a_job(monkeypatch):
    def broken(job, run):
        raise RuntimeError("out of\nmemory")

    monkeypatch.setattr(robustness_jobs, "_attack", broken)
    job = Job(detector="a", title="b", run=run_of("", ""))
    assert robustness_jobs.run_job(job).reason == "RuntimeError: out of memory"


def test_help_teaches():
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "tools" / "robustness.py"), "--help"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert done.returncode == 0, done.stderr
    for word in ("examples:", "--curve", "robustness.md", "torchrun"):
        assert word in done.stdout
