"""What the set-up finds on this machine: system packages, ready wheels, its cores."""

from __future__ import annotations

import ctypes
import glob
import os
import platform
import shutil
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

SYSTEM_LIBRARIES = {  # what the wheels of opencv-python and open3d-cpu load
    "libGL.so.1": "libgl1",
    "libX11.so.6": "libx11-6",
    "libgomp.so.1": "libgomp1",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libudev.so.1": "libudev1",
}


def lacking(compiling: bool) -> list[str]:
    """Names of the Debian/Ubuntu packages that this machine lacks."""
    version = f"python3.{sys.version_info.minor}"
    packages = []
    if find_spec("ensurepip") is None or find_spec("venv") is None:
        packages.append(f"{version}-venv")
    if compiling:
        if not shutil.which(os.environ.get("CXX", "c++").split()[0]):
            packages.append("g++")
        if not Path(sysconfig.get_paths()["include"], "Python.h").exists():
            packages.append(f"{version}-dev")
    for library, package in SYSTEM_LIBRARIES.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            packages.append(package)
    return packages


def cache() -> Path:
    """The user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def own_wheels(torch: str) -> Path:
    """Where mmcv built here is kept: one folder per version of torch that it fits."""
    return cache() / "oddfusion" / "wheels" / f"torch-{torch}-cpu"


def all_own_wheels() -> list[Path]:
    """Every such folder that exists."""
    return sorted(own_wheels("any").parent.glob("*"))


def ready_wheels(pin: str, folders: list[Path]) -> list[Path]:
    """Wheels of ``pin`` for this Python in these folders or in a cache of pip's.

    Args:
        pin: ``name==version``.
        folders: Where to look first.
    """
    tag = f"cp3{sys.version_info.minor}"
    name = f"{pin.replace('-', '_').replace('==', '-')}-{tag}-{tag}-*"
    name += f"{platform.machine()}.whl"
    links = os.environ.get("PIP_FIND_LINKS", "").split()
    pip_cache = glob.escape(os.environ.get("PIP_CACHE_DIR") or str(cache() / "pip"))
    patterns = [f"{glob.escape(str(f))}/{name}" for f in [*folders, *links]]
    patterns.append(f"{pip_cache}/wheels/*/*/*/*/{name}")
    return [Path(w) for pattern in patterns for w in sorted(glob.glob(pattern))]


def compile_jobs() -> int:
    """Compilers to run at once: one per core, 2 GiB of memory for each."""
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return max(1, min(len(os.sched_getaffinity(0)), int(gigabytes / 2)))
