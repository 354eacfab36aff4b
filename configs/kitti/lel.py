"""Latent ensemble layer, KITTI at full size."""

_base_ = "concat.py"
model = dict(fusion=dict(type="LatentEnsembleFusion"))
