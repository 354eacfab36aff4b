"""What a config of MMDetection says of pictures and classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config

from perception.core.structures import DataError
from perception.targets.pictures import PictureFormat

_NOTHING = ("LoadImageFromFile", "LoadAnnotations", "PackDetInputs")


def picture_of(config: Config, preprocessor: Any) -> PictureFormat:
    """What the test pipeline (reading BGR) and the data preprocessor make of a file."""
    fields: dict[str, Any] = {"divisor": preprocessor.pad_size_divisor}
    swapped = preprocessor._channel_conversion
    fields["order"] = "rgb" if swapped else "bgr"
    if preprocessor._enable_normalize:
        fields["mean"] = tuple(preprocessor.mean.flatten().tolist())
        fields["std"] = tuple(preprocessor.std.flatten().tolist())
    data = config.get("test_dataloader", {}).get("dataset", {})
    for step in data.get("pipeline", config.get("test_pipeline", ())):
        if step["type"] == "Resize":
            fields["size"] = tuple(step["scale"])[::-1]
            fields["keep_ratio"] = step.get("keep_ratio", False)
        elif step["type"] == "Pad" and _size_of(step) == fields.get("size"):
            value = step.get("pad_val", 0)
            value = value.get("img", 0) if isinstance(value, Mapping) else value
            fields["fill"] = float(
                value if isinstance(value, int | float) else value[0]
            )
        elif step["type"] not in _NOTHING:
            raise DataError(f"test pipeline: {step} is not understood: give `picture`")
    return PictureFormat(**fields)


def _size_of(step: Mapping[str, Any]) -> tuple[int, ...]:
    """(h, w) that a ``Pad`` pads to, which it says as (w, h); empty if to multiples."""
    return tuple(step.get("size") or ())[::-1]


def labels_of(config: Config, meta: Mapping[str, Any]) -> Sequence[str]:
    """Names of the classes, of a checkpoint or its config; empty if neither tells."""
    told = meta.get("dataset_meta") or {}
    data = config.get("test_dataloader", {}).get("dataset", {})
    names = told.get("classes", told.get("CLASSES"))
    return tuple(names or data.get("metainfo", {}).get("classes") or ())
