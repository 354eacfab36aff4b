"""What sensors and experts agree on, trained for the worst that one can do."""

_base_ = "concat.py"
model = dict(
    fusion=dict(type="OddOneOutFusion", gate=None),
    aggregator=dict(type="ConsensusAggregator", gate=dict(attribution_threshold=4.0)),
)
