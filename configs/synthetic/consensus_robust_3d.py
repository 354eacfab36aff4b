"""consensus_robust.py with boxes in metres: only the layers for these are trained."""

_base_ = "consensus_3d.py"
load_from = "data/zoo/consensus_robust.safetensors"
