"""The sensor whose own predictions disagree with the majority's is left out.

Clean training: its gate needs no attack, see MedianAggregator.
"""

_base_ = "concat.py"
model = dict(
    fusion=dict(type="OddOneOutFusion", gate=None),
    aggregator=dict(type="MedianAggregator", gate=dict(), margin=1.0, box_margin=0.25),
    branch_head={{_base_.bbox_head}},
)
