"""The whole main job on synthetic data: make it, train, evaluate, attack, report."""

from perception.cli.demo import main
from perception.cli.options import run_tool

if __name__ == "__main__":
    run_tool(main)
