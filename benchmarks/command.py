"""Runs vidscale's own command line."""

import os
import subprocess
import sys


def vidscale(*words: object) -> str:
    """Runs a command on one core and returns its stdout."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "vidscale", *map(str, words)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
