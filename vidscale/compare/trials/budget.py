"""How many points may be made at a time: what cores and memory bear."""

import contextlib
from pathlib import Path

from vidscale.system.threads import core_count

# Pictures in memory while one point is made: an encoder that looks ahead (x264 40, x265 20, SVT-AV1 more) with its
# references, the queues between stages, and libvmaf; and what programs and libraries take besides.
_PICTURES = 120
_PROGRAM_BYTES = 400 << 20
_UNKNOWN_MEMORY = 4 << 30


def jobs_at_a_time(frame_bytes: int) -> int:
    """Points that may be made side by side, at least one.

    Encoders use more than one core each, but scaling and measuring hardly do; so there are as many jobs as cores,
    fewer where memory would not do.

    Args:
        frame_bytes: bytes of one picture of the largest movie.
    """
    needed = _PICTURES * frame_bytes + _PROGRAM_BYTES
    return max(1, min(core_count(), free_memory() // needed))


def free_memory() -> int:
    """Bytes that programs may still take, by Linux and its control group; a careful guess elsewhere."""
    found = [_UNKNOWN_MEMORY]
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next(line for line in lines if line.startswith("MemAvailable:"))
        found = [int(available.split()[1]) << 10]
    with contextlib.suppress(OSError, ValueError):
        limit, used = (int(Path(f"/sys/fs/cgroup/memory.{name}").read_text()) for name in ("max", "current"))
        found.append(max(0, limit - used))
    return min(found)
