"""OddFusion: sensor fusion that keeps detecting when one sensor lies."""

__version__ = "0.1.0"
