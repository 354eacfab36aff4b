"""Write a detector as an ONNX file, which onnxruntime runs without this project.

Inputs are physical units, one tensor per sensor, any number of frames; outputs are
boxes, scores and the gate. The file is compared with PyTorch on real frames.
"""

from __future__ import annotations

from collections.abc import Sequence

from perception.cli.options import Parser, add_options, from_args
from perception.evaluation.robustness.spec import DetectorSpec, ExportRun

EXAMPLES = """\
examples:
  python tools/export.py configs/synthetic/consensus_robust.py \\
      data/zoo/consensus_robust.safetensors --out consensus_robust.onnx
  python tools/export.py CONFIG CHECKPOINT --out model.onnx --points --boxes nms
  python tools/test.py CONFIG model.onnx --backend onnxruntime
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Export, compare, say what the file takes and gives."""
    parser = Parser(description=__doc__, epilog=EXAMPLES)
    add_options(parser, DetectorSpec, "config", "checkpoint")
    add_options(parser, ExportRun, "out", out=dict(metavar="FILE.onnx"))
    size = dict(metavar=("HEIGHT", "WIDTH"))
    fields = ("size", "boxes", "points", "precision")
    add_options(parser, ExportRun, *fields, size=size)
    add_options(parser, ExportRun, "check", check=dict(type=int, metavar="FRAMES"))
    add_options(parser, DetectorSpec, "cfg_options")
    args = parser.parse_args(argv)
    from perception.evaluation.exported import run_export

    found = run_export(from_args(ExportRun, args))
    print(f"{args.out}: {found.megabytes:.1f} MB, {args.precision}")
    for title, tensors in (("in", found.inputs), ("out", found.outputs)):
        for name, shape in tensors.items():
            print(f"  {title:<4}{name:<20}({', '.join(map(str, shape))})")
    if found.difference is not None:
        print(
            f"largest difference from PyTorch: {found.difference:.2g}; one frame: "
            f"{found.onnx_ms:.1f} ms, PyTorch {found.torch_ms:.1f} ms"
        )
