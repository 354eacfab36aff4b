"""Latent ensemble layer, clean training."""

_base_ = "concat.py"
model = dict(fusion=dict(type="LatentEnsembleFusion"))
