"""Camera, LiDAR and the past as the third witness: consensus_robust without its depth.

No training: CHECKPOINT is data/zoo/consensus_robust.safetensors. Frames have to follow
each other (timeline.csv).
"""

_base_ = "consensus_robust.py"
history = dict(
    without="depth",
    heights_m=[1.68, 1.65, 1.79],  # the synthetic training set's means
    # Of clean drives: create_data.py synthetic --layout drives --drives 25 --seconds 4
    # --seed 101; tools/drives.py --calibrate --length 8.
    gate=dict(
        attribution_threshold=2.0,
        alarm_threshold=2.0,
        mean=[[-4.762, -2.677], [-4.532, -1.341], [-4.699, -1.343]],
        deviation=[[0.177, 0.324], [0.141, 0.151], [0.134, 0.185]],
    ),
)
