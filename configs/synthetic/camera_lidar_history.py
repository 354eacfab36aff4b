"""Camera, LiDAR and the past as the third witness: consensus_robust without its depth.

No training: CHECKPOINT is data/zoo/consensus_robust.safetensors. Frames have to follow
each other (timeline.csv).
"""

_base_ = "consensus_robust.py"
history = dict(
    without="depth",
    heights_m=[1.68, 1.65, 1.79],  # the synthetic training set's means
    # Of clean drives: create_data.py synthetic --layout drives --drives 5 --seconds 4
    # --seed 102; tools/drives.py --calibrate.
    gate=dict(
        attribution_threshold=2.0,
        alarm_threshold=2.0,
        mean=[[-4.657, -2.365], [-4.505, -1.384], [-4.706, -1.44]],
        deviation=[[0.124, 0.292], [0.087, 0.204], [0.071, 0.191]],
    ),
)
