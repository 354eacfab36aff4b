"""consensus.py with boxes in metres: only the layers for these are trained.

For the worst that one sensor can do, as all of consensus is; one epoch, since every
sensor and every expert learns from each frame.
"""

_base_ = "concat_3d.py"
max_epochs = 1
train_cfg = dict(val_interval=max_epochs)
fusion = dict(type="OddOneOutFusion", gate=None)
aggregator = dict(type="ConsensusAggregator", gate=dict(attribution_threshold=3.0))
model = dict(fusion=fusion, aggregator=aggregator, branch_head={{_base_.bbox_head}})
load_from = "data/zoo/consensus.safetensors"
