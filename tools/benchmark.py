"""Measure how long the parts take on this machine, each beside a reference."""

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from perception.cli import HelpFormatter, pick_device, run_tool
from perception.structures import DataError

REPOSITORY = Path(__file__).resolve().parents[1]
EXAMPLES = """examples:
  python tools/benchmark.py rasterize
  python tools/benchmark.py rasterize --points 30000 --size 640x192
  python tools/benchmark.py fusion --necks concat odd_one_out --batch 4
  python tools/benchmark.py attacks configs/synthetic/concat.py best.pth

Each line shows the median over interleaved repetitions, so that whatever else the
machine is doing slows all candidates alike, and the ratio to the reference of the
same run. Compare ratios between machines, not milliseconds.
"""


def parse_args() -> argparse.Namespace:
    """Arguments of the command line; each sub-command brings its function."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=HelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    one = commands.add_parser(
        "rasterize",
        formatter_class=HelpFormatter,
        help="points to an image: torch against NumPy, one thread",
    )
    one.add_argument("--points", type=int, default=120_000, help="size of the cloud")
    one.add_argument("--size", default="1242x375", help="image WIDTHxHEIGHT in px")
    one.add_argument("--repeats", type=int, default=30, help="calls of each candidate")
    one.set_defaults(function=rasterize)

    one = commands.add_parser(
        "fusion",
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
    one.add_argument("--batch", type=int, default=1, help="frames at once")
    one.add_argument("--threads", type=int, default=1, help="torch's threads")
    one.add_argument("--device", default="cpu", help="auto, cpu, cuda, cuda:1, …")
    one.add_argument("--repeats", type=int, default=20, help="calls of each candidate")
    one.set_defaults(function=fusion)

    one = commands.add_parser(
        "attacks",
        formatter_class=HelpFormatter,
        help="PGD against the least possible and the Adversarial Robustness Toolbox",
    )
    one.add_argument("config", metavar="CONFIG", help="config of the detector")
    one.add_argument("checkpoint", nargs="?", help="its weights; initial ones without")
    one.add_argument("--sensors", nargs="+", help="attacked in turn; default all")
    one.add_argument("--steps", type=int, default=10, help="of the whole attack")
    one.add_argument("--batch", type=int, default=4, help="frames at once")
    one.add_argument("--threads", type=int, default=1, help="torch's threads")
    one.add_argument("--repeats", type=int, default=10, help="calls of each candidate")
    one.set_defaults(function=attacks)
    return parser.parse_args()


def rasterize(args: argparse.Namespace) -> None:
    """Draw a random sweep and a cloud that is all in view."""
    import torch

    from perception.models.rasterize import rasterize_points

    torch.set_num_threads(1)
    size = parse_size(args.size)
    rng = np.random.default_rng(0)
    for name, angle in (("all around", np.pi), ("all in view", 0.6)):
        points, projection = random_cloud(rng, args.points, angle, size)
        cloud, matrix = torch.from_numpy(points), torch.from_numpy(projection)
        drawn = {
            "numpy": lambda p=points, m=projection: numpy_raster(p, m, size),
            "torch": lambda p=cloud, m=matrix: rasterize_points(
                p,
                m,
                size,
                columns=("x", "y", "z", "reflectance"),
                channels=("depth_m", "height_m", "reflectance"),
                max_depth_m=80.0,
            ),
        }
        same = np.array_equal(drawn["numpy"](), drawn["torch"]().numpy())
        print(f"{args.points} points, {name}, to {args.size}; equal images: {same}")
        print_table(interleaved(drawn, args.repeats))


def fusion(args: argparse.Namespace) -> None:
    """Run whole detectors, without and with the backward pass."""
    import torch
    from mmdet.registry import MODELS

    from perception.runner import compute_in_float32, load_config

    compute_in_float32()
    torch.set_num_threads(args.threads)
    device = pick_device(args.device)
    height, width = parse_size(args.size)
    forward: dict[str, Callable[[], object]] = {}
    backward: dict[str, Callable[[], object]] = {}
    for neck in args.necks:
        config = load_config(REPOSITORY / "configs" / "synthetic" / f"{neck}.py")
        torch.manual_seed(0)
        detector = MODELS.build(config.model).eval().to(device)
        inputs = {
            name: torch.rand(args.batch, len(spec.channels), height, width).to(device)
            for name, spec in detector.sensors.items()
        }
        forward[neck] = lambda d=detector, i=inputs: inference(d, i)
        backward[neck] = lambda d=detector, i=inputs: gradient(d, i)
    where = f"{args.threads} thread(s)" if device == "cpu" else device
    print(f"forward, {args.batch} frame(s) of {args.size}, {where}")
    print_table(interleaved(forward, args.repeats))
    print("forward and backward to the weights")
    print_table(interleaved(backward, args.repeats))


def attacks(args: argparse.Namespace) -> None:
    """Attack each sensor of a detector on frames of its validation set."""
    import torch

    from perception.evaluation.attack_speed import compare_attacks

    torch.set_num_threads(args.threads)
    for title, candidates in compare_attacks(
        args.config,
        args.checkpoint,
        sensors=args.sensors,
        steps=args.steps,
        frames=args.batch,
    ):
        print(f"{title}, {args.batch} frame(s), {args.threads} thread(s)")
        print_table(interleaved(candidates, args.repeats))


def inference(detector, inputs: Mapping) -> object:
    """Raw outputs, without recording a graph."""
    import torch

    with torch.inference_mode():
        outputs = detector(inputs)
    wait_for(outputs[0][0].device)
    return outputs


def gradient(detector, inputs: Mapping) -> None:
    """Gradient of the summed outputs to all weights."""
    detector.zero_grad()
    outputs = detector(inputs)
    sum(level.sum() for kind in outputs for level in kind).backward()
    wait_for(outputs[0][0].device)


def wait_for(device) -> None:
    """Until a GPU has done what it was told; a CPU has by now."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


def interleaved(
    candidates: Mapping[str, Callable[[], object]], repeats: int
) -> dict[str, np.ndarray]:
    """Seconds (repeats,) of each candidate, all taking turns after a first call."""
    for call in candidates.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(repeats):
        for name, call in candidates.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: np.array(values) for name, values in seconds.items()}


def print_table(seconds: Mapping[str, np.ndarray]) -> None:
    """Median, fastest, and the median of the ratios to the first candidate."""
    reference = next(iter(seconds.values()))
    for name, values in seconds.items():
        print(
            f"  {name:<14} {np.median(values) * 1e3:8.2f} ms median "
            f"{values.min() * 1e3:8.2f} ms fastest "
            f"{np.median(values / reference):7.3f} x reference"
        )


def random_cloud(
    rng: np.random.Generator, count: int, angle: float, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """(P, 4) points of a 64-beam-like sweep and a (3, 4) projection to pixels.

    Args:
        rng: Source of randomness.
        count: P.
        angle: Half the horizontal range of directions, in radians.
        size: (H, W) of the image in pixels.
    """
    height, width = size
    azimuth = rng.uniform(-angle, angle, count)
    elevation = rng.uniform(-0.2, 0.035, count)
    range_m = rng.uniform(3, 70, count)
    points = np.stack(
        [
            range_m * np.cos(elevation) * np.cos(azimuth),
            range_m * np.cos(elevation) * np.sin(azimuth),
            range_m * np.sin(elevation),
            rng.uniform(0, 1, count),
        ],
        axis=1,
    )
    focal_px, middle, horizon = 0.58 * width, width / 2, 0.46 * height
    projection = np.array(
        [
            [middle, -focal_px, 0, 0],
            [horizon, 0, -focal_px, 0],
            [1, 0, 0, 0],
        ]
    )
    return points.astype(np.float32), projection.astype(np.float32)


def numpy_raster(
    points: np.ndarray, projection: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """The reference: sort by depth, far to near, and let the nearest overwrite."""
    x, y, z, reflectance = points.T
    u, v, depth_m = (r[0] * x + r[1] * y + r[2] * z + r[3] for r in projection)
    front = np.flatnonzero((depth_m > 0.1) & (depth_m <= 80.0))
    depth_m, z, reflectance = depth_m[front], z[front], reflectance[front]
    column = np.floor(u[front] / depth_m + np.float32(0.5)).astype(np.int64)
    row = np.floor(v[front] / depth_m + np.float32(0.5)).astype(np.int64)
    inside = (column >= 0) & (column < size[1]) & (row >= 0) & (row < size[0])
    inside = np.flatnonzero(inside)
    order = inside[np.argsort(depth_m[inside], kind="stable")][::-1]
    image = np.zeros((3, size[0] * size[1]), np.float32)
    image[:, row[order] * size[1] + column[order]] = (
        depth_m[order],
        z[order],
        reflectance[order],
    )
    return image.reshape(3, *size)


def parse_size(text: str) -> tuple[int, int]:
    """(H, W) of ``WIDTHxHEIGHT``.

    Raises:
        DataError: If it is not that.
    """
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise DataError(f"--size must be WIDTHxHEIGHT in pixels, got {text!r}")
    return int(height), int(width)


def main() -> None:
    """Run the chosen benchmark."""
    args = parse_args()
    args.function(args)


if __name__ == "__main__":
    run_tool(main)
