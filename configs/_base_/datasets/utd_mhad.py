"""UTD-MHAD by its cross-subject protocol: the archive's folder, or a packed file."""

_base_ = "samples.py"

data_root = "data/utd_mhad"
actions = (
    "swipe_left swipe_right wave clap throw cross_arms basketball_shoot draw_x "
    "draw_circle_right draw_circle_left draw_triangle bowling boxing baseball_swing "
    "tennis_swing arm_curl tennis_serve push knock catch pickup_throw jog walk "
    "sit_to_stand stand_to_sit lunge squat"
)
dataset = dict(type="FrameDataset", classes=tuple(actions.split()))
frames = dict(type="UtdMhadFrames", video=(8, 15, 20))
worn = dict(type="JitterArray", shift=(0, 4), scale=0.15, turn_deg=25.0, warp=5.0)
train_pipeline = [
    dict(type="JitterArray", sensor="depth", shift=(1, 2), scale=0.06),
    dict(**worn, sensor="accel", noise=0.05),
    dict(**worn, sensor="gyro", noise=6.0),
    dict(type="PackFrame"),
]
train_dataloader = dict(
    batch_size=32,
    dataset=dict(
        **dataset, frames=dict(**frames, split="train"), pipeline=train_pipeline
    ),
)
val_dataloader = dict(
    dataset=dict(
        **dataset,
        frames=dict(**frames, split="test"),
        pipeline=[dict(type="PackFrame")],
    ),
)
test_dataloader = val_dataloader
