"""Say which sensor of a recording to trust, frame by frame. No labels are needed.

The detector's gate says in each frame which sensor contradicts the others; a monitor
smooths that over the frames and raises an alarm about the least trusted sensor. How
much it takes is calibrated on clean frames that the detector was not trained on, so
that of further frames like these at most --false-alarm-rate raise an alarm: 1 % needs
99 frames, and is exact without smoothing. A sensor that a frame lacks counts as
compromised. The tool writes into DIR:

  trust.csv      for each frame the gate's probabilities, trust in each sensor from 0
                 (compromised) to 1, the gate's own alarm (above 0: some sensor is
                 compromised, known or not which), sensors without data, score (of the
                 least trusted sensor) and the alarm attributed to it
  trust.jsonl    the same for other programs, a line as soon as a frame was seen;
                 --diagnostics BAG also writes diagnostic_msgs/DiagnosticArray
  trust.png      the same as a timeline
  summary.json   shares of frames with an alarm, attributed or not, first alarms, what
                 was run
  monitor.json   the calibrated monitor, for --monitor

With --in-time it lets every sensor fail in time instead: late, jittering, replaying,
frozen or with a drifting calibration, severity 1 to 5, in the second half of every
drive, and writes in_time.json, in_time.md and in_time.png: AUROC, frames until the
alarm, false alarms per hour. Frames have to follow each other (timeline.csv).

No alarm is no proof that no sensor is compromised: a silent attacker stays within what
the sensors agree on. Try the detector's own attacks with --threat, and measure it with
attack.py.

The recording is the config's test frames: set data_root with --cfg-options, and --split
(all: every frame of a folder in KITTI's layout). Smoothing wants frames in the order of
time, of one camera and one drive; for frames that do not follow each other, such as
those of KITTI's object set or of create_data.py, take --smoothing 0. In KITTI's layout
only the depth sensor may be missing; the last example allows it to others, too.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from perception.cli.attacking import add_attacks, add_detector, run_of
from perception.cli.options import (
    UNSET,
    Parser,
    add_options,
    add_running,
    from_args,
    option,
)
from perception.core.locks import sole_user
from perception.evaluation.robustness.spec import AttacksSpec, CleanFrames, MonitorRun

EXAMPLES = """\
examples (CONFIG is a config of a detector with a gate, BEST its checkpoint):
  python tools/create_data.py synthetic --out data/calibration --frames 1 \\
      --val-frames 200 --seed 2 --size 640x192
  python tools/monitor.py configs/synthetic/consensus_robust.py \\
      data/zoo/consensus_robust.safetensors --calibration-root data/calibration \\
      --smoothing 0 --num 24 --threat lidar_pgd
  python tools/monitor.py CONFIG BEST --monitor work_dirs/monitor/monitor.json \\
      --split all --diagnostics alarms --cfg-options data_root=data/drive
  python tools/monitor.py CONFIG BEST --monitor FILE --cfg-options \\
      data_root=data/nuscenes test_dataloader.dataset.frames.cameras=[CAM_FRONT] \\
      test_dataloader.dataset.frames.split=[scene-0103]
  python tools/monitor.py CONFIG BEST --calibration-root data/clean_drives --in-time \\
      --calibration-split complete --split complete --cfg-options data_root=data/drive
  python tools/monitor.py CONFIG BEST --calibration-root data/clean --split all \\
      --cfg-options data_root=data/drive \\
      test_dataloader.dataset.frames.optional_sensors=[lidar,depth]
"""
# Fields of CleanFrames as the command line calls them.
CLEAN = {
    "split": "--calibration-split",
    "num": "--calibration-num",
    "false_alarm_rate": "--false-alarm-rate",
    "smoothing": "--smoothing",
}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line; those of the calibration in ``clean``."""
    parser = Parser(description=__doc__, epilog=EXAMPLES)
    add_detector(parser)
    add_options(parser, MonitorRun, "out", out={"default": "work_dirs/monitor"})
    add_options(parser, MonitorRun, "diagnostics", diagnostics={"metavar": "BAG"})
    group = parser.add_argument_group("monitor")
    source = group.add_mutually_exclusive_group(required=True)
    what = "clean frames, in the layout that the config reads"
    option(source, "--calibration-root DIR", what)
    option(source, "--monitor FILE", "a monitor.json that was calibrated before")
    helps = {"split": "split of the clean frames (default: that of the test frames)"}
    helps["num"] = "only the first so many clean frames"
    for name, flag in CLEAN.items():
        more = {"flag": flag, "dest": f"clean_{name}", "default": UNSET}
        more |= {"help": helps[name]} if name in helps else {}
        add_options(group, CleanFrames, name, **{name: more})
    group = parser.add_argument_group("frames (default: all test frames)")
    num = "only the first so many, without gaps"
    add_options(group, MonitorRun, "split", "num", num=num)
    threat = "attack the second half of the frames, to see an alarm come (attack.py "
    threat += "--list names attacks; needs labels)"
    add_attacks(group, nargs=1, default=None, help=threat)
    add_options(group, MonitorRun, "in_time")
    what = "set entries of the config, e.g. data_root=data/drive"
    add_running(parser, cfg_options=what)
    args = parser.parse_args(argv)
    given = [name for name in CLEAN if f"clean_{name}" in vars(args)]
    args.clean = {name: vars(args)[f"clean_{name}"] for name in given}
    if args.monitor and given:
        flags = ", ".join(CLEAN[name] for name in given)
        parser.error(f"--monitor is calibrated already and takes no {flags}")
    if args.in_time and (args.threats or args.diagnostics):
        parser.error("--in-time takes no --threat and no --diagnostics")
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    from perception.evaluation.in_time import in_markdown
    from perception.evaluation.recording import (
        follow_recording,
        in_words,
        judge_in_time,
    )
    from perception.visualization.in_time_figure import write_in_time
    from perception.visualization.timeline import write_timeline

    monitor = args.monitor or CleanFrames(root=args.calibration_root, **args.clean)
    attack = from_args(AttacksSpec, args) if args.threats else None
    more = {"monitor": monitor, "attack": attack, "in_time": args.in_time}
    run = run_of(MonitorRun, args, "monitor.py", argv, **more)
    picture = Path(args.out) / ("in_time.png" if args.in_time else "trust.png")
    if args.in_time:
        with sole_user(args.out, "a monitor"):
            report = judge_in_time(run)
            write_in_time(picture, report)
        print(in_markdown(report), end="")
        return print(picture)
    with sole_user(args.out, "a monitor"):
        recording = follow_recording(run)
        write_timeline(picture, recording)
    print(in_words(recording.summary))
    print(picture)
