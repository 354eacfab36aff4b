"""The weights of agreement_robust.py, no margin: while nobody is blamed, the median."""

_base_ = "agreement_robust.py"
model = dict(fusion=dict(margin=0.0, box_margin=0.0))
