"""Fixtures shared by all tests, and a suite that runs the same every time."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Before anything imports torch or numpy: one thread for each of pytest's workers, and
# threads that wait do so asleep.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("MPLBACKEND", "Agg")

settings.register_profile(
    "repeatable",
    deadline=None,  # a busy machine is no failure
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def repo_root() -> Path:
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def kitti_root(repo_root: Path) -> Path:
    """Root of real KITTI frames (holding ``training/``), or the test is skipped."""
    given = os.environ.get("KITTI_ROOT")
    root = Path(given) if given else repo_root.parent / "shared" / "kitti_mini"
    if not (root / "training").is_dir():
        pytest.skip(f"no real KITTI frames in {root} (set KITTI_ROOT): not tested")
    return root
