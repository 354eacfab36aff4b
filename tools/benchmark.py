"""Measure how long the parts take on this machine, each beside a reference."""

from __future__ import annotations

import argparse
from pathlib import Path

from perception.cli.options import HelpFormatter, pick_device, positive, run_tool

CONFIGS = Path(__file__).resolve().parents[1] / "configs" / "synthetic"
EXAMPLES = """examples:
  python tools/benchmark.py rasterize
  python tools/benchmark.py rasterize --points 30000 --size 640x192
  python tools/benchmark.py fusion --necks concat odd_one_out --batch-size 4
  python tools/benchmark.py attacks configs/synthetic/concat.py best.pth

Each line shows the median over interleaved repetitions, so that whatever else the
machine is doing slows all candidates alike, and the ratio to the reference of the
same run. Compare ratios between machines, not milliseconds.
"""
RASTERIZE = """\
Draw LiDAR points into an image of the camera's size, on one thread: a plain NumPy
program (the reference) and our torch operation, through which gradients pass. Once
with points all around, of which few are in view, and once with points that all are.
"""
FUSION = """\
Run whole detectors with random weights, one for each fusion neck: forward alone, then
with the gradient to all weights. The first neck is the reference.
"""
ATTACKS = """\
Attack each sensor on validation frames. One PGD step beside the forward and backward
pass that no attack can do without (the reference); then our whole attack (the
reference) beside that of the Adversarial Robustness Toolbox, as its own detectors run
it and without the gradient to the weights. Needs pip install -e '.[dev]'.
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line; each sub-command brings its function."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=HelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    one = commands.add_parser(
        "rasterize",
        description=RASTERIZE,
        formatter_class=HelpFormatter,
        help="points to an image: torch against NumPy, one thread",
    )
    one.add_argument(
        "--points", type=positive, default=120_000, help="size of the cloud"
    )
    one.add_argument("--size", default="1242x375", help="image WIDTHxHEIGHT in px")
    _add_repeats(one, 30)
    one.set_defaults(function=rasterize)

    one = commands.add_parser(
        "fusion",
        description=FUSION,
        formatter_class=HelpFormatter,
        help="whole detectors with each fusion neck, relative to concat",
    )
    one.add_argument(
        "--necks",
        nargs="+",
        default=["concat", "mean", "lel", "odd_one_out"],
        help="configs of configs/synthetic; the first is the reference",
    )
    one.add_argument("--size", default="320x96", help="input WIDTHxHEIGHT in px")
    _add_work(one, frames=1)
    one.add_argument("--device", default="cpu", help="auto, cpu, cuda, cuda:1, …")
    _add_repeats(one, 20)
    one.set_defaults(function=fusion)

    one = commands.add_parser(
        "attacks",
        description=ATTACKS,
        formatter_class=HelpFormatter,
        help="PGD against the least possible and the Adversarial Robustness Toolbox",
    )
    one.add_argument("config", metavar="CONFIG", help="config of the detector")
    one.add_argument("checkpoint", nargs="?", help="its weights; initial ones without")
    one.add_argument("--sensors", nargs="+", help="attacked in turn; default all")
    one.add_argument("--steps", type=positive, default=10, help="of the whole attack")
    _add_work(one, frames=4)
    _add_repeats(one, 10)
    one.set_defaults(function=attacks)
    return parser.parse_args(argv)


def _add_work(parser: argparse.ArgumentParser, frames: int) -> None:
    add = parser.add_argument
    add("--batch-size", type=positive, default=frames, help="frames at once")
    add("--threads", type=positive, default=1, help="torch's threads")


def _add_repeats(parser: argparse.ArgumentParser, repeats: int) -> None:
    parser.add_argument(
        "--repeats", type=positive, default=repeats, help="calls of each candidate"
    )


def rasterize(args: argparse.Namespace) -> None:
    """Draw a random sweep and a cloud that is all in view."""
    import torch

    from perception.datasets.synthetic.generate import parse_size
    from perception.evaluation.benchmarks.raster_speed import compare_rasters

    torch.set_num_threads(1)
    width, height = parse_size(args.size)
    for title, candidates in compare_rasters(args.points, (height, width)):
        _time(title, candidates, args.repeats)


def fusion(args: argparse.Namespace) -> None:
    """Run whole detectors, without and with the backward pass."""
    import torch

    from perception.datasets.synthetic.generate import parse_size
    from perception.evaluation.benchmarks.fusion_speed import compare_fusion

    torch.set_num_threads(args.threads)
    device = pick_device(args.device)
    width, height = parse_size(args.size)
    where = f"{args.threads} thread(s)" if device == "cpu" else device
    for title, candidates in compare_fusion(
        {neck: CONFIGS / f"{neck}.py" for neck in args.necks},
        frames=args.batch_size,
        size=(height, width),
        device=device,
    ):
        title = f"{title}, {args.batch_size} frame(s) of {args.size}, {where}"
        _time(title, candidates, args.repeats)


def attacks(args: argparse.Namespace) -> None:
    """Attack each sensor of a detector on frames of its validation set."""
    import torch

    from perception.evaluation.benchmarks.attack_speed import compare_attacks

    torch.set_num_threads(args.threads)
    for title, candidates in compare_attacks(
        args.config,
        args.checkpoint,
        sensors=args.sensors,
        steps=args.steps,
        frames=args.batch_size,
    ):
        title = f"{title}, {args.batch_size} frame(s), {args.threads} thread(s)"
        _time(title, candidates, args.repeats)


def _time(title: str, candidates: dict, repeats: int) -> None:
    from perception.evaluation.benchmarks.timing import interleaved, speed_table

    print(title)
    print(speed_table(interleaved(candidates, repeats)))


def main(argv: list[str] | None = None) -> None:
    """Run the chosen benchmark."""
    args = parse_args(argv)
    args.function(args)


if __name__ == "__main__":
    run_tool(main)
