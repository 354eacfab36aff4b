"""Train a detector from a config."""

import argparse
from pathlib import Path

from perception.cli.options import (
    HelpFormatter,
    add_run_arguments,
    export_local_rank,
    run_tool,
)

EXAMPLES = """examples:
  python tools/train.py configs/synthetic/concat.py
  python tools/train.py configs/synthetic/odd_one_out.py --seed 1 --resume
  python tools/train.py configs/kitti/odd_one_out.py --amp \\
      --cfg-options data_root=/data/kitti train_dataloader.batch_size=4
  torchrun --nproc-per-node 2 tools/train.py configs/synthetic/concat.py \\
      --launcher pytorch

Logs, TensorBoard events and checkpoints go to the work directory; the best
checkpoint by AP on the validation frames is best_*.pth.
"""


def parse_args() -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=HelpFormatter
    )
    parser.add_argument("config", help="config file, see configs/")
    parser.add_argument(
        "--work-dir", help="where everything is written (work_dirs/<dir>_<config>)"
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on from the work directory's newest checkpoint, if any",
    )
    parser.add_argument(
        "--amp",
        action="store_true",
        help="mixed precision in bfloat16: faster on GPUs and recent server CPUs",
    )
    parser.add_argument("--seed", type=int, help="replaces the config's seed")
    add_run_arguments(parser)
    return parser.parse_args()


def main() -> None:
    """Train and say where the best checkpoint is."""
    args = parse_args()
    from perception.core.config import default_work_dir, load_config
    from perception.training.runner import train

    export_local_rank(args.local_rank)
    config = load_config(args.config, args.cfg_options)
    best = train(
        config,
        work_dir=Path(args.work_dir or default_work_dir(args.config)),
        seed=args.seed,
        resume=args.resume,
        amp=args.amp,
        launcher=args.launcher,
    )
    print(f"best checkpoint: {best}")


if __name__ == "__main__":
    run_tool(main)
