"""Fixtures shared by all tests, and a suite that runs the same every time."""

import os
from pathlib import Path
from typing import Any

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


# ---- a tiny detector as a target; its modules take seconds to import ----


@pytest.fixture(scope="session")
def tiny_detector() -> Any:
    """Camera, lidar and depth at 64 x 32, odd-one-out fusion; leave it as it is."""
    from tiny_target import detector_config, trained_detector

    return trained_detector(detector_config())


@pytest.fixture(scope="session")
def tiny_concat() -> Any:
    """The same with plain fusion: no gate, no experts."""
    from tiny_target import detector_config, trained_detector

    return trained_detector(detector_config("ConcatFusion"), seed=1)


@pytest.fixture
def tiny_target(tiny_detector: Any) -> Any:
    """The tiny detector as attacks know it."""
    from perception.targets import DetectorTarget

    return DetectorTarget(tiny_detector)


@pytest.fixture
def plain_target(tiny_concat: Any) -> Any:
    """The one with plain fusion as attacks know it."""
    from perception.targets import DetectorTarget

    return DetectorTarget(tiny_concat)


@pytest.fixture
def tiny_data() -> dict:
    """Four frames as a data loader yields them: raw ``inputs``, ``data_samples``."""
    from tiny_target import collated

    return collated([0, 1, 2, 3])


@pytest.fixture
def tiny_batch(tiny_target: Any, tiny_data: dict) -> Any:
    """The four frames as attacks take them."""
    return tiny_target.batch(tiny_data)
