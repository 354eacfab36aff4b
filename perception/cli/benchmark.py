"""Measure how long the parts take on this machine, each beside a reference."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from perception.cli.options import Parser, option, pick_device, positive
from perception.core.files import write_json

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "synthetic"
EXAMPLES = """\
examples:
  python tools/benchmark.py rasterize
  python tools/benchmark.py rasterize --points 30000 --size 640x192
  python tools/benchmark.py fusion --necks concat odd_one_out --batch-size 4
  python tools/benchmark.py attacks configs/synthetic/concat.py best.pth
  python tools/benchmark.py all --json benchmark.json

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
ALL = """\
Every ratio of times that README states, on random weights: each neck beside concat, on
small detectors and at KITTI's size with ResNet-18 branches; then how time and memory
grow with frames, image size, number of sensors (2 to 6) and points. Minutes on a CPU;
on one thread of it the process's own time counts, whatever else the machine does.
"""
NECKS = ["concat", "mean", "lel", "odd_one_out"]
README_NECKS = (*NECKS, "median", "consensus", "consensus_towers")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line; each sub-command brings its function."""
    parser = Parser(description=__doc__, epilog=EXAMPLES)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    what = "points to an image: torch against NumPy, one thread"
    one = commands.add_parser("rasterize", description=RASTERIZE, help=what)
    option(one, "--points", "size of the cloud", 120_000, type=positive)
    option(one, "--size", "image WIDTHxHEIGHT in px", "1242x375")
    option(one, "--repeats", "calls of each candidate", 30, type=positive)
    one.set_defaults(function=rasterize)

    what = "whole detectors with each fusion neck, relative to concat"
    one = commands.add_parser("fusion", description=FUSION, help=what)
    what = "configs of configs/synthetic; the first is the reference (default: "
    what += f"{' '.join(NECKS)})"
    one.add_argument("--necks", nargs="+", default=NECKS, help=what)
    option(one, "--size", "input WIDTHxHEIGHT in px", "320x96")
    option(one, "--batch-size", "frames at once", 1, type=positive)
    option(one, "--threads", "torch's threads", 1, type=positive)
    option(one, "--device", "auto, cpu, cuda, cuda:1, …", "cpu")
    option(one, "--repeats", "calls of each candidate", 20, type=positive)
    one.set_defaults(function=fusion)

    what = "PGD against the least possible and the Adversarial Robustness Toolbox"
    one = commands.add_parser("attacks", description=ATTACKS, help=what)
    one.add_argument("config", metavar="CONFIG", help="config of the detector")
    one.add_argument("checkpoint", nargs="?", help="its weights; initial ones without")
    one.add_argument("--sensors", nargs="+", help="attacked in turn (default: all)")
    option(one, "--steps", "of the whole attack", 10, type=positive)
    option(one, "--batch-size", "frames at once", 4, type=positive)
    option(one, "--threads", "torch's threads", 1, type=positive)
    option(one, "--repeats", "calls of each candidate", 10, type=positive)
    one.set_defaults(function=attacks)

    what = "every ratio that README states, growth and peak memory, in one run"
    one = commands.add_parser("all", description=ALL, help=what)
    option(one, "--json FILE", "write all figures and what they were measured with")
    option(one, "--repeats", "calls of each candidate", 3, type=positive)
    option(one, "--threads", "torch's threads", 1, type=positive)
    option(one, "--device", "auto, cpu, cuda, cuda:1, …", "cpu")
    option(one, "--quick", "without KITTI's size, ResNet-18 branches and growth", False)
    one.set_defaults(function=everything)
    return parser.parse_args(argv)


def everything(args: argparse.Namespace) -> None:
    """Necks at both sizes, then growth; with peak memory, as text and JSON."""
    import numpy as np
    import torch

    from perception.core.provenance import Environment, versions
    from perception.evaluation.benchmarks.fusion_speed import compare_fusion
    from perception.evaluation.benchmarks.growth import compare_at, compare_growth
    from perception.evaluation.benchmarks.timing import (
        interleaved,
        own_clock,
        peak_mb,
        speed_table,
    )

    torch.set_num_threads(args.threads)
    device = pick_device(args.device)
    clock = own_clock(device)

    def groups() -> Iterator[tuple[str, dict[str, Callable[[], object]]]]:
        small = {name: CONFIGS / f"{name}.py" for name in README_NECKS}
        for title, calls in compare_fusion(
            small, frames=1, size=(96, 320), device=device
        ):
            yield f"{title}, 1 frame of 320x96", calls
        if args.quick:
            return
        full = ("concat", "odd_one_out", "consensus", "consensus_towers")
        kitti = {name: CONFIGS.parent / "kitti" / f"{name}.py" for name in full}
        yield compare_at(kitti, (384, 1248), device=device)
        grown = {name: CONFIGS / f"{name}.py" for name in ("concat", "consensus")}
        yield from compare_growth(grown, device=device)

    found: dict[str, dict[str, dict[str, float]]] = {}
    for title, calls in groups():
        seconds = interleaved(calls, args.repeats, clock)
        reference = next(iter(seconds.values()))
        print(title, speed_table(seconds), sep="\n", flush=True)
        found[title] = {
            name: {
                "median_ms": float(np.median(values)) * 1e3,
                "ratio": float(np.median(values / reference)),
                "peak_mb": peak_mb(calls[name], device),
            }
            for name, values in seconds.items()
        }
        each = found[title].items()
        peaks = ", ".join(f"{name} {one['peak_mb']:.1f}" for name, one in each)
        print(f"  peak memory in MB: {peaks}", flush=True)
    if args.json:
        used: dict[str, object] = {"versions": versions()}
        used["environment"] = asdict(Environment.here(device))
        used |= {"clock": clock.__name__, "repeats": args.repeats}
        write_json(args.json, used | {"figures": found})


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


def main(argv: Sequence[str] | None = None) -> None:
    """Run the chosen benchmark."""
    args = parse_args(argv)
    args.function(args)
