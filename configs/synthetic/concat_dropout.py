"""Modality dropout: plain fusion that loses one sensor of every batch in training.

ModDrop (Neverova et al., TPAMI 2016): no attack, a sensor delivers nothing at all.
"""

_base_ = "concat_at.py"
dead = {
    f"{name}_dead": dict(type="Corruption", sensor=name, kind="blackout", severity=5)
    for name in ("camera", "lidar", "depth")
}
train_cfg = dict(attacks=dict(_delete_=True, **dead))
