"""Say which sensor to trust, frame by frame."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from perception.cli.attack_options import add_attacks_file
from perception.cli.options import (
    HelpFormatter,
    add_running_options,
    command_line,
    pick_device,
    positive,
    run_tool,
)

CALIBRATION = ("calibration_split", "calibration_num", "false_alarm_rate", "smoothing")

DESCRIPTION = """\
Say which sensor of a recording to trust, frame by frame. No labels are needed.

The detector's gate says in each frame which sensor contradicts the others; a monitor
smooths that over the frames and raises an alarm about the least trusted sensor. How
much it takes is calibrated on clean frames that the detector was not trained on, so
that of further frames like these at most --false-alarm-rate raise an alarm: 1 % needs
99 frames, and is exact without smoothing. A sensor that a frame lacks counts as lying.
The tool writes into DIR:

  trust.csv      for each frame the gate's probabilities, trust in each sensor from 0
                 (lies) to 1, doubt (above 0: some sensor lies, known or not which),
                 sensors without data, score (of the least trusted sensor) and alarm
  trust.png      the same as a timeline
  summary.json   shares of frames with an alarm and in doubt, first alarms, what was run
  monitor.json   the calibrated monitor, for --monitor

No alarm is no proof that no sensor lies: a silent attacker stays within what the
sensors agree on. Try the detector's own attacks with --threat, and measure it with
attack.py.

The recording is the config's test frames: set data_root with --cfg-options, and --split
(all: every frame of a folder in KITTI's layout). Smoothing wants frames in the order of
time, of one camera and one drive; for frames that do not follow each other, such as
those of KITTI's object set or of create_data.py, take --smoothing 0. In KITTI's layout
only the depth sensor may be missing; the last example allows it to others, too.
"""

EXAMPLES = """\
examples (CONFIG is a config of a detector with a gate, BEST its checkpoint):
  python tools/create_data.py synthetic --out data/calibration --frames 1 \\
      --val-frames 200 --seed 2 --size 640x192
  python tools/monitor.py configs/synthetic/consensus_robust.py \\
      data/zoo/consensus_robust.safetensors --calibration-root data/calibration \\
      --smoothing 0 --num 24 --threat lidar_pgd
  python tools/monitor.py CONFIG BEST --monitor work_dirs/monitor/monitor.json \\
      --split all --cfg-options data_root=data/drive
  python tools/monitor.py CONFIG BEST --monitor FILE --cfg-options \\
      data_root=data/nuscenes test_dataloader.dataset.frames.cameras=[CAM_FRONT] \\
      test_dataloader.dataset.frames.split=[scene-0103]
  python tools/monitor.py CONFIG BEST --calibration-root data/clean --split all \\
      --cfg-options data_root=data/drive \\
      test_dataloader.dataset.frames.optional_sensors=[lidar,depth]
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=DESCRIPTION, epilog=EXAMPLES, formatter_class=HelpFormatter
    )
    parser.add_argument("config", help="config file of the detector")
    parser.add_argument("checkpoint", help=".pth or .safetensors file")
    parser.add_argument(
        "--out", default="work_dirs/monitor", metavar="DIR", help="folder for results"
    )
    _add_monitor(parser)
    group = parser.add_argument_group("frames (default: all test frames)")
    group.add_argument("--split", help="name of a file in ImageSets, or a .txt file")
    group.add_argument(
        "--num", type=positive, help="only the first so many, without gaps"
    )
    group.add_argument(
        "--threat",
        metavar="NAME",
        help="attack the second half of the frames, to see an alarm come (attack.py "
        "--list names attacks; needs labels)",
    )
    add_attacks_file(group)
    group = parser.add_argument_group("running")
    add_running_options(group, "frames", "the config, e.g. data_root=data/drive")
    args = parser.parse_args(argv)
    if args.monitor and (given := _calibration(args)):
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        parser.error(f"--monitor is calibrated already and takes no {names}")
    return args


def _add_monitor(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("monitor")
    source = group.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--calibration-root",
        metavar="DIR",
        help="clean frames, in the layout that the config reads",
    )
    source.add_argument(
        "--monitor", metavar="FILE", help="a monitor.json that was calibrated before"
    )
    # Suppressed, so that those given are known.
    unset = argparse.SUPPRESS
    group.add_argument(
        "--calibration-split",
        metavar="NAME",
        default=unset,
        help="split of the clean frames (that of the config's test frames)",
    )
    group.add_argument(
        "--calibration-num",
        type=positive,
        metavar="NUM",
        default=unset,
        help="only the first so many clean frames (all)",
    )
    group.add_argument(
        "--false-alarm-rate",
        type=float,
        metavar="RATE",
        default=unset,
        help="share of clean frames that may raise an alarm (0.01)",
    )
    group.add_argument(
        "--smoothing",
        type=float,
        metavar="WEIGHT",
        default=unset,
        help="weight of the past, 0 to below 1; 0.8 remembers about five frames (0.8)",
    )


def _calibration(args: argparse.Namespace) -> dict[str, Any]:
    """Those options of the calibration that were given."""
    return {name: vars(args)[name] for name in CALIBRATION if name in vars(args)}


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    from perception.evaluation.recording import follow_recording
    from perception.evaluation.recording_report import in_words
    from perception.evaluation.robustness.spec import (
        AttacksSpec,
        CleanFrames,
        DetectorSpec,
        MonitorRun,
        Running,
    )
    from perception.visualization.timeline import write_timeline

    given = _calibration(args)
    settings = {name.removeprefix("calibration_"): given[name] for name in given}
    attack = AttacksSpec(threats=[args.threat or ""], attacks_file=args.attacks)
    run = MonitorRun(
        detector=DetectorSpec(
            config=args.config, checkpoint=args.checkpoint, cfg_options=args.cfg_options
        ),
        monitor=args.monitor or CleanFrames(root=args.calibration_root, **settings),
        out=args.out,
        attack=attack if args.threat else None,
        split=args.split,
        num=args.num,
        running=Running(
            batch_size=args.batch_size,
            workers=args.workers,
            device=pick_device(args.device),
            command=command_line("monitor.py", argv),
        ),
    )
    recording = follow_recording(run)
    picture = Path(args.out) / "trust.png"
    write_timeline(picture, recording)
    print(in_words(recording.summary))
    print(picture)


if __name__ == "__main__":
    run_tool(main)
