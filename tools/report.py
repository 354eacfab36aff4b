"""Make one HTML page of attack results, with pictures, to put before others."""

from __future__ import annotations

import argparse
from pathlib import Path

from perception.cli.options import HelpFormatter, positive, run_tool

DESCRIPTION = """\
One self-contained HTML file: worst cases per sensor, every attack, accuracy over the
attack's budget, whom the gate blames, failing sensors by severity, attacked frames with
a slider, and what is needed to repeat it all. It needs no network, and opens in any
browser, on a phone and on paper.

RESULTS are results.json of tools/attack.py and robustness.json of tools/robustness.py,
any number of both; runs of one detector on the same frames become one.
Pictures come from folders that `tools/visualize.py detect --threat` wrote to.
"""

EXAMPLES = """\
examples:
  python tools/report.py work_dirs/attack_maps/results.json --out report.html
  python tools/visualize.py detect CONFIG BEST --threat camera_pgd --out work_dirs/seen
  python tools/report.py work_dirs/attack_maps/results.json --gallery work_dirs/seen \\
      --title "Plain fusion under attack"
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line as values."""
    parser = argparse.ArgumentParser(
        description=DESCRIPTION, epilog=EXAMPLES, formatter_class=HelpFormatter
    )
    parser.add_argument(
        "results", nargs="+", metavar="RESULTS.json", help="results to show"
    )
    parser.add_argument(
        "--out", default="report.html", metavar="FILE", help="the page to write"
    )
    parser.add_argument(
        "--gallery",
        nargs="+",
        default=[],
        metavar="DIR",
        help="folders with pairs of pictures, from visualize.py detect --threat",
    )
    parser.add_argument(
        "--most-pictures",
        type=positive,
        default=200,
        metavar="N",
        help="show so many attacked frames, spread evenly over the folders",
    )
    parser.add_argument("--title", default="Robustness report", help="the headline")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Write the page and say where it is and how large."""
    args = parse_args(argv)
    from perception.visualization.report.page import write_report

    write_report(
        args.results,
        args.out,
        gallery=args.gallery,
        title=args.title,
        most_pictures=args.most_pictures,
    )
    size = Path(args.out).stat().st_size / 1e6
    print(f"{args.out} ({size:.1f} MB)")


if __name__ == "__main__":
    run_tool(main)
