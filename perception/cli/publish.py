"""Turn a checkpoint into a small file of weights with a card.

Half precision, no optimiser state, nothing that could run code (safetensors). The card
beside it says which config and command made the weights, and what was measured.
"""

from __future__ import annotations

from collections.abc import Sequence

from perception.cli.attacking import add_detector
from perception.cli.options import Parser

EXAMPLES = """\
examples:
  python tools/publish.py configs/synthetic/concat.py \\
      work_dirs/synthetic_concat/epoch_10.pth --out data/zoo/concat.safetensors \\
      --command "python tools/train.py configs/synthetic/concat.py --seed 0"
  python tools/robustness.py configs/synthetic/concat.py data/zoo/concat.safetensors \\
      --suite quick --out work_dirs/zoo
  python tools/publish.py configs/synthetic/concat.py data/zoo/concat.safetensors \\
      --out data/zoo/concat.safetensors --results work_dirs/zoo/robustness.json \\
      --command "python tools/train.py configs/synthetic/concat.py --seed 0"
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Publish and say what was written."""
    parser = Parser(description=__doc__, epilog=EXAMPLES)
    add_detector(parser)
    add = parser.add_argument
    add("--out", required=True, help="the .safetensors file to write")
    add("--command", required=True, help="what made the checkpoint, for the card")
    what = "robustness.json measured with the written file, for the card"
    add("--results", metavar="FILE", help=what)
    args = parser.parse_args(argv)
    from perception.evaluation.zoo import publish

    digest = publish(
        args.config,
        args.checkpoint,
        args.out,
        command=args.command,
        results=args.results,
    )
    print(f"{args.out}: {digest}")
