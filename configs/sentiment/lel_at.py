"""Latent ensemble layer, with single-source adversarial training."""

_base_ = "concat_at.py"
model = dict(fusion=dict(type="LatentEnsembleFusion"))
load_from = "work_dirs/sentiment_lel/epoch_8.pth"
