"""One engine's side: measures what it is asked for, each time in a new process of its own.

Requests are JSON lines on standard input, answers on standard output:

    {"tokenizer": FILE, "texts": FILE or null, "threads": 1, "cores": [0]}

The first line says which release of the engine is there, once it is imported. This process has imported the engine and does nothing else with it; each request is answered by a fork of it, which loads
the tokenizer and encodes the texts twice. The first pass is cold: nothing but a tiny text of other words was encoded
before. The second has the same texts again, as many as about half a second allows. Without texts the tokenizer is loaded
twice. Times are seconds; `cpu` is that of all threads. The ids are told as one digest a text.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engines import ENGINES, Engine
from texts import WARM_UP

WARM_SECONDS = 0.5
PATIENCE = 180
"""Seconds after which an answer is not waited for."""


def serve(engine: type[Engine]) -> None:
    """Answer requests until there are no more."""
    version = engine.version()
    there = version is not None
    if there:
        engine.bring()
    print(json.dumps({"version": version}), flush=True)
    for line in sys.stdin:
        print(json.dumps(apart(engine, json.loads(line)) if there else {"state": "not installed"}), flush=True)


def apart(engine: type[Engine], request: dict[str, Any]) -> dict[str, Any]:
    """The answer of a new process, or how it ended without one."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            signal.alarm(PATIENCE)
            with os.fdopen(writer, "w") as out:
                json.dump(measure(engine, **request), out)
        finally:
            os._exit(0)  # an interpreter that is shared by a fork is not shut down
    os.close(writer)
    with os.fdopen(reader) as answer:
        told = answer.read()
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if told and ended == 0:
        found: dict[str, Any] = json.loads(told)
        return found
    reason = f"no answer in {PATIENCE} s" if -ended == signal.SIGALRM else f"the process ended with {ended}"
    return {"state": "fails", "reason": reason, "version": engine.version()}


def measure(
    engine: type[Engine], tokenizer: str, texts: str | None, threads: int, cores: list[int] | None
) -> dict[str, Any]:
    """Everything there is to know of one engine with one tokenizer and one kind of text."""
    restrict(threads, cores)
    answer: dict[str, Any] = {"state": "measured", "version": engine.version()}
    if answer["version"] is None:
        return {"state": "not installed"}
    path, stage = Path(tokenizer), "refuses"
    try:
        loaded, answer["load"] = timed(lambda: engine(path, threads))
        if texts is None:
            return answer | {"load_again": timed(lambda: engine(path, threads))[1]}
        loaded.warm_up(WARM_UP)
        stage = "fails"
        return answer | passes(loaded, json.loads(Path(texts).read_text("utf-8")))
    except BaseException as error:  # a panic of Rust is no Exception
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        return {"state": stage, "reason": reason(error), "version": answer["version"]}


def restrict(threads: int, cores: list[int] | None) -> None:
    """Let this process have so many threads: some engines go by variables, some by the cores they may use."""
    for name in ("RAYON_NUM_THREADS", "RAYON_RS_NUM_CPUS"):
        os.environ[name] = str(threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if threads > 1 else "false"
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def passes(engine: Engine, texts: list[str]) -> dict[str, Any]:
    """Two passes of an engine that is warmed up."""
    found, cold = timed(lambda: engine.encode(texts))
    ids = engine.ids(found)
    del found
    part = min(1.0, WARM_SECONDS / max(cold["wall"], 1e-9))
    again = texts[: max(1, int(len(texts) * part))]
    found, warm = timed(lambda: engine.encode(again))
    return {
        "cold": cold | {"bytes": size(texts)},
        "warm": warm | {"bytes": size(again)},
        "tokens": sum(map(len, ids)) // 4,
        "steady": engine.ids(found) == ids[: len(again)],
        "digests": [hashlib.blake2b(each, digest_size=8).hexdigest() for each in ids],
    }


def timed(call: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """What a call returns, and what it took."""
    gc.collect()
    gc.disable()
    before, wall = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    found = call()
    wall, after = time.perf_counter() - wall, resource.getrusage(resource.RUSAGE_SELF)
    gc.enable()
    return found, {"cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, "wall": wall}


def size(texts: list[str]) -> int:
    return sum(len(text.encode()) for text in texts)


def reason(error: BaseException) -> str:
    """The first line of an error."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:120]


if __name__ == "__main__":
    serve(ENGINES[sys.argv[1]])
