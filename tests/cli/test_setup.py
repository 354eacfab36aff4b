"""The set-up: its pins, what it says when something is missing, what it skips."""

import importlib.util
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import perception
from perception.core.dependencies import missing_mmcv_ops, require_mmcv_ops

MODULES = ("machine", "progress", "install", "unity")
PACKAGED = ("Makefile", "setup.py", "pyproject.toml", "perception/__init__.py")


@pytest.fixture(scope="module")
def setup_dir(repo_root):
    return repo_root / "tools" / "setup_env"


@pytest.fixture(scope="module")
def pins(repo_root):
    return runpy.run_path(str(repo_root / "setup.py"), run_name="pins")


@pytest.fixture
def load(setup_dir, monkeypatch):
    """Load a module of the set-up, which is no package: it runs before any is there."""
    monkeypatch.syspath_prepend(str(setup_dir))

    def load_module(name):
        for other in MODULES:
            monkeypatch.delitem(sys.modules, other, raising=False)
        spec = importlib.util.spec_from_file_location(name, setup_dir / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    yield load_module
    for other in MODULES:
        sys.modules.pop(other, None)


@pytest.fixture
def checkout(repo_root, tmp_path):
    """A copy of what the set-up needs, in a path with spaces and no .venv yet."""
    root = tmp_path / "a path with spaces" / "odd fusion"
    for name in PACKAGED:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(repo_root / name, root / name)
    shutil.copytree(repo_root / "tools" / "setup_env", root / "tools" / "setup_env")
    return root


@pytest.fixture
def run_make(checkout, tmp_path):
    if shutil.which("make") is None:
        pytest.skip("make is not installed: the Makefile is not tested")

    def run(*arguments, **environment):
        env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), **environment}
        for name in ("PIP_CACHE_DIR", "PIP_FIND_LINKS", "PYTHON", "MAKEFLAGS"):
            if name not in environment:
                env.pop(name, None)
        return subprocess.run(
            ["make", "--no-print-directory", "-C", checkout, *arguments],
            env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    return run


def without(tmp_path, *missing, python="python3"):
    """A PATH with this Python alone, as ``python``, and no program of ``missing``."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for source in ("/usr/bin", "/bin"):
        for program in Path(source).iterdir():
            link = folder / program.name
            wanted = not program.name.startswith(("python", *missing))
            if wanted and not link.exists():
                link.symlink_to(program)
    # A link would make this Python forget where its libraries are.
    (folder / python).write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (folder / python).chmod(0o755)
    return str(folder)


# --- pins -----------------------------------------------------------------------------


def test_every_dependency_has_one_exact_version(pins):
    for pin in pins["all_pins"]():
        assert re.fullmatch(r"[a-z0-9-]+==[0-9.]+", pin), pin
    names = [pin.split("==")[0] for pin in pins["all_pins"]()]
    assert len(names) == len(set(names))


def test_opencv_twins_have_the_same_version(pins):
    versions = {p.split("==")[1] for p in pins["RUNTIME"] if p.startswith("opencv")}
    assert len(versions) == 1


def test_package_itself_requires_neither_torch_nor_mmcv(pins):
    names = {pin.split("==")[0] for pin in pins["RUNTIME"]}
    assert not names & {"torch", "torchvision", "mmcv", "onedl-mmcv"}


def test_version_is_the_package_s(pins):
    assert pins["version"]() == perception.__version__


# --- make -----------------------------------------------------------------------------


def test_make_alone_lists_every_target(run_make, checkout):
    result = run_make()
    targets = re.findall(r"^([a-z]+):", (checkout / "Makefile").read_text(), re.M)
    listed = [line.split()[0] for line in result.stdout.splitlines()[1:]]
    assert result.returncode == 0
    assert listed == targets


@pytest.mark.parametrize(
    ("target", "command"),
    [
        ("demo", ".venv/bin/python tools/demo.py -x"),
        ("test", ".venv/bin/python -m pytest -n auto --dist loadfile -x"),
        ("lint", ".venv/bin/python -m mypy perception"),
    ],
)
def test_target_sets_up_first(run_make, target, command):
    lines = run_make("-n", target, "ARGS=-x").stdout.splitlines()
    assert lines[0] == "sh tools/setup_env/setup.sh"
    assert command in lines


def test_unsuitable_python_is_one_line(run_make):
    result = run_make("-s", "setup", PYTHON="/nowhere/python9")
    assert "error: PYTHON=/nowhere/python9 does not run as Python 3.10" in result.stderr
    assert result.returncode == 2


@pytest.mark.parametrize("python", ["python3", "python3.10"], ids=["usual", "other"])
def test_missing_compiler_is_one_line(run_make, checkout, tmp_path, python):
    path = without(tmp_path, "c++", "g++", python=python)
    if python != "python3":  # there is one, but it does not suit
        (tmp_path / "bin" / "python3").symlink_to("/bin/false")
    result = run_make("-s", "setup", PATH=path, CXX="c++")
    errors = [e for e in result.stderr.splitlines() if not e.startswith("make")]
    assert len(errors) == 1
    assert re.match(r"error: missing here: sudo apt-get install .*g\+\+", errors[0])
    assert not (checkout / ".venv").exists()  # noticed before anything was downloaded


def test_finished_set_up_does_nothing_again(run_make, checkout, setup_dir):
    venv = checkout / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    code = "import install; print(install.stamp(), end='')"
    stamp = subprocess.run(
        [venv / "bin" / "python", "-c", code],
        cwd=checkout / "tools" / "setup_env", check=True, capture_output=True,
    ).stdout  # fmt: skip
    (venv / "setup.stamp").write_bytes(stamp)
    before = sorted(p.name for p in venv.iterdir())
    result = run_make("setup")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert sorted(p.name for p in venv.iterdir()) == before


def test_clean_keeps_what_was_made_with_effort(run_make, checkout):
    keep = [checkout / name for name in (".venv/x", "data/x", "work_dirs/x")]
    drop = [checkout / ".ruff_cache" / "x", checkout / "perception/__pycache__/x"]
    for path in (*keep, *drop):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    for folder in ("configs", "tests"):
        (checkout / folder).mkdir()
    assert run_make("clean").returncode == 0
    assert all(path.exists() for path in keep)
    assert not any(path.exists() for path in drop)


# --- what the set-up sees and says ----------------------------------------------------


def test_missing_system_library_names_the_debian_package(load, monkeypatch):
    machine = load("machine")
    monkeypatch.setattr(machine, "SYSTEM_LIBRARIES", {"libnowhere.so.1": "libnowhere1"})
    assert machine.lacking(compiling=False) == ["libnowhere1"]


def test_missing_python_parts_name_the_debian_packages(load, monkeypatch, tmp_path):
    machine = load("machine")
    monkeypatch.setattr(machine, "SYSTEM_LIBRARIES", {})
    monkeypatch.setattr(machine, "find_spec", lambda name: None)
    monkeypatch.setattr(
        machine.sysconfig, "get_paths", lambda: {"include": str(tmp_path)}
    )
    python = f"python3.{sys.version_info.minor}"
    monkeypatch.setattr(machine.shutil, "which", lambda name: "/usr/bin/c++")
    assert machine.lacking(compiling=True) == [f"{python}-venv", f"{python}-dev"]


def test_too_little_space_is_one_line_before_anything_is_written(load, monkeypatch):
    install = load("install")
    monkeypatch.setattr(install, "lacking", lambda compiling: [])
    monkeypatch.setattr(install, "VENV", Path("/nowhere"))
    monkeypatch.setattr(
        install.shutil, "disk_usage", lambda path: SimpleNamespace(free=1.23e9)
    )
    with pytest.raises(install.SetupError, match=r"1\.2 GB are free, 4 are needed"):
        install.set_up()


def test_wheel_built_here_is_found_by_the_next_clone(load, tmp_path, monkeypatch):
    """It lies in the user's cache, for its torch alone, and comes before others."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    install, tried = load("install"), []
    monkeypatch.setattr(install, "has_operators", lambda: bool(tried))
    monkeypatch.setattr(install, "torch_version", lambda: "2.13.0+cpu")
    monkeypatch.setattr(install, "install_wheel", lambda w: tried.append(w) or True)
    arch, python = install.platform.machine(), f"cp3{sys.version_info.minor}"
    name = f"{install.MMCV.replace('-', '_').replace('==', '-')}-{python}-{python}"
    for torch in ("2.13.0+cpu", "2.12.0+cpu"):
        folder = tmp_path / "cache" / "oddfusion" / "wheels" / f"torch-{torch}-cpu"
        folder.mkdir(parents=True)
        (folder / f"{name}-linux_{arch}.whl").touch()
    install.install_mmcv()
    assert [wheel.parent.name for wheel in tried] == ["torch-2.13.0+cpu-cpu"]


# --- compiling mmcv -------------------------------------------------------------------


@pytest.fixture
def compiling(load, tmp_path, monkeypatch):
    """The set-up where nothing is ready; what it compiles, and whether that works."""
    install = load("install")
    done = SimpleNamespace(install=install, compiled=[], works=lambda source: True)
    for name in ("MERGED", "SOURCE", "LOG"):
        monkeypatch.setattr(install, name, tmp_path / name)
    monkeypatch.setattr(install, "has_operators", lambda: False)
    monkeypatch.setattr(install, "torch_version", lambda: "2.13.0")
    monkeypatch.setattr(install, "get_source", lambda folder: folder.mkdir())

    def compile_mmcv(source, wheels):
        done.compiled.append(source.name)
        if not done.works(source):
            raise install.SetupError("compiling mmcv failed: error: no")

    monkeypatch.setattr(install, "compile_mmcv", compile_mmcv)
    monkeypatch.setattr(install, "install_wheel", lambda wheel: wheel == "built")
    monkeypatch.setattr(
        install, "ready_wheels",
        lambda pin, folders: ["built"] if done.compiled else [],
    )  # fmt: skip
    return done


def test_mmcv_is_compiled_merged(compiling):
    compiling.install.install_mmcv()
    assert compiling.compiled == ["MERGED"]


def test_where_merged_fails_mmcv_is_compiled_file_by_file(compiling, capsys):
    compiling.works = lambda source: source.name == "SOURCE"
    compiling.install.install_mmcv()
    assert compiling.compiled == ["MERGED", "SOURCE"]
    assert "error: no" in capsys.readouterr().out


def test_build_file_by_file_goes_on_where_it_was_interrupted(compiling, monkeypatch):
    monkeypatch.setattr(compiling.install, "get_source", lambda folder: None)
    compiling.install.SOURCE.mkdir()
    compiling.install.install_mmcv()
    assert compiling.compiled == ["SOURCE"]


def test_where_both_fail_the_last_reason_is_told(compiling):
    compiling.works = lambda source: False
    with pytest.raises(compiling.install.SetupError, match="compiling mmcv failed"):
        compiling.install.install_mmcv()


def test_merged_source_includes_every_file_once(load, tmp_path):
    """And compiles: two that define one helper, one that redefines max."""
    unity = load("unity")
    folder = tmp_path / "mmcv" / "ops" / "csrc" / "pytorch"
    files = {
        "nms.cpp": "int nms() { return 1; }",
        "contour_expand.cpp": "using namespace std;",
        "cpu/roi_align.cpp": "int add() { return 2; }\nint roi() { return add(); }",
        "cpu/bezier_align.cpp": "int add() { return 3; }\nint bez() { return add(); }",
        "cpu/psamask.cpp": "#define max(a, b) a",
        "cpu/voxelization.cpp": "int max(int a) { return a; }",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text + "\n")
    for header in unity.HEADERS:
        (tmp_path / header).parent.mkdir(exist_ok=True)
        (tmp_path / header).touch()
    unity.merge(tmp_path)
    left = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.cpp"))
    assert left == ["all.cpp", "cpu/all.cpp"]
    texts = [(folder / name).read_text() for name in left]
    for name in files:
        assert sum(f'"{Path(name).stem}.inc"' in text for text in texts) == 1, name
    if compiler := shutil.which("c++"):
        for name in left:
            check = [compiler, "-fsyntax-only", "-I", tmp_path, folder / name]
            subprocess.run(check, check=True)


def test_ready_wheel_is_found_only_for_this_python(load, tmp_path, monkeypatch):
    machine = load("machine")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "nothing"))
    monkeypatch.delenv("PIP_CACHE_DIR", raising=False)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    folder = tmp_path / "with [odd] name"
    folder.mkdir()
    arch = machine.platform.machine()
    ours = f"cp3{sys.version_info.minor}"
    for tag in (ours, "cp39"):
        (folder / f"some_name-1.0-{tag}-{tag}-linux_{arch}.whl").touch()
    found = machine.ready_wheels("some-name==1.0", [folder])
    assert [wheel.name.split("-")[2] for wheel in found] == [ours]


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        ("  [1/78] c++ -O3\nnote: x\n  [12/78] c++ -O3\n", "12 of 78 steps"),
        ("Collecting torch==2.13.0\n", "Collecting torch==2.13.0"),
        ("nothing of interest\n", ""),
    ],
    ids=["compiling", "downloading", "other"],
)
def test_activity_shows_what_goes_on(load, output, shown):
    assert load("progress").activity(output) == shown


def test_failed_step_is_one_line_naming_the_log(load, tmp_path):
    progress = load("progress")
    log = tmp_path / "setup.log"
    code = "print('ERROR: no such version\\n'); raise SystemExit(1)"
    with pytest.raises(progress.SetupError) as raised:
        progress.run("step", [sys.executable, "-c", code], dict(os.environ), log)
    expected = f"step failed: ERROR: no such version (all output: {log})"
    assert str(raised.value) == expected


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (
            "a.cpp:1: fatal error: b.h: No\nERROR: Failed building wheel for x\n",
            "b.h: No",
        ),
        ("c++: fatal error: Killed signal terminated program cc1plus", "MAX_JOBS=1"),
        ("nothing of interest", "no reason given"),
    ],
    ids=["compiler", "memory", "unknown"],
)
def test_failure_tells_the_cause(load, output, reason):
    assert reason in load("progress").failure("step", output, Path("log"))


def test_failed_import_names_the_library_s_package(load):
    output = "ImportError: libGL.so.1: cannot open shared object file: No such file"
    line = load("progress").failure("import", output, Path("log"))
    assert line == "libGL.so.1 is missing: sudo apt-get install libgl1"


# --- importing perception -------------------------------------------------------------


def python(code, *, path=None):
    env = {**os.environ, "PYTHONPATH": str(path or "")}
    return subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True
    )


def test_importing_perception_is_light():
    code = "import sys, perception; print({'torch', 'mmcv', 'cv2'} & set(sys.modules))"
    result = python(code)
    assert result.stdout.strip() == "set()", result.stderr


def test_absent_mmcv_is_explained_at_import():
    result = python("import sys; sys.modules['mmcv'] = None; import perception")
    assert result.returncode == 0
    assert (
        "UserWarning: perception.models will not import: mmcv is not" in result.stderr
    )
    assert "--no-build-isolation" in result.stderr


def test_mmcv_without_operators_is_explained(tmp_path):
    (tmp_path / "mmcv").mkdir()
    (tmp_path / "mmcv" / "__init__.py").touch()
    result = python("import perception.models", path=tmp_path)
    last_lines = result.stderr[result.stderr.index("ImportError") :]
    assert f"no mmcv._ext in {tmp_path / 'mmcv'}" in last_lines
    assert "make setup" in last_lines


def test_operators_of_another_torch_are_explained(tmp_path):
    (tmp_path / "mmcv" / "ops").mkdir(parents=True)
    (tmp_path / "mmcv" / "__init__.py").touch()
    (tmp_path / "mmcv" / "_ext.so").touch()
    broken = "raise ImportError('undefined symbol: _ZN3c10')"
    (tmp_path / "mmcv" / "ops" / "__init__.py").write_text(broken)
    code = "import perception.core.dependencies as d; d.require_mmcv_ops()"
    result = python(code, path=tmp_path)
    assert "built for another torch (undefined symbol: _ZN3c10)" in " ".join(
        result.stderr.split()
    )


def test_operators_are_there_in_this_environment():
    assert missing_mmcv_ops() is None
    require_mmcv_ops()


@pytest.mark.parametrize(
    "code",
    [
        """
from perception.core.structures import DataError
from perception.datasets.loading import build_dataset
try:
    build_dataset("configs/synthetic/concat.py")
except DataError:  # no data there
    pass
""",
        """
import perception.models
from mmdet.models.task_modules import MlvlPointGenerator
MlvlPointGenerator([4]).grid_priors([(2, 2)], device="cpu")
""",
    ],
    ids=["data set", "detector"],
)
def test_mmdet_is_silent_about_what_nobody_asked_for(repo_root, monkeypatch, code):
    """OneDL, faster_coco_eval and torch's meshgrid."""
    monkeypatch.chdir(repo_root)
    result = python(code + "import mmdet.datasets, mmdet.evaluation", path=repo_root)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
