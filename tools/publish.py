"""Turn a checkpoint into a small file of weights with a card.

Half precision, no optimiser state, nothing that could run code (safetensors). The card
beside it says which config and command made the weights, and what was measured.
"""

import argparse

from perception.cli.options import HelpFormatter, run_tool

EXAMPLES = """examples:
  python tools/publish.py configs/synthetic/concat.py \\
      work_dirs/synthetic_concat/epoch_10.pth --out data/zoo/concat.safetensors \\
      --command "python tools/train.py configs/synthetic/concat.py --seed 0"
  python tools/robustness.py configs/synthetic/concat.py data/zoo/concat.safetensors \\
      --suite quick --out work_dirs/zoo
  python tools/publish.py configs/synthetic/concat.py data/zoo/concat.safetensors \\
      --out data/zoo/concat.safetensors --results work_dirs/zoo/robustness.json \\
      --command "python tools/train.py configs/synthetic/concat.py --seed 0"
"""


def parse_args() -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=HelpFormatter
    )
    parser.add_argument("config", help="config file of the detector")
    parser.add_argument("checkpoint", help=".pth or .safetensors file")
    parser.add_argument("--out", required=True, help="the .safetensors file to write")
    parser.add_argument(
        "--command", required=True, help="what made the checkpoint, for the card"
    )
    parser.add_argument(
        "--results", help="robustness.json measured with the written file, for the card"
    )
    return parser.parse_args()


def main() -> None:
    """Publish and say what was written."""
    args = parse_args()
    from perception.evaluation.zoo import publish

    digest = publish(
        args.config,
        args.checkpoint,
        args.out,
        command=args.command,
        results=args.results,
    )
    print(f"{args.out}: {digest}")


if __name__ == "__main__":
    run_tool(main)
