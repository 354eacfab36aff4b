"""consensus.py with boxes in metres: only the layers for these are trained.

They are trained for the worst that one sensor can do, as all of consensus is.
"""

_base_ = "concat_3d.py"
fusion = dict(type="OddOneOutFusion", gate=None)
aggregator = dict(type="ConsensusAggregator", gate=dict(attribution_threshold=3.0))
model = dict(fusion=fusion, aggregator=aggregator, branch_head={{_base_.bbox_head}})
load_from = "data/zoo/consensus.safetensors"
