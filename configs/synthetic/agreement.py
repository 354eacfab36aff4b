"""The sensor whose own predictions disagree with the majority's is left out.

Clean training: its gate needs no attack, see AgreementFusion.
"""

_base_ = "concat.py"
model = dict(
    fusion=dict(type="AgreementFusion", margin=1.0, box_margin=0.25),
    view_head={{_base_.bbox_head}},
)
