"""Runs every hostile case in one process and reports on each: `worker.py FOLDER [NAME]`.

The folder is scratch; one JSON line a case goes to standard output as soon as it is met.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path

from cases import CASES
from program import peak_mebibytes, run_inside
from sound import write_sound_model


def main(folder: Path, names: list[str]) -> None:
    sound = write_sound_model(folder / "sound")
    for name in names or CASES:
        place = folder / "case"
        shutil.copytree(sound, place / "model")
        arguments = CASES[name].make(place)
        print(json.dumps({"begins": name}), flush=True)
        began = time.process_time()
        done = run_inside(*arguments, stdin=b"ba ke\n")
        peak = peak_mebibytes(os.getpid())
        report = {"name": name, "status": done.status, "said": done.said, "mebibytes": peak}
        report |= {"out": len(done.out), "seconds": time.process_time() - began}
        print(json.dumps(report), flush=True)
        shutil.rmtree(place)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
