"""OddFusion: sensor fusion that keeps detecting when one sensor lies."""

import warnings

from perception.core.dependencies import missing_mmcv_ops

__version__ = "0.1.0"

_reason = missing_mmcv_ops()
if _reason:  # a warning only: geometry, datasets and evaluation work without
    warnings.warn(f"perception.models will not import: {_reason}", stacklevel=2)
