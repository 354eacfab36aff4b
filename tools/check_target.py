"""Check a system of your own: what it can do, and whether it can be believed."""

from perception.cli.check_target import main
from perception.cli.options import run_tool

if __name__ == "__main__":
    run_tool(main)
