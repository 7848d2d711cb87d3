"""Copies of rows that a language model writes: paraphrases and back-translations.

Rows come with their hash as the engine aligned them; what is made is a file of JSON lines that the
engine reads as copies of those rows (`rust/augment/src/derived.rs`):

    {"hash": "00c0ffee00c0ffee", "variant": 3, "kind": "paraphrase", "row": {"messages": [...]}}

The file is a function of rows, tables, seed and answers: how many requests are under way at a
time does not show. An answer that lost code, links, numbers or placeholders is not used.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastft.core import paths
from fastft.core.errors import DataError
from fastft.data.answers import clean, has_prose, why_not
from fastft.data.endpoint import Answer, Answers, Endpoint, ask

if TYPE_CHECKING:
    from fastft.config.augmentation import EndpointAugmentation

Row = tuple[str, dict[str, Any]]
"""A row's hash as 16 hexadecimal digits, and its document."""
_ROLES = {"developer": "system", "function": "tool"}


@dataclass
class Report:
    """What was asked, and what came of it.

    Attributes:
        rows: rows that were looked at.
        copies: copies made, by kind.
        requests: requests sent, without those sent again.
        kept: questions whose answer was there already.
        tokens: of the requests sent, as the endpoint counts; 0 where it does not.
        rejected: answers that can't be used, by reason.
        alike: copies that would have been equal to their row, or had no prose to alter.
        seconds: how long it took.
    """

    rows: int = 0
    copies: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    kept: int = 0
    tokens: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    alike: int = 0
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**vars(self), "copies": dict(self.copies), "rejected": dict(self.rejected)}


def derive(
    rows: Iterable[Row],
    tables: Sequence[tuple[int, EndpointAugmentation]],
    target: Path,
    answers: Path,
    *,
    seed: int,
    first_wait: float = 1.0,
    tell: Callable[[Report], None] | None = None,
) -> Report:
    """Write the copies of all rows to `target`, asking what was not asked before.

    Args:
        rows: in the order of the data.
        tables: each with the number of its first copy.
        target: the file of copies; appears whole or not at all.
        answers: the file of answers.
        seed: decides which rows get a copy, and is sent along.
        first_wait: seconds before the first retry of a request.
        tell: hears how far it is, about once a second.

    Raises:
        DataError: the endpoint fails for good, `max_requests` is used up, or too many answers can't be used.
        ConfigError: the key is missing.
    """
    begin = last = time.monotonic()
    report = Report()
    with Answers.open(answers) as known:
        asker = _Asker(known, report, first_wait)
        threads = max(table.concurrency for _, table in tables)
        with ThreadPoolExecutor(threads, thread_name_prefix="fastft-ask") as pool, _Lines(target) as lines:
            try:
                for made in _in_order(pool, 4 * threads, _jobs(rows, tables, seed, asker, report)):
                    _write(lines, made, report)
                    report.seconds = time.monotonic() - begin
                    if tell is not None and time.monotonic() - last > 1:
                        last = time.monotonic()
                        tell(report)
                _refuse_waste(tables, report, asker)
            except BaseException:
                asker.stop.set()
                pool.shutdown(cancel_futures=True)
                if asker.failure is not None:
                    raise asker.failure from None
                raise
    report.seconds = time.monotonic() - begin
    return report


def count(
    rows: Iterable[Row], tables: Sequence[tuple[int, EndpointAugmentation]], answers: Path, *, seed: int
) -> dict[str, int]:
    """How many requests `derive` would send at most, and how many letters in them; nothing is sent."""
    total = {"rows": 0, "requests": 0, "kept": 0, "letters": 0}
    with Answers.open(answers) as known:
        for number, (row_hash, document) in enumerate(rows, 1):
            total["rows"] = number
            for variant, table in _wanted(row_hash, tables, seed):
                for text in _texts(document, table):
                    if not has_prose(text):
                        continue
                    for body in _bodies(table, variant, text, seed):
                        there = body is not None and Answers.key(table.endpoint, body) in known
                        total["kept" if there else "requests"] += 1
                        total["letters"] += 0 if there else len(text)
    return total


@dataclass
class _Made:
    row_hash: str
    variant: int
    kind: str
    document: dict[str, Any] | None
    reasons: list[str]


class _Asker:
    """Asks each question once, whoever else wants to know."""

    def __init__(self, known: Answers, report: Report, first_wait: float) -> None:
        self._known, self._report, self._first_wait = known, report, first_wait
        self._lock = threading.Lock()
        self._under_way: dict[str, threading.Event] = {}
        self._sent: Counter[int] = Counter()
        self._slots: dict[int, threading.Semaphore] = {}
        self.asked: Counter[int] = Counter()
        self.refused: Counter[int] = Counter()
        self.stop = threading.Event()
        self.failure: BaseException | None = None

    def __call__(self, table: EndpointAugmentation, body: dict[str, Any]) -> Answer:
        key = Answers.key(table.endpoint, body)
        while True:
            with self._lock:
                answer = self._known.get(key)
                if answer is not None:
                    self._report.kept += 1
                    return answer
                waiting = self._under_way.get(key)
                if waiting is None:
                    self._spend(table)
                    slot = self._slots.setdefault(id(table), threading.Semaphore(table.concurrency))
                    mine = self._under_way[key] = threading.Event()
                    break
            waiting.wait()
        try:
            with slot:
                if self.stop.is_set():
                    raise DataError("stopped", code="data.endpoint")
                endpoint = Endpoint(table.endpoint, table.key, table.retries, table.timeout, self._first_wait)
                answer = ask(endpoint, body, self.stop)
            self._known.put(key, answer)
            with self._lock:
                self._report.tokens += answer.tokens
            return answer
        except BaseException as error:
            with self._lock:
                self.failure = self.failure or error  # what comes after it is only because of it
            self.stop.set()
            raise
        finally:
            with self._lock:
                del self._under_way[key]
            mine.set()

    def _spend(self, table: EndpointAugmentation) -> None:
        if table.max_requests is not None and self._sent[id(table)] >= table.max_requests:
            raise DataError(
                f"`{table.kind}` needs more than `max_requests` = {table.max_requests:,} requests",
                hint="what was answered is kept: raise `max_requests` or start again to go on from here",
                code="data.max-requests",
            )
        self._sent[id(table)] += 1
        self._report.requests += 1


def _jobs(
    rows: Iterable[Row],
    tables: Sequence[tuple[int, EndpointAugmentation]],
    seed: int,
    asker: _Asker,
    report: Report,
) -> Iterator[Callable[[], _Made]]:
    for row_hash, document in rows:
        report.rows += 1
        for variant, table in _wanted(row_hash, tables, seed):
            yield lambda h=row_hash, d=document, v=variant, t=table: _make(h, d, v, t, seed, asker)  # type: ignore[misc]


def _in_order(pool: ThreadPoolExecutor, ahead: int, jobs: Iterator[Callable[[], _Made]]) -> Iterator[_Made]:
    """The results in the order of the jobs, of which so many are begun ahead."""
    begun: deque[Future[_Made]] = deque()
    for job in jobs:
        begun.append(pool.submit(job))
        while len(begun) >= ahead:
            yield begun.popleft().result()
    while begun:
        yield begun.popleft().result()


def _wanted(
    row_hash: str, tables: Sequence[tuple[int, EndpointAugmentation]], seed: int
) -> Iterator[tuple[int, EndpointAugmentation]]:
    """The numbers of the copies that a row gets, each with its table."""
    for first, table in tables:
        for number in range(table.copies):
            drawn = hashlib.blake2b(f"{seed} {row_hash} {table.kind} {number}".encode(), digest_size=8).digest()
            if int.from_bytes(drawn, "little") < table.probability * 2**64:
                yield first + number, table


def _make(
    row_hash: str, document: dict[str, Any], variant: int, table: EndpointAugmentation, seed: int, asker: _Asker
) -> _Made:
    """One copy of one row."""
    altered = copy.deepcopy(document)
    reasons: list[str] = []
    changed = False
    for place in _places(altered, table):
        text = place[0][place[1]]
        if not has_prose(text):
            continue
        asker.asked[id(table)] += 1
        new, reason = _alter(text, variant, table, seed, asker)
        if reason is not None:
            asker.refused[id(table)] += 1
            reasons.append(reason)
            break  # the copy is lost: the row's other texts need not be asked for
        changed |= new != text
        place[0][place[1]] = new
    return _Made(row_hash, variant, table.kind, altered if changed and not reasons else None, reasons)


def _alter(text: str, variant: int, table: EndpointAugmentation, seed: int, asker: _Asker) -> tuple[str, str | None]:
    """The text in other words, or why the answer can't be used."""
    current = text
    for language in table.steps(variant):
        answer = asker(table, _body(table, variant, current, language, seed))
        current = clean(answer.text, text)
        reason = "cut" if answer.finish == "length" else why_not(text, current)
        if reason is not None:
            return text, reason
    return current, None


def _bodies(table: EndpointAugmentation, variant: int, text: str, seed: int) -> Iterator[dict[str, Any] | None]:
    """The questions about a text; those that depend on an answer are None."""
    for number, language in enumerate(table.steps(variant)):
        yield _body(table, variant, text, language, seed) if number == 0 else None


def _body(table: EndpointAugmentation, variant: int, text: str, language: str | None, seed: int) -> dict[str, Any]:
    """What is sent; the seed tells copies apart."""
    prompt = table.prompt.replace("{language}", language or "").replace("{text}", text)
    return {
        "model": table.model,
        "messages": [{"role": "user", "content": prompt}],
        "temperature": table.temperature,
        "max_tokens": table.max_tokens,
        "seed": (seed + variant) % 2**31,
    }


def _texts(document: dict[str, Any], table: EndpointAugmentation) -> list[str]:
    return [holder[key] for holder, key in _places(document, table)]


def _places(document: dict[str, Any], table: EndpointAugmentation) -> list[tuple[dict[str, Any], str]]:
    """Where the texts of the wanted roles stand: the table that holds each, and its key."""
    if "text" in document:
        return [(document, "text")] if "text" in table.roles else []
    found: list[tuple[dict[str, Any], str]] = []
    for message in (m for messages in (document["messages"], *document.get("answers", ())) for m in messages):
        role = _ROLES.get(message["role"], message["role"])
        role = role if role in ("system", "user", "assistant", "tool") else "text"
        if "reasoning" in table.roles and message.get("reasoning_content"):
            found.append((message, "reasoning_content"))
        content = message.get("content")
        if role not in table.roles or not content:
            continue
        if isinstance(content, str):
            found.append((message, "content"))
        else:
            found += [(part, "text") for part in content if part["type"] == "text" and part["text"]]
    return found


def _write(lines: _Lines, made: _Made, report: Report) -> None:
    report.rejected.update(made.reasons)
    if made.document is None:
        report.alike += not made.reasons
        return
    report.copies[made.kind] += 1
    lines.add({"hash": made.row_hash, "variant": made.variant, "kind": made.kind, "row": made.document})


def _refuse_waste(tables: Sequence[tuple[int, EndpointAugmentation]], report: Report, asker: _Asker) -> None:
    for _, table in tables:
        asked, refused = asker.asked[id(table)], asker.refused[id(table)]
        if asked and refused > table.max_rejected * asked:
            reasons = ", ".join(f"{reason} {number:,}" for reason, number in report.rejected.most_common())
            raise DataError(
                f"{refused:,} of {asked:,} answers for `{table.kind}` can't be used ({reasons}), "
                f"more than `max_rejected` = {table.max_rejected:g}",
                hint="look at `prompt` and `model`; the answers are kept and cost nothing again",
                code="data.rejected",
            )


class _Lines:
    """A file of JSON lines that appears when it is whole."""

    def __init__(self, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        self._target = target
        self._temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        self._file = self._temporary.open("wb")

    def add(self, value: dict[str, Any]) -> None:
        self._file.write(json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._file.flush()
            os.fsync(self._file.fileno())
        self._file.close()
        if kind is not None:
            self._temporary.unlink()
            return
        self._temporary.replace(self._target)
        paths.sync_folder(self._target.parent)
