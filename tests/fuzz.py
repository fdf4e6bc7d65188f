"""Damages a file in many ways and runs vidscale on each copy: it must succeed or raise a `VidscaleError`.

test_fuzz.py runs it in a separate process, so that a crash of a library is noticed. To run it longer by hand:

    python tests/fuzz.py encode movie.mp4 FOLDER --first 1000 --count 500

Prints a line before and after each case; exits with status 1 at the first bad case.
"""

import argparse
import faulthandler
import logging
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from io import BufferedReader, BytesIO
from pathlib import Path
from random import Random

from vidscale.config import DecodeSettings, EncodeSettings, FilesSettings, StageSettings
from vidscale.errors import VidscaleError
from vidscale.jobs import pipeline
from vidscale.jobs.evaluation import evaluate_files
from vidscale.jobs.pipe_stage import run_stage
from vidscale.jobs.planning import plan_decode, plan_encode
from vidscale.system import processes

HANG_S = 60
HEAD = 2000  # bytes in which containers keep their headers
LONG = 1 << 20  # bytes; of a longer file only the beginning is coded


def damaged(data: bytes, random: Random) -> bytes:
    """A copy with bytes flipped, ranges overwritten, removed or repeated, or the end cut off."""
    copy = bytearray(data)
    region = min(len(copy), HEAD) if random.random() < 0.4 else len(copy)
    kind = random.choice(["flip", "flip", "flip", "cut", "overwrite", "remove", "repeat", "random"])
    start = random.randrange(region)
    length = random.choice([1, 4, 50, 1000])
    if kind == "flip":
        for _ in range(random.choice([1, 3, 10, 60])):
            copy[random.randrange(region)] ^= 1 << random.randrange(8)
    elif kind == "cut":
        del copy[start:]
    elif kind == "overwrite":
        copy[start : start + length] = bytes([random.choice([0, 255])]) * length
    elif kind == "remove":
        del copy[start : start + length]
    elif kind == "repeat":
        copy[start:start] = copy[start : start + length]
    else:
        copy[start : start + length] = random.randbytes(length)
    return bytes(copy)


def encode(source: Path, original: Path) -> None:
    part = "0:0.1" if original.stat().st_size > LONG else None
    settings = EncodeSettings.resolve({"preset": "ultrafast", "range": part, "overwrite": True})
    pipeline.encode(plan_encode(source, source.with_name("out.mkv"), settings))


def decode(source: Path, original: Path) -> None:
    settings = DecodeSettings.resolve({"preset": "ultrafast", "overwrite": True})
    pipeline.decode(plan_decode(source, source.with_name("out.mkv"), settings))


def measure(source: Path, original: Path) -> None:
    """Measures a damaged source against itself."""
    evaluate_files(original, source, FilesSettings())
    evaluate_files(source, original, FilesSettings())


def stage(source: Path, original: Path) -> None:
    direction = "up" if len(source.read_bytes()) % 2 else "down"
    run_stage(direction, BufferedReader(BytesIO(source.read_bytes())), BytesIO(), StageSettings.resolve({"scale": "2"}))  # type: ignore[arg-type]


TARGETS: dict[str, Callable[[Path, Path], None]] = {
    "encode": encode,
    "decode": decode,
    "measure": measure,
    "stage": stage,
}


def outcome(target: Callable[[Path, Path], None], case: Path, original: Path) -> str:
    """Runs a case and returns the outcome in one word; AssertionError when something is left behind."""
    threads, files = set(threading.enumerate()), set(case.parent.iterdir())
    try:
        target(case, original)
        result = "done"
    except VidscaleError as error:
        text = str(error)
        if not text or "\n" in text.strip():
            raise AssertionError(f"not one line: {text!r}") from error
        result = f"{type(error).__name__} {text}"
    (case.parent / "out.mkv").unlink(missing_ok=True)
    left = set(case.parent.iterdir()) - files
    if left or processes._live or set(threading.enumerate()) - threads:
        raise AssertionError(f"left behind: {left}, {processes._live}, {set(threading.enumerate()) - threads}")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("original", type=Path)
    parser.add_argument("folder", type=Path, help="empty; every case is a file in it")
    parser.add_argument("--first", type=int, default=0, help="number of the first case, which is its seed")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no further case after that time")
    parser.add_argument("--keep-going", action="store_true", help="after a failure")
    args = parser.parse_args()
    logging.getLogger("libav").setLevel(logging.CRITICAL)
    data, counts, failed = args.original.read_bytes(), Counter[str](), False
    end = time.monotonic() + args.seconds
    for seed in range(args.first, args.first + args.count):
        if time.monotonic() > end:
            break
        case = args.folder / f"case{args.original.suffix}"
        case.write_bytes(damaged(data, Random(f"{args.original.name} {seed}")))
        print(f"{args.target} {args.original.name} seed {seed}", flush=True)
        faulthandler.dump_traceback_later(HANG_S, exit=True)
        try:
            result = outcome(TARGETS[args.target], case, args.original)
        except BaseException:  # whatever else it was, it is a bug
            print(f"FAILED: {traceback.format_exc()}", flush=True)
            failed = True
            case.rename(args.folder.parent / f"failed-{args.target}-{args.original.stem}-{seed}{case.suffix}")
            if not args.keep_going:
                break
        else:
            print(f"    {result}", flush=True)
            counts[result.split()[0]] += 1
        faulthandler.cancel_dump_traceback_later()
    print(f"total {dict(counts)}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
