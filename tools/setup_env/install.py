"""Create .venv and install the pinned packages, in the order that works.

``make setup`` runs this through setup.sh, with the standard library alone:

1. torch and what a C++ build needs;
2. mmcv, which comes as source: it builds no operators at all, silently, unless torch
   is importable and build isolation is off. A ready wheel is used where one is found;
3. the rest together, so that pip does not lift numpy to 2.x.

A stamp of pins, Python and path makes the next run do nothing. An interrupted run
continues where it stopped.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import runpy
import shutil
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

from machine import all_own_wheels, compile_jobs, lacking, own_wheels, ready_wheels
from progress import SetupError, run
from unity import merge

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOG = VENV / "setup.log"
STAMP = VENV / "setup.stamp"
CONSTRAINTS = VENV / "constraints.txt"
MERGED = VENV / "mmcv-merged"  # its source as two files
SOURCE = VENV / "mmcv-source"  # as it is: only where the other did not compile
SHARED_WHEELS = ROOT.parent / "shared" / "wheels"
NEEDED_GB = 4  # .venv: 3 with torch for the CPU; NVIDIA's libraries come on top
PINS = runpy.run_path(str(ROOT / "setup.py"), run_name="pins")
MMCV = PINS["MMCV"]


def stamp() -> str:
    """A line that changes with the pins, the Python version or the path."""
    key = "\n".join([*PINS["all_pins"](), sys.version, str(ROOT)])
    return hashlib.sha256(key.encode()).hexdigest()


def environment() -> dict[str, str]:
    """The environment of the installation: this .venv and nothing from outside."""
    env = dict(os.environ)
    for name in ("PYTHONPATH", "PYTHONHOME"):
        env.pop(name, None)
    env["PATH"] = f"{VENV / 'bin'}{os.pathsep}{env.get('PATH', '')}"
    env.update(PIP_USER="0", PIP_DISABLE_PIP_VERSION_CHECK="1", PYTHONUNBUFFERED="1")
    env.setdefault("MAX_JOBS", str(compile_jobs()))
    return env


def pip(title: str, *arguments: str | Path, env: dict[str, str] | None = None) -> None:
    """Run pip in .venv; see ``progress.run``."""
    command = [str(part) for part in (PYTHON, "-m", "pip", *arguments)]
    if arguments[0] == "install":  # Python compiles what it imports, once: a tenth
        command.append("--no-compile")
    run(title, command, env or environment(), LOG)


def ask(code: str) -> str | None:
    """What Python code prints in .venv; None, and a traceback in the log, on error."""
    result = subprocess.run(
        [PYTHON, "-c", code], env=environment(), capture_output=True, text=True
    )
    with LOG.open("a", encoding="utf-8") as log:
        log.write(f"\n$ python -c {code!r}\n{result.stdout}{result.stderr}")
    return None if result.returncode else result.stdout.strip()


def create_venv() -> None:
    """Make .venv, or keep it if it is whole, of this Python and made at this path."""
    activate = VENV / "bin" / "activate"
    if activate.exists() and str(VENV) in activate.read_text(errors="replace"):
        probe = [PYTHON, "-c", "import sys, pip; print(sys.version)"]
        result = subprocess.run(probe, capture_output=True, text=True)
        if result.stdout.strip() == sys.version.strip():
            return
    if VENV.exists():
        print("  .venv is incomplete, of another Python or was moved: made anew")
    # The base interpreter, because PYTHON may be the one inside .venv.
    base = getattr(sys, "_base_executable", None) or sys.executable
    subprocess.run([base, "-m", "venv", "--clear", VENV], check=True)


def has_operators() -> bool:
    """Whether .venv holds the pinned mmcv with operators that load."""
    name, version = MMCV.split("==")
    code = f"import mmcv.ops, importlib.metadata as m; print(m.version({name!r}))"
    return ask(code) == version


def torch_version() -> str:
    """The installed torch, which mmcv's operators have to fit."""
    version = ask("import torch; print(torch.__version__)")
    if version is None:
        raise SetupError(f"torch was installed but does not import (see {LOG})")
    return version


def install_wheel(wheel: Path) -> bool:
    """Put a wheel of mmcv in; whether its operators load."""
    pip("removing the old mmcv", "uninstall", "-y", MMCV.split("==")[0])
    pip("mmcv", "install", "-c", CONSTRAINTS, wheel)
    return has_operators()


def install_mmcv() -> None:
    """Install mmcv with its operators: from a ready wheel, or compiled.

    They are those for the CPU, also where there is a GPU: what it needs of them,
    ``perception.core.gpu_operators`` has.
    """
    if has_operators():
        return
    own = own_wheels(torch_version())
    for wheel in ready_wheels(MMCV, [own, SHARED_WHEELS]):
        print(f"  ready wheel: {wheel}")
        if install_wheel(wheel):
            return
        print("  it does not fit this torch")
    # Merged into two files; where that fails, as it comes, which goes on where it was
    # interrupted.
    for source in (SOURCE,) if SOURCE.exists() else (MERGED, SOURCE):
        get_source(source)
        try:
            compile_mmcv(source, own)
            if install_wheel(ready_wheels(MMCV, [own])[0]):
                return
            raise SetupError(f"compiled, but mmcv.ops does not import (see {LOG})")
        except SetupError as error:
            if source == SOURCE:
                raise
            print(f"  {error}\n  so it is compiled in its own 78 files")


def get_source(folder: Path) -> None:
    """Make ``MERGED`` anew, or ``SOURCE`` if it is not there."""
    if folder == MERGED:
        shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        return
    download = VENV / "mmcv-download"
    shutil.rmtree(download, ignore_errors=True)
    what = ["--no-deps", "--no-binary", MMCV.split("==")[0], MMCV]
    pip("mmcv's source", "download", "--no-build-isolation", "-d", download, *what)
    (archive,) = download.glob("*.tar.gz")
    shutil.unpack_archive(archive, download)
    archive.unlink()
    next(download.iterdir()).rename(folder)
    if folder == MERGED:
        merge(folder)


def compile_mmcv(source: Path, wheels: Path) -> None:
    """Build mmcv's wheel from ``MERGED`` or ``SOURCE``."""
    env = environment()
    # No operators for GPUs: they take an hour, and an nvcc of the same CUDA as torch's.
    env.update(CUDA_VISIBLE_DEVICES="", FORCE_CUDA="0")
    # The usual ones, which CFLAGS replaces, without symbols for debuggers.
    env.setdefault("CFLAGS", f"{sysconfig.get_config_var('CFLAGS')} -g0")
    minutes = "1 to 3" if source == MERGED else "15 to 30"
    print(f"  mmcv comes as source: compiling takes {minutes} minutes on 2 cores, once")
    print(f"  ({env['MAX_JOBS']} files at a time; the compiler's output is in {LOG})")
    options = ["-v", "--no-deps", "--no-build-isolation", "-w", wheels]
    pip("compiling mmcv", "wheel", *options, source, env=env)
    shutil.rmtree(source)


def set_up() -> None:
    """Do every step that is not done yet.

    Raises:
        SetupError: With one line that says what is in the way.
    """
    wheels = ready_wheels(MMCV, [*all_own_wheels(), SHARED_WHEELS])
    installed = any(VENV.glob("lib/python*/site-packages/mmcv/_ext.*"))
    packages = lacking(compiling=not (wheels or installed))
    if packages:
        raise SetupError(f"missing here: sudo apt-get install {' '.join(packages)}")
    free_GB = shutil.disk_usage(ROOT).free / 1e9
    if not VENV.exists() and free_GB < NEEDED_GB:
        raise SetupError(f"{ROOT}: {free_GB:.1f} GB are free, {NEEDED_GB} are needed")
    create_venv()
    CONSTRAINTS.write_text("\n".join(PINS["all_pins"]()) + "\n")
    pip("torch and build tools", "install", "-c", CONSTRAINTS, *PINS["BUILD"])
    install_mmcv()
    everything = ["-e", ".[dev,onnx,bags]", MMCV, *PINS["BUILD"]]
    pip("everything else", "install", "-c", CONSTRAINTS, "--no-build-isolation",
        *everything)  # fmt: skip
    if ask("import cv2, open3d, mmcv.ops, mmdet.models, perception") is None:
        raise SetupError(f"installed, but an import fails: see the end of {LOG}")
    STAMP.write_text(stamp())


def main() -> int:
    """Set up, or say in one line what is in the way."""
    # Also where a shell in the background had made them ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    os.chdir(ROOT)
    lock = os.open(ROOT, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)  # two at once would install into each other
    try:
        if PYTHON.exists() and STAMP.exists() and STAMP.read_text() == stamp():
            return 0
        python = platform.python_version()
        print(f"Setting up .venv with Python {python}: about 5 minutes", flush=True)
        set_up()
        print("Set-up complete.")
    except (SetupError, OSError) as error:
        print(f"\nerror: {error}" if sys.stdout.isatty() else f"error: {error}",
              file=sys.stderr)  # fmt: skip
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted: the same command continues here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
