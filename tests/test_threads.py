"""`vidscale.system.threads`: queues between stages, clocks, and jobs that can be interrupted."""

import _thread
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numba
import numpy as np
import pytest
from robustness import wait_for

from vidscale.system.folders import temporary_folder
from vidscale.system.threads import Clock, Prefetch, Unfinished, in_order, queue_depth, run_interruptible
from vidscale.system.workspace import discard_all
from vidscale.triton_kernels._numba import compiled
from vidscale.triton_kernels.compile_time import COMPILE_TIME, CompileTime


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    wait_for(lambda: set(threading.enumerate()) <= before)


def prefetch_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


class BoomError(Exception):
    pass


class Source:
    """Counts upwards, and records how many items were taken."""

    def __init__(self, fail_at: int | None = None, closing: BaseException | None = None) -> None:
        self.taken = 0
        self.closed = False
        self._fail_at = fail_at
        self._closing = closing

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        if self.taken == self._fail_at:
            raise BoomError(f"at {self.taken}")
        self.taken += 1
        return self.taken - 1

    def close(self) -> None:
        self.closed = True
        if self._closing is not None:
            raise self._closing


@pytest.mark.parametrize("depth", [1, 2, 7])
def test_prefetch_keeps_the_order(depth: int) -> None:
    with Prefetch(iter(range(1000)), depth) as items:
        assert list(items) == list(range(1000))


def test_prefetch_of_nothing_is_nothing() -> None:
    assert list(Prefetch([], 3)) == []


def test_prefetch_takes_a_list() -> None:
    assert list(Prefetch(["a", None, "b"], 2)) == ["a", None, "b"]


def test_prefetch_runs_ahead_by_its_depth_and_no_further() -> None:
    source = Source()
    with Prefetch(source, 3) as items:
        wait_for(lambda: source.taken == 4)  # three wait, the fourth is held out
        time.sleep(0.25)
        assert source.taken == 4
        assert next(items) == 0
        wait_for(lambda: source.taken == 5)
        time.sleep(0.25)
        assert source.taken == 5


def test_prefetch_runs_beside_its_consumer() -> None:
    meeting = threading.Barrier(2, timeout=20)

    def source() -> Iterator[int]:
        for number in range(10):
            yield number
            meeting.wait()  # while the consumer works on that number

    with Prefetch(source(), 2) as items:
        for _ in items:
            meeting.wait()


def test_exception_is_raised_at_its_place_once() -> None:
    source = Source(fail_at=3)
    with Prefetch(source, 10) as items:
        wait_for(lambda: source.closed)
        assert [next(items) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(BoomError, match="at 3"):
            next(items)
        assert list(items) == []


def test_exception_before_the_first_item_is_raised() -> None:
    with Prefetch(Source(fail_at=0), 2) as items, pytest.raises(BoomError):
        next(items)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
def test_exceptions_that_end_programs_reach_the_consumer(error: BaseException) -> None:
    def source() -> Iterator[int]:
        yield 1
        raise error

    with Prefetch(source(), 2) as items:
        assert next(items) == 1
        with pytest.raises(type(error)):
            next(items)


def test_error_in_closing_the_source_is_raised_and_does_not_hang() -> None:
    source = Source(fail_at=2, closing=OSError("cannot close"))
    with Prefetch(source, 10) as items:
        assert [next(items), next(items)] == [0, 1]
        with pytest.raises(OSError, match="cannot close"):
            next(items)


def test_close_stops_the_thread_and_closes_the_source() -> None:
    source = Source()
    items = Prefetch(source, 2)
    assert next(items) == 0
    items.close()
    assert source.closed
    assert prefetch_threads() == []
    taken = source.taken
    time.sleep(0.1)
    assert source.taken == taken
    assert list(items) == []
    items.close()  # twice does no harm


def test_close_runs_what_a_generator_has_to_tidy_up() -> None:
    tidied = []

    def source() -> Iterator[int]:
        try:
            yield from count()
        finally:
            tidied.append(threading.current_thread().name)

    with Prefetch(source(), 2) as items:
        next(items)
    assert tidied == ["prefetch"]


def test_end_of_the_iteration_leaves_no_thread() -> None:
    items = Prefetch(iter(range(3)), 2)
    assert list(items) == [0, 1, 2]
    assert prefetch_threads() == []


def test_error_of_the_consumer_stops_a_chain() -> None:
    source = Source()

    def doubled(numbers: Iterator[int]) -> Iterator[int]:
        for number in numbers:
            yield 2 * number

    def consume() -> None:
        with Prefetch(source, 2) as numbers, Prefetch(doubled(numbers), 2) as doubles:
            for number in doubles:
                if number == 10:
                    raise BoomError

    with pytest.raises(BoomError):
        consume()
    assert source.closed
    assert prefetch_threads() == []


def test_exception_goes_through_a_chain() -> None:
    with Prefetch(Source(fail_at=5), 2) as numbers, Prefetch((2 * n for n in numbers), 2) as doubles:
        assert [next(doubles) for _ in range(5)] == [0, 2, 4, 6, 8]
        with pytest.raises(BoomError, match="at 5"):
            next(doubles)


@pytest.mark.parametrize(("frame_bytes", "depth"), [(0, 8), (1, 8), (3_110_400, 8), (32 << 20, 4), (1 << 40, 2)])
def test_queue_depth_is_bounded_by_memory(frame_bytes: int, depth: int) -> None:
    assert queue_depth(frame_bytes) == depth


def test_clock_counts_time_and_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", iter([10.0, 10.5, 100.0, 100.25, 200.0, 201.0]).__next__)
    clock = Clock("decode")
    for frames in (1, 0, 3):
        with clock.measure(frames):
            pass
    assert clock.frames == 4
    assert clock.busy_s == 1.75


def test_clock_leaves_compiling_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def total(values: np.ndarray) -> float:
        result = 0.0
        for value in values:
            result += value
        return result

    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))  # nothing compiled is found there
    function, clock, waiting = compiled(total), Clock("downscale"), Clock("upscale")
    before = COMPILE_TIME.seconds()

    def work(clock: Clock) -> None:
        with clock.measure():
            function(np.ones(3))
            time.sleep(0.05)

    started = time.perf_counter()
    threads = [threading.Thread(target=work, args=(each,)) for each in (clock, waiting)]  # one waits for the other
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - started
    compiling = COMPILE_TIME.seconds() - before
    assert compiling > 0.02
    for each in (clock, waiting):
        assert 0.05 <= each.busy_s < elapsed - 0.9 * compiling


def test_intervals_within_each_other_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", iter([10.0, 10.5, 10.5, 12.0, 13.0, 13.0, 13.5]).__next__)
    compiling = CompileTime()
    assert compiling.seconds() == 0
    compiling.start()  # at 10
    compiling.start()
    compiling.stop()  # at 10.5
    assert compiling.seconds() == 2  # at 12
    compiling.stop()  # at 13
    assert compiling.seconds() == 3


def test_clock_counts_what_fails() -> None:
    clock = Clock("decode")
    with pytest.raises(BoomError), clock.measure():
        raise BoomError
    assert clock.frames == 1


def test_job_gives_its_result() -> None:
    assert run_interruptible(lambda: 42, on_interrupt=pytest.fail) == 42


def test_job_runs_in_a_thread_of_its_own() -> None:
    assert run_interruptible(threading.current_thread, on_interrupt=pytest.fail) is not threading.current_thread()


def test_error_of_a_job_is_raised() -> None:
    def job() -> None:
        raise BoomError

    with pytest.raises(BoomError):
        run_interruptible(job, on_interrupt=pytest.fail)


def test_interrupt_asks_the_job_to_end_until_it_does() -> None:
    asked: list[float] = []

    def job() -> None:
        _thread.interrupt_main()
        wait_for(lambda: len(asked) >= 3)

    with pytest.raises(KeyboardInterrupt):
        run_interruptible(job, on_interrupt=lambda: asked.append(time.monotonic()))
    assert len(asked) >= 3


def test_interrupted_job_that_does_not_end_is_given_up() -> None:
    end = threading.Event()

    def job() -> None:
        _thread.interrupt_main()
        end.wait()

    start = time.monotonic()
    with pytest.raises(Unfinished):
        run_interruptible(job, on_interrupt=lambda: None, grace_s=0.3)
    assert 0.3 <= time.monotonic() - start < 2
    end.set()


def test_temporary_folder_of_a_job_that_does_not_end_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program exits without waiting for such a job."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    end = threading.Event()

    def job() -> None:
        with temporary_folder() as folder:
            (folder / "coded.mp4").write_bytes(b"some")
            _thread.interrupt_main()
            end.wait()

    with pytest.raises(Unfinished):
        run_interruptible(job, on_interrupt=lambda: None, grace_s=0)
    assert [path.name for folder in tmp_path.iterdir() for path in folder.iterdir()] == ["coded.mp4"]
    discard_all()
    assert not list(tmp_path.iterdir())
    end.set()


def test_error_of_an_interrupted_job_is_not_the_news() -> None:
    asked = threading.Event()

    def job() -> None:
        _thread.interrupt_main()
        asked.wait()
        raise BoomError

    with pytest.raises(KeyboardInterrupt):
        run_interruptible(job, on_interrupt=asked.set)


def test_in_order_keeps_the_order_and_works_side_by_side():
    together, most = [0], [0]
    lock = threading.Lock()

    def work(number):
        with lock:
            together[0] += 1
            most[0] = max(most[0], together[0])
        time.sleep(0.02 if number % 3 else 0.05)
        with lock:
            together[0] -= 1
        return number * number

    assert list(in_order(work, range(20), 4)) == [n * n for n in range(20)]
    assert 1 < most[0] <= 4


def test_in_order_takes_few_items_ahead():
    taken = []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    results = in_order(lambda number: number, items(), 3)
    for number in range(10):
        assert next(results) == number
        assert len(taken) <= number + 1 + 6 + 1
    results.close()
    assert len(taken) < 20


def test_in_order_hands_out_a_result_before_the_next_item_is_there():
    """For a caller that sends a frame only after it has received the previous one."""
    came_back = threading.Semaphore(1)

    def items():
        for number in range(5):
            assert came_back.acquire(timeout=10)
            yield number

    for result in in_order(lambda number: number, items(), 4):
        assert 0 <= result < 5
        came_back.release()


def test_in_order_raises_what_the_function_raises_in_its_place():
    def work(number):
        if number == 5:
            raise ValueError("five")
        return number

    results = in_order(work, range(10), 2)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="five"):
        next(results)


def test_clock_counts_in_several_threads():
    clock = Clock("test")

    def work():
        for _ in range(200):
            with clock.measure():
                pass

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.frames == 1600
