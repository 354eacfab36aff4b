"""Make the table of a task of classification."""

from perception.cli.options import run_tool
from perception.cli.task_table import main

if __name__ == "__main__":
    run_tool(main)
