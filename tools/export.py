"""Write a detector as an ONNX file."""

from perception.cli.export import main
from perception.cli.options import run_tool

if __name__ == "__main__":
    run_tool(main)
