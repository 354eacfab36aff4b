"""Camera, LiDAR and the past as third witness: consensus_robust's weights, no depth."""

_base_ = "consensus_robust.py"
# Heights are the training set's means, the gate's numbers of clean drives (--layout
# drives --drives 25 --seconds 4 --seed 101; tools/drives.py --calibrate --length 8).
judged_by = dict(
    attribution_threshold=2.0,
    alarm_threshold=2.0,
    mean=[[-4.762, -2.677], [-4.532, -1.341], [-4.699, -1.343]],
    deviation=[[0.177, 0.324], [0.141, 0.151], [0.134, 0.185]],
)
history = dict(without="depth", heights_m=[1.68, 1.65, 1.79], gate=judged_by)
