"""What many workers would do: a model of `batch` from measured steps, and a simulation that checks it.

    python benchmarks/scale_model.py benchmarks/results/batch.jsonl [--report] [--movies 200]

Reads the newest row of ``bench_batch.py --steps``. The model: N workers encode chunks of `c` seconds each, and with a
report measure them; one program plans, finds cuts, enters chunks in the journal and joins, `s` seconds a chunk on its
`P` processors. It does

    chunks per second = min(N / (c * (1 + f/2) * (1 + t * (x - 1))), P / s)

where a share `f` of the tasks fails halfway and is done again, and a share `t` takes `x` times as long. Assumptions:
workers have the processors that they had when measured, sources and outputs are read as fast as here, and there is
always another movie.

The simulation has the same steps for single movies and chunks, whose times vary (log-normal, sigma 0.3), with a
coordinator that is a queue, and a batch that begins and ends.
"""

import argparse
import heapq
import json
import random
from collections import deque
from dataclasses import dataclass
from pathlib import Path

_SIGMA = 0.3
_WORST_FRAMES_S = 0.5  # for pictures of the four worst frames of a movie of 640x360; the rest of a report is numbers
_STRAGGLING, _SLOWER = 0.01, 5.0
_FAILURES = (0.0, 0.001, 0.01)
_WORKERS = (1, 10, 100, 1000)


@dataclass(frozen=True, slots=True)
class Steps:
    """Measured seconds of a movie.

    Attributes:
        chunks: of a movie.
        chunk: work of one chunk on a worker.
        begin: before the chunks, on the coordinator.
        end: after them.
        enter: entering a chunk in the journal.
        processors: of the coordinator.
    """

    chunks: int
    chunk: float
    begin: float
    end: float
    enter: float
    processors: int

    @property
    def serial(self) -> float:
        """Seconds of the coordinator per chunk."""
        return (self.begin + self.end) / self.chunks + self.enter


def main() -> None:
    """Prints a row for each number of workers and share of failures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", type=Path)
    parser.add_argument("--report", action="store_true", help="movies are also measured, by the workers")
    parser.add_argument("--movies", type=int, default=200)
    options = parser.parse_args()
    steps = steps_of(options.rows, with_report=options.report)
    print(json.dumps({"chunk_s": round(steps.chunk, 2), "serial_s": round(steps.serial, 4), "chunks": steps.chunks}))
    for workers in _WORKERS:
        for failing in _FAILURES:
            movies = max(options.movies, 20 * workers // steps.chunks)
            seconds = simulated(steps, workers, movies, failing, random.Random(workers))
            row = {
                "workers": workers,
                "failing": failing,
                "model": round(modelled(steps, workers, failing), 3),
                "simulated": round(movies * steps.chunks / seconds, 3),
            }
            print(json.dumps(row | {"of_ideal": round(row["simulated"] * steps.chunk / workers, 3)}))


def steps_of(path: Path, *, with_report: bool) -> Steps:
    """The newest measured steps; ``with_report``: of a movie that is also measured."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    row = [each for each in rows if each["benchmark"] == "steps of a movie"][-1]
    seconds = row["seconds"]
    return Steps(
        chunks=row["chunks"],
        chunk=(seconds["encode"] + (seconds["measure"] if with_report else 0.0)) / row["chunks"],
        begin=seconds["plan"] + seconds["cuts"],
        end=seconds["join"] + (_WORST_FRAMES_S if with_report else 0.0),
        enter=seconds["journal of a chunk"],
        processors=row["cores"],
    )


def modelled(steps: Steps, workers: int, failing: float) -> float:
    """Chunks per second by the formula."""
    work = steps.chunk * (1 + failing / 2) * (1 + _STRAGGLING * (_SLOWER - 1))
    return min(workers / work, steps.processors / steps.serial)


def simulated(steps: Steps, workers: int, movies: int, failing: float, chance: random.Random) -> float:
    """Seconds until all movies are done, by events: (time, number, what, movie)."""
    mean = steps.chunk
    events: list[tuple[float, int, str, int]] = []
    coordinating = deque(("begin", movie) for movie in range(movies))
    waiting: deque[int] = deque()
    left = [steps.chunks] * movies
    idle, free, now, number = workers, steps.processors, 0.0, 0

    def push(after: float, what: str, movie: int) -> None:
        nonlocal number
        number += 1
        heapq.heappush(events, (now + after, number, what, movie))

    while True:
        while free and coordinating and (coordinating[0][0] != "begin" or len(waiting) < 2 * workers):
            what, movie = coordinating.popleft()
            free -= 1
            push({"begin": steps.begin, "enter": steps.enter, "end": steps.end}[what], what, movie)
        while idle and waiting:
            movie = waiting.popleft()
            idle -= 1
            seconds = mean * chance.lognormvariate(-(_SIGMA**2) / 2, _SIGMA)
            seconds *= _SLOWER if chance.random() < _STRAGGLING else 1
            fails = chance.random() < failing
            push(seconds * chance.random() if fails else seconds, "lost" if fails else "chunk", movie)
        if not events:
            return now
        now, _, what, movie = heapq.heappop(events)
        if what == "begin":
            free += 1
            waiting.extend([movie] * steps.chunks)
        elif what == "lost":
            idle += 1
            waiting.appendleft(movie)
        elif what == "chunk":
            idle += 1
            coordinating.appendleft(("enter", movie))
        else:
            free += 1
            left[movie] -= what == "enter"
            if what == "enter" and not left[movie]:
                coordinating.appendleft(("end", movie))


if __name__ == "__main__":
    main()
