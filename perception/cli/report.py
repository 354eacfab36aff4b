"""Make one HTML page of attack results, with pictures, to put before others.

It is one self-contained file: worst cases per sensor, every attack, accuracy over the
attack's budget, whom the gate attributes alarms to, failing sensors by severity,
attacked frames with a slider, and what is needed to repeat it all. It needs no network,
and opens in any browser, on a phone and on paper.

RESULTS are results.json of tools/attack.py and robustness.json of tools/robustness.py,
any number of both; runs of one detector on the same frames become one.
Pictures come from folders that `tools/visualize.py detect --threat` wrote to.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from perception.cli.options import Parser, positive

EXAMPLES = """\
examples:
  python tools/report.py work_dirs/attack_maps/results.json --out report.html
  python tools/visualize.py detect CONFIG BEST --threat camera_pgd --out work_dirs/seen
  python tools/report.py work_dirs/attack_maps/results.json --gallery work_dirs/seen \\
      --title "Plain fusion under attack"
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = Parser(description=__doc__, epilog=EXAMPLES)
    add = parser.add_argument
    add("results", nargs="+", metavar="RESULTS.json", help="results to show")
    what = "the page to write (default: %(default)s)"
    add("--out", default="report.html", metavar="FILE", help=what)
    what = "folders with pairs of pictures, from visualize.py detect --threat"
    add("--gallery", nargs="+", default=[], metavar="DIR", help=what)
    what = "so many attacked frames, spread evenly over the folders (default: 200)"
    add("--most-pictures", type=positive, default=200, metavar="N", help=what)
    what = "the headline (default: %(default)s)"
    add("--title", default="Robustness report", help=what)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
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
    print(f"{args.out} ({Path(args.out).stat().st_size / 1e6:.1f} MB)")
