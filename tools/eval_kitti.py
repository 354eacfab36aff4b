"""Score KITTI result files against label files, as KITTI's own program does."""

from perception.cli.eval_kitti import main
from perception.cli.options import run_tool

if __name__ == "__main__":
    run_tool(main)
