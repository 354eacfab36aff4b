"""Packaging, and the one place where versions are pinned.

``tools/setup_env/install.py``, behind ``make setup``, reads the lists below: this
module imports nothing but the standard library unless it is run as ``setup.py``.

Every version exists for Python 3.10, 3.11 and 3.12 and lives with numpy 1.26.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent

# What compiling mmcv's operators needs to be there beforehand. Neither torch nor
# mmcv is among the package's own requirements: `pip install -e .` must leave a
# working pair alone, because mmcv's binary operators fit one torch only.
BUILD = [
    "setuptools==79.0.1",  # the last before 80, which torch's build helper needs
    "wheel==0.48.0",  # setuptools 79 builds wheels with it
    "ninja==1.13.2",  # compiles in parallel, counts files, resumes when interrupted
    "psutil==7.2.2",  # mmcv's build looks at the number of cores with it
    "packaging==26.3",  # imported by mmcv's build
    "torch==2.13.0",  # the newest that this mmcv was verified with
]
MMCV = "onedl-mmcv==2.3.6"  # the maintained mmcv; upstream's stopped building in 2024

RUNTIME = [
    "numpy==1.26.4",  # nuscenes-devkit 1.2.0 requires numpy < 2
    "opencv-python==4.11.0.86",  # the last that accepts numpy 1.26
    "opencv-python-headless==4.11.0.86",  # comes with nuscenes-devkit; same files
    "open3d-cpu==0.19.0",  # ray casting; 0.20 wants libusb-1.0 on the system
    "onedl-mmengine==0.10.12",  # the maintained mmengine, with the mmcv above
    "onedl-mmdetection==3.5.1",  # the maintained mmdet, with the mmcv above
    "nuscenes-devkit==1.2.0",  # reads nuScenes
    "shapely==2.0.7",  # nuscenes-devkit requires 2.0.x; this is its last
    "scipy==1.15.3",  # required by mmdet; the last for Python 3.10
    "matplotlib==3.10.9",  # required by mmengine; the last for Python 3.10
    "pillow==12.3.0",  # pictures and their text; required by mmcv
    "pydantic==2.14.4",  # checks results when they are read; required by open3d's dash
    "scikit-learn==1.7.2",  # AUROC; required by nuscenes-devkit; last for Python 3.10
    "safetensors==0.8.0",  # weights that cannot carry code
    "tensorboard==2.21.0",  # training curves
    "jinja2==3.1.6",  # HTML reports; required by torch
    "tqdm==4.70.1",  # progress bars
]

EXTRAS = {
    "dev": [
        "pytest==9.2.0",  # newest
        "pytest-xdist==3.8.0",  # tests on all cores: half the time on two
        "hypothesis==6.168.5",  # the last for Python 3.10
        "ruff==0.17.6",  # pinned so that formatting never depends on the day
        "mypy==2.4.1",  # the same for type checks
        "adversarial-robustness-toolbox==1.20.1",  # attacks are compared with its own
        "playwright==1.65.2",  # opens the report page in the system's Chromium
        "maite==0.10.3",  # its own tools run the adapters in tests
    ],
    "onnx": [
        "onnx==1.20.1",  # writes exported detectors
        "ml-dtypes==0.5.4",  # required by onnx; the last that lives with numpy 1.26
        "onnxruntime==1.23.2",  # runs them; the last for Python 3.10
    ],
    "bags": [
        "rosbags==0.11.9",  # reads and writes bags without ROS; newest, any numpy
    ],
    "viewer": [
        "rerun-sdk==0.23.1",  # the last that lives with numpy < 2
        "pyarrow==24.0.0",  # required by rerun-sdk; 26 refuses to load with numpy < 2
    ],
}


def all_pins() -> list[str]:
    """Every requirement of every group, as ``name==version``."""
    return [*BUILD, MMCV, *RUNTIME, *(pin for pins in EXTRAS.values() for pin in pins)]


def version() -> str:
    """The package's version, from ``perception/__init__.py``."""
    text = (ROOT / "perception" / "__init__.py").read_text(encoding="utf-8")
    return re.findall(r'^__version__ = "(.+)"$', text, re.MULTILINE)[0]


def main() -> None:
    """Hand the metadata to setuptools."""
    from setuptools import find_packages, setup

    setup(
        name="oddfusion",
        version=version(),
        description="Sensor fusion that keeps detecting when one sensor lies",
        long_description=(
            "Object detection from camera, LiDAR and depth with MMDetection, a fusion "
            "layer that is robust against attacks on any single sensor, and attacks."
        ),
        license="Apache-2.0",
        license_files=["LICENSE"],
        packages=find_packages(include=["perception", "perception.*"]),
        package_data={"perception.visualization.report": ["templates/*"]},
        python_requires=">=3.10,<3.13",
        install_requires=RUNTIME,
        extras_require=EXTRAS,
        classifiers=[
            "Programming Language :: Python :: 3.10",
            "Programming Language :: Python :: 3.11",
            "Programming Language :: Python :: 3.12",
            "Operating System :: POSIX :: Linux",
            "Topic :: Scientific/Engineering :: Artificial Intelligence",
        ],
    )


if __name__ == "__main__":  # pip runs this file under that name, too
    main()
