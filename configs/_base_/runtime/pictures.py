"""Opt-in: pictures of the first validation frames in TensorBoard, every epoch.

Name it in a config's `_base_` in place of default.py, which it builds on.
"""

_base_ = "default.py"

custom_imports = dict(
    imports=[*_base_.custom_imports.imports, "perception.visualization.hook"]
)
custom_hooks = [dict(type="DetectionPicturesHook", frames=4)]
