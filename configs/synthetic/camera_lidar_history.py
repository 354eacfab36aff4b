"""Camera, LiDAR and the past as the third witness: consensus_robust without its depth.

No training: CHECKPOINT is data/zoo/consensus_robust.safetensors. Frames have to follow
each other (timeline.csv).
"""

_base_ = "consensus_robust.py"
history = dict(
    without="depth",
    heights_m=[1.68, 1.65, 1.79],  # the synthetic training set's means
    # Clean drives of another seed; tools/drives.py --calibrate prints these.
    gate=dict(
        attribution_threshold=3.0,
        mean=[[-4.658, -2.322], [-4.751, -2.508], [-4.871, -2.437]],
        deviation=[[0.139, 0.314], [0.122, 0.364], [0.124, 0.336]],
    ),
)
