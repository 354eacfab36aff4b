"""The latent ensemble layer with single-source adversarial training: a baseline."""

_base_ = "concat_at.py"
model = dict(fusion=dict(type="LatentEnsembleFusion"))
load_from = "work_dirs/synthetic_lel/epoch_10.pth"
