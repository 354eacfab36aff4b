"""mmcv's 78 source files as two: torch's headers are then read twice, not 78 times.

They are most of the work: 7 of the 8 seconds that a file takes.
"""

from __future__ import annotations

from pathlib import Path

HEADERS = (
    "ATen/ATen.h",
    "ATen/TensorUtils.h",
    "pytorch_cpp_helper.hpp",
    "pytorch_device_registry.hpp",
)
# These come last: one opens namespace std, the other defines macros min and max.
LAST = {"contour_expand", "psamask"}
# Helpers that these three define, each its own: they get names of their own.
TWINS = {"bezier_align", "roi_align", "roi_align_rotated"}
HELPERS = (
    "PreCalc",
    "add",
    "bilinear_interpolate_gradient",
    "pre_calc_for_bilinear_interpolate",
)


def merge(source: Path) -> None:
    """Make mmcv's source compile two files, which include all that it had.

    Args:
        source: The unpacked source distribution, not merged yet.
    """
    operators = source / "mmcv" / "ops" / "csrc" / "pytorch"
    for folder in (operators, operators / "cpu"):
        files = sorted(folder.glob("*.cpp"), key=lambda f: (f.stem in LAST, f.stem))
        lines = [f'#include "{header}"' for header in HEADERS]
        for file in files:
            # setup.py takes every *.cpp of the folder
            part = file.rename(file.with_suffix(".inc"))
            helpers = HELPERS if folder.name == "cpu" and file.stem in TWINS else ()
            lines += [f"#define {name} {name}_of_{file.stem}" for name in helpers]
            lines.append(f'#include "{part.name}"')
            lines += [f"#undef {name}" for name in helpers]
        (folder / "all.cpp").write_text("\n".join(lines) + "\n", encoding="utf-8")
