"""A tiny data set, a config and random weights, for tests of attacks on a data set."""

from dataclasses import dataclass
from pathlib import Path

import torch
from tiny_kitti import write_config, write_kitti

from perception.apis import load_detector
from perception.core.checkpoints import save_weights

REPOSITORY = Path(__file__).resolve().parent.parent
STANDARD = REPOSITORY / "configs" / "_base_" / "attacks" / "standard.py"
EXTRAS = """
model = dict(test_cfg=dict(score_thr=0.0, max_per_img=20))
test_evaluator = dict(difficulties=[("all", 1, 3, 1.0)], headline="all")
"""


@dataclass(frozen=True)
class Project:
    """Paths of everything that ``tools/attack.py`` reads.

    Attributes:
        config: A detector with a gate; random weights find things everywhere.
        checkpoint: Its weights.
        data: KITTI folder with four frames in the split ``val``.
    """

    config: Path
    checkpoint: Path
    data: Path


def make_project(folder: Path, base: str = "odd_one_out") -> Project:
    """Write a project below ``folder``."""
    data = write_kitti(folder / "kitti", train=1, val=4)
    config = write_config(
        folder / "config.py", data, REPOSITORY / "configs" / "synthetic" / f"{base}.py"
    )
    config.write_text(config.read_text() + EXTRAS)
    torch.manual_seed(0)
    detector = load_detector(config)
    checkpoint = folder / "weights.safetensors"
    save_weights(checkpoint, detector.state_dict())
    return Project(config, checkpoint, data)
