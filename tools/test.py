"""Score a checkpoint on the test frames, by KITTI's protocol."""

from perception.cli.options import run_tool
from perception.cli.test import main

if __name__ == "__main__":
    run_tool(main)
