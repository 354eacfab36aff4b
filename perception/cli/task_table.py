"""Make the table of a task of classification: train every row, attack, summarise.

What is there already is taken as it is, so that a call goes on where one stopped.
"""

from __future__ import annotations

from collections.abc import Sequence

from perception.cli.options import Parser, add_options, command_line
from perception.evaluation.robustness.spec import DetectorSpec

EXAMPLES = """\
examples:
  python tools/task_table.py action --out work_dirs/action_table \\
      --cfg-options data_root=data/utd_mhad
  python tools/task_table.py sentiment --out work_dirs/sentiment_table \\
      --cfg-options data_root=data/mosi/mosi.npz
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    parser = Parser(description=__doc__, epilog=EXAMPLES)
    add = parser.add_argument
    add("task", choices=("action", "sentiment"), help="folder of configs/")
    add("--out", required=True, metavar="DIR", help="trainings, results and table.md")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the trainings")
    add("--rows", nargs="+", help="only these configs of the folder")
    add("--suite", nargs="+", default=["table"], help="attacks and suites")
    add("--num", type=int, help="only so many test samples, spread evenly")
    what = "factors of the plain attacks' budgets to try as well, such as 0.5 1 2"
    add("--curve", type=float, nargs="+", default=[], help=what)
    add_options(parser, DetectorSpec, "cfg_options")
    args = parser.parse_args(argv)
    from perception.evaluation.task_table import ROWS, TaskTable, make_table

    asked = TaskTable(
        configs=f"configs/{args.task}",
        attacks_file=f"configs/_base_/attacks/{args.task}.py",
        out=args.out,
        rows=args.rows or ROWS,
        seeds=args.seeds,
        suites=args.suite,
        num=args.num,
        curve=args.curve,
        options=args.cfg_options or {},
        command=command_line("task_table.py", argv),
    )
    print(make_table(asked))
