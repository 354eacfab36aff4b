"""Score a checkpoint on the test frames, by KITTI's protocol."""

import argparse
from pathlib import Path

from perception.cli.options import (
    HelpFormatter,
    add_run_arguments,
    command_line,
    export_local_rank,
    run_tool,
)

EXAMPLES = """examples:
  python tools/test.py configs/synthetic/concat.py \\
      work_dirs/synthetic_concat/best_kitti_mAP_epoch_10.pth --json concat.json
  python tools/test.py CONFIG CHECKPOINT --dump-kitti results
  python tools/eval_kitti.py data/synthetic/training/label_2 results \\
      --split data/synthetic/ImageSets/val.txt
"""


def parse_args() -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=HelpFormatter
    )
    parser.add_argument("config", help="config file the checkpoint was trained with")
    parser.add_argument("checkpoint", help=".pth or .safetensors file")
    parser.add_argument("--work-dir", help="where logs go (work_dirs/<dir>_<config>)")
    parser.add_argument(
        "--dump-kitti",
        metavar="DIR",
        help="write KITTI result files, one per frame; DIR must hold none of others",
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write the figures and how to reproduce them"
    )
    add_run_arguments(parser)
    return parser.parse_args()


def main() -> None:
    """Test and print the headline figures."""
    args = parse_args()
    from perception.core.config import default_work_dir, load_config
    from perception.evaluation.detection.scoring import score_checkpoint

    export_local_rank(args.local_rank)
    config = load_config(args.config, args.cfg_options)
    figures = score_checkpoint(
        config,
        args.checkpoint,
        work_dir=Path(args.work_dir or default_work_dir(args.config)),
        dump_kitti=args.dump_kitti,
        json_file=args.json,
        invocation={
            "command": command_line("test.py", None),
            "cfg_options": args.cfg_options or {},
        },
        launcher=args.launcher,
    )
    for name, value in figures.items():
        if "mAP" in name:
            print(f"{name}: {value:.2f}")


if __name__ == "__main__":
    run_tool(main)
