"""Runs vidscale's own command line."""

import os
import subprocess
import sys


def vidscale(*words: object) -> str:
    """What a command prints on stdout; it has one core."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "vidscale", *map(str, words)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
