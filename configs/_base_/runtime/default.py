"""What every run shares: which modules register, logs, checkpoints, the seed."""

default_scope = "mmdet"
custom_imports = dict(
    imports=[
        "perception.models",
        "perception.datasets.frame_dataset",
        "perception.datasets.transforms",
        "perception.evaluation.detection.coco_metric",
        "perception.evaluation.detection.kitti_metric",
        "perception.evaluation.detection.nuscenes_metric",
        "perception.training.adversarial",
        "perception.training.amp",
        "perception.training.hooks",
        "perception.training.work_folder",
    ]
)
randomness = dict(seed=0)
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=1),
    dist_cfg=dict(backend="nccl"),
)
default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=25, ignore_last=False),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(
        type="CheckpointHook",
        interval=1,
        max_keep_ckpts=2,  # MMEngine removes the oldest before it writes the next
        save_best="kitti/mAP",
        rule="greater",
    ),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    plain_checkpoint=dict(type="PlainCheckpointHook"),
    finite_loss=dict(type="FiniteLossHook"),
    progress=dict(type="ProgressBarHook"),
    # batch norm's statistics are each process's own; validate and save their mean
    sync_buffers=dict(type="SyncBuffersHook"),
)
vis_backends = [dict(type="LocalVisBackend"), dict(type="TensorboardVisBackend")]
visualizer = dict(type="Visualizer", vis_backends=vis_backends)
log_processor = dict(type="LogProcessor", window_size=25, by_epoch=True)
log_level = "INFO"
find_unused_parameters = True  # a neck may leave an expert out of a training step
load_from = None
resume = False
