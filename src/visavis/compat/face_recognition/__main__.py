"""``python -m visavis.compat.face_recognition PROGRAM.py ARGUMENT...``: run a program as it is, on this package."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path


def main(arguments: list[str]) -> None:
    """Run a program as ``python PROGRAM.py ARGUMENT...`` would."""
    if not arguments or not Path(arguments[0]).is_file():
        problem = f"there is no program {arguments[0]!r}" if arguments else "give a program to run"
        sys.exit(f"{problem}: python -m visavis.compat.face_recognition PROGRAM.py ARGUMENT...")
    folder = str(Path(__file__).with_name("on_path"))
    os.environ["PYTHONPATH"] = os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])])  # for children
    sys.path[:1] = [str(Path(arguments[0]).resolve().parent), folder]
    sys.argv = arguments
    runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
