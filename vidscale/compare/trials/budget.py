"""How many trials may run in parallel: limited by cores and memory."""

import contextlib
from pathlib import Path

from vidscale.system.threads import core_count

# Frames in memory per trial: the encoder's lookahead (x264 40, x265 20, SVT-AV1 more) and references, the queues
# between stages, and libvmaf; and the memory of programs and libraries.
_FRAMES = 120
_PROGRAM_BYTES = 400 << 20
_UNKNOWN_MEMORY = 4 << 30


def parallel_jobs(frame_bytes: int) -> int:
    """Number of trials to run in parallel, at least one.

    One job per core, fewer if memory is short: encoders use several cores, but scaling and measuring hardly do.

    Args:
        frame_bytes: bytes of one frame of the largest movie.
    """
    needed = _FRAMES * frame_bytes + _PROGRAM_BYTES
    return max(1, min(core_count(), free_memory() // needed))


def free_memory() -> int:
    """Available memory in bytes, by /proc/meminfo and the cgroup's limit; a conservative guess on other systems."""
    found = [_UNKNOWN_MEMORY]
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next(line for line in lines if line.startswith("MemAvailable:"))
        found = [int(available.split()[1]) << 10]
    with contextlib.suppress(OSError, ValueError):
        limit, used = (int(Path(f"/sys/fs/cgroup/memory.{name}").read_text()) for name in ("max", "current"))
        found.append(max(0, limit - used))
    return min(found)
