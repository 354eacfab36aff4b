"""Make or prepare data sets: random street scenes, KITTI, nuScenes."""

from perception.cli.create_data import main
from perception.cli.options import run_tool

if __name__ == "__main__":
    run_tool(main)
