"""Train a detector from a config.

Logs, TensorBoard events and checkpoints go to the work directory; the best checkpoint
by AP on the validation frames is best_*.pth.

--cfg-options sets any entry of the config by its dotted path. Some entries change all
that depends on them:

  max_epochs=N       length of the training, and of the learning rate's schedule
  input_size=WxH     what every frame is resized to, for training and testing alike
  classes=[A,B]      what is detected: data sets, heads and the overlaps of AP
  data_root=DIR      where the frames of all data sets are
  depth_dir=DIR      where their depth maps are, if not in KITTI's folder depth_2

Give test.py, attack.py and the others the same input_size and classes, or put them into
a config of your own (`_base_ = "…/concat.py"`, then one line each).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from perception.cli.options import Parser, add_runner

EXAMPLES = """\
examples:
  python tools/train.py configs/synthetic/concat.py
  python tools/train.py configs/synthetic/odd_one_out.py --seed 1 --resume
  python tools/train.py configs/synthetic/concat.py --cfg-options max_epochs=3 \\
      input_size=640x192 classes=[Car,Van] data_root="my data"
  python tools/train.py configs/kitti/odd_one_out.py --amp \\
      --cfg-options data_root=/data/kitti train_dataloader.batch_size=4
  torchrun --nproc-per-node 2 tools/train.py configs/synthetic/concat.py \\
      --launcher pytorch
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Train and say where the best checkpoint is."""
    parser = Parser(description=__doc__, epilog=EXAMPLES)
    add = parser.add_argument
    add("config", help="config file, see configs/")
    what = "go on from the work directory's newest checkpoint, if any"
    add("--resume", action="store_true", help=what)
    what = "mixed precision in bfloat16: faster on GPUs and recent server CPUs"
    add("--amp", action="store_true", help=what)
    add("--seed", type=int, help="replaces the config's seed")
    add_runner(parser)
    args = parser.parse_args(argv)
    from perception.core.config import default_work_dir, load_config
    from perception.training.calibration import calibration_command
    from perception.training.runner import train

    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))  # MMEngine reads it
    best = train(
        load_config(args.config, args.cfg_options),
        work_dir=Path(args.work_dir or default_work_dir(args.config)),
        seed=args.seed,
        resume=args.resume,
        amp=args.amp,
        launcher=args.launcher,
    )
    print(f"best checkpoint: {best}")
    if command := calibration_command(args.config, best, args.cfg_options or {}):
        print(
            "its gate knows only the frames it was trained on; calibrate it on a "
            "hundred or more clean ones that it was not, and use what is written:\n  "
            + command
        )
