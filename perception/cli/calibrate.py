"""Tell a trained agreement gate what benign frames look like.

The gate compares what every two sensors detect alone, in standard deviations of what
benign frames show (`attribution_threshold` and `alarm_threshold` of its config).
Training estimates these on training frames; on unseen ones, of another city or season,
sensors disagree somewhat more. Give clean frames that the detector was not trained on,
with or without labels, a hundred or more, and use the weights written instead of the
old ones.
"""

from __future__ import annotations

from collections.abc import Sequence

from perception.cli.attacking import add_detector, add_frames, run_of
from perception.cli.options import Parser, add_options, add_running
from perception.core.structures import DataError
from perception.evaluation.robustness.spec import CalibrateRun

EXAMPLES = """\
examples:
  python tools/create_data.py synthetic --out data/calibration --frames 1 \\
      --val-frames 200 --seed 2 --size 640x192
  python tools/calibrate.py configs/synthetic/agreement.py \\
      work_dirs/synthetic_agreement/epoch_10.pth \\
      --out work_dirs/synthetic_agreement/calibrated.safetensors \\
      --cfg-options data_root=data/calibration
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Calibrate and say what changed."""
    parser = Parser(description=__doc__, epilog=EXAMPLES)
    add_detector(parser)
    weights = {"metavar": "FILE", "help": "the .safetensors file to write"}
    add_options(parser, CalibrateRun, "out", out=weights)
    add_frames(parser)
    add_running(parser)
    args = parser.parse_args(argv)
    if not args.out.endswith(".safetensors"):
        raise DataError(f"{args.out}: weights are written as .safetensors")
    from perception.core.checkpoints import save_weights
    from perception.evaluation.robustness.subject import load_subject
    from perception.training.calibration import calibrate_gate

    run = run_of(CalibrateRun, args, "calibrate.py", argv)
    ready = load_subject(run)
    rates = calibrate_gate(
        ready.target.detector,
        ready.dataset,
        ready.indices,
        batch_size=args.batch_size,
        workers=args.workers,
    )
    save_weights(args.out, ready.target.detector.state_dict())
    (named, alarmed), (named_now, alarmed_now) = rates["before"], rates["after"]
    print(
        f"{len(ready.indices)} frames; alarms attributed in {named:.1%}, "
        f"now {named_now:.1%}; other alarms in {alarmed:.1%}, now {alarmed_now:.1%}\n"
        f"{args.out}"
    )
