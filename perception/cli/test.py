"""Score a checkpoint on the test frames, by KITTI's protocol.

On nuScenes, detectors of boxes in metres are scored by nuScenes' own program as well.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from perception.cli.options import (
    Parser,
    add_runner,
    add_shards,
    command_line,
    option,
    shard_of,
    told_of_shard,
)

EXAMPLES = """\
examples:
  python tools/test.py configs/synthetic/concat.py \\
      work_dirs/synthetic_concat/best_kitti_mAP_epoch_10.pth --json concat.json
  python tools/test.py CONFIG CHECKPOINT --dump-kitti results
  python tools/test.py CONFIG CHECKPOINT --work-dir DIR --shard 2/4
  python tools/test.py configs/nuscenes/concat_3d.py CHECKPOINT --dump-nuscenes r.json
  python tools/eval_kitti.py data/synthetic/training/label_2 results \\
      --split data/synthetic/ImageSets/val.txt
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Test and print the headline figures."""
    parser = Parser(description=__doc__, epilog=EXAMPLES)
    add = parser.add_argument
    add("config", help="config file the checkpoint was trained with")
    add("checkpoint", help=".pth or .safetensors file, or .onnx for that backend")
    what = "write KITTI result files, one per frame; DIR must hold none of others"
    add("--dump-kitti", metavar="DIR", help=what)
    what = "write a result file of nuScenes' detection task"
    add("--dump-nuscenes", metavar="FILE", help=what)
    what = "write the figures and how to reproduce them"
    add("--json", metavar="FILE", help=what)
    what = "what runs the detector; weights are exported for onnxruntime first"
    option(parser, "--backend", what, "torch", choices=("torch", "onnxruntime"))
    add_runner(parser)
    add_shards(parser)
    args = parser.parse_args(argv)
    shard = shard_of(args)
    if args.launcher != "none" and (shard is not None or args.merge is not None):
        parser.error("--launcher shares frames by itself: no --shard or --merge")
    from perception.core.config import default_work_dir, load_config
    from perception.core.shards import WHOLE, at_work, torchrun_shard
    from perception.evaluation.detection.scoring import records_folder, score_checkpoint

    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))  # MMEngine reads it
    # Of its own: a training may be at work in the config's.
    work_dir = Path(args.work_dir or default_work_dir(args.config) / "test")
    recorded = shard is not None or args.merge is not None or torchrun_shard() != WHOLE
    folder = records_folder(work_dir)
    with at_work(folder, "scoring", shard) if recorded else nullcontext():
        figures = score_checkpoint(
            load_config(args.config, args.cfg_options),
            args.checkpoint,
            work_dir=work_dir,
            dump_kitti=args.dump_kitti,
            dump_nuscenes=args.dump_nuscenes,
            json_file=args.json,
            invocation={
                "command": command_line("test.py", argv),
                "cfg_options": args.cfg_options or {},
            },
            launcher=args.launcher,
            backend=args.backend,
            shard=shard,
            merge=args.merge,
        )
    if shard is not None:
        print(told_of_shard(shard, "--merge"))
    if figures is None:  # a shard, or a rank of torchrun that only helped
        return
    for name, value in figures.items():
        if "mAP" in name or name.endswith(("/top1", "/NDS")):
            print(f"{name}: {value:.2f}")
