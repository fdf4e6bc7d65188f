"""What scripts/test and scripts/demo share."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(sys.platform == "win32", reason="the scripts are for bash")
def test_new_environment_hides_no_checkout_behind_what_an_install_left(tmp_path: Path) -> None:
    """numba's cache of a plain install outlives it: without a module in it, it is a namespace package to Python, which
    comes before an editable install."""
    packages = tmp_path / "packages"
    left = packages / "vidscale" / "triton_kernels" / "__pycache__"
    left.mkdir(parents=True)
    (left / "chain_cpu.run-1.py311.nbi").touch()
    (packages / "numba").mkdir()
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\ncase "$*" in *sysconfig*) echo "{packages}" ;; *) echo "$*" >>installed ;; esac\n')
    python.chmod(0o755)
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(["bash", "-euc", f"source '{ROOT}/scripts/lib.sh' && make_venv"], cwd=tmp_path, check=True)
    assert "--editable .[dev]" in (tmp_path / "installed").read_text()
    assert [path.name for path in packages.iterdir()] == ["numba"]
