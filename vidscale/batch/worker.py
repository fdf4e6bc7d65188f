"""A worker process of this machine: ``python -m vidscale.batch.worker``.

It reads tasks as JSON lines from stdin and answers with JSON lines: ``{"advance": N}`` for encoded frames, then
``{"result": …}`` or ``{"error": …, "final": …}``. ``{"prepare": task}`` has no answer: it loads what such tasks need,
while the main program still looks for cuts. At the end of stdin, which also comes when the main program is
killed, it ends at once, with its encoder.
"""

import json
import os
import queue
import sys
import threading
import time
from typing import IO, Any

from vidscale.system import lean_numba

_EVERY_S = 0.2  # between two messages of progress


def main() -> None:
    """Runs tasks until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # what libraries print must not get among the answers
    tasks: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(tasks,), daemon=True).start()
    lean_numba.install()
    from vidscale.batch.chunk_encode import prepare

    while True:
        record = json.loads(tasks.get())
        if "prepare" in record:
            prepare(record["prepare"])
        else:
            _answer(answers, _run(record, answers))


def _read(tasks: "queue.SimpleQueue[str]") -> None:
    for line in sys.stdin:
        tasks.put(line)
    from vidscale.system.processes import kill_all

    kill_all()
    os._exit(0)


def _run(record: dict[str, Any], answers: IO[str]) -> dict[str, Any]:
    from vidscale.batch.chunk_encode import answer

    waiting, said = 0, time.monotonic()

    def advance() -> None:
        nonlocal waiting, said
        waiting += 1
        if time.monotonic() - said > _EVERY_S:
            _answer(answers, {"advance": waiting})
            waiting, said = 0, time.monotonic()

    return answer(record, advance) | {"advance": waiting}


def _answer(answers: IO[str], record: dict[str, Any]) -> None:
    answers.write(json.dumps(record) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
