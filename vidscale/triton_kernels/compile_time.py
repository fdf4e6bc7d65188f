"""How long this process has been compiling its functions, which timings leave out."""

import threading
import time


class CompileTime:
    """A stopwatch for intervals that may overlap and contain each other: time in several counts once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = 0
        self._before_s = self._since_s = 0.0

    def start(self) -> None:
        """An interval begins."""
        with self._lock:
            if not self._running:
                self._since_s = time.perf_counter()
            self._running += 1

    def stop(self) -> None:
        """An interval ends."""
        with self._lock:
            self._before_s = self._now_s()
            self._since_s = time.perf_counter()
            self._running -= 1

    def seconds(self) -> float:
        """Sum until now."""
        with self._lock:
            return self._now_s()

    def _now_s(self) -> float:
        return self._before_s + (time.perf_counter() - self._since_s if self._running else 0.0)


COMPILE_TIME = CompileTime()
