"""concat_at.py with boxes in metres: only the layers for these are trained."""

_base_ = "concat_3d.py"
load_from = "data/zoo/concat_at.safetensors"
