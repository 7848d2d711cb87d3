"""Asking a language model through an endpoint that speaks OpenAI's API, each question once.

Answers are kept in a file of JSON lines by the hash of what was asked, each synced before it is
used: whoever is killed and starts again asks only what is missing. A line that was torn by the
kill is cut off. One process at a time writes the file.
"""

from __future__ import annotations

import email.utils
import fcntl
import hashlib
import http.client
import json
import os
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from fastft.core import env
from fastft.core.errors import ConfigError, DataError, Problem

_MOMENTARY = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
_LONGEST_WAIT = 300.0
_MOST_BYTES = 2**24


@dataclass(frozen=True)
class Endpoint:
    """Where to ask, and how patiently.

    Attributes:
        url: up to and with `/v1`.
        key_variable: name of the environment variable with the API key, None for none.
        retries: how often a request is sent again that failed for the moment.
        timeout: seconds that an answer may take.
        first_wait: seconds before the first retry; doubled for each further one.
    """

    url: str
    key_variable: str | None
    retries: int
    timeout: float
    first_wait: float = 1.0

    def headers(self) -> dict[str, str]:
        """What every request carries.

        Raises:
            ConfigError: the variable of the key is not set.
        """
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "fastft"}
        if self.key_variable is not None:
            key = env.named(self.key_variable)
            if not key:
                said = f"the environment variable `{self.key_variable}` is not set; it holds the key for {self.url}"
                raise ConfigError([Problem("data.no-key", "data.augment", said, f"export {self.key_variable}=...")])
            headers["Authorization"] = f"Bearer {key}"
        return headers


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        text: of the first choice.
        finish: why it ended: `stop`, `length` or what else the endpoint says.
        tokens: of question and answer, as the endpoint counts; 0 where it does not.
    """

    text: str
    finish: str
    tokens: int


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would take the key to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)


def ask(endpoint: Endpoint, body: dict[str, Any], stop: threading.Event) -> Answer:
    """Send one request, again while it fails for the moment.

    Raises:
        DataError: it is refused, or still fails after all retries.
        ConfigError: the key is missing.
    """
    url = f"{endpoint.url.rstrip('/')}/chat/completions"
    payload = json.dumps(body).encode()
    wait = endpoint.first_wait
    for attempt in range(endpoint.retries + 1):
        request = urllib.request.Request(url, payload, endpoint.headers(), method="POST")
        after: float | None = None
        try:
            with _OPENER.open(request, timeout=endpoint.timeout) as response:
                return _read(response.read(_MOST_BYTES))
        except urllib.error.HTTPError as error:
            with error:
                said = f"{error.code} {error.reason}: {_excerpt(error)}"
                after = _retry_after(error.headers.get("Retry-After"))
            if error.code not in _MOMENTARY:
                raise DataError(
                    f"{url} refuses the request: {said}", hint=_hint(error.code), code="data.endpoint"
                ) from None
        except (OSError, http.client.HTTPException, ValueError) as error:  # timeouts, broken connections, broken JSON
            said = str(error) or type(error).__name__
        if attempt < endpoint.retries:
            # a little apart, so that many threads do not come back at once
            pause = after if after is not None else wait * (1 + random.random() / 4)
            if stop.wait(min(pause, _LONGEST_WAIT)):
                break
            wait = min(2 * wait, _LONGEST_WAIT)
    times = "once" if endpoint.retries == 0 else f"{endpoint.retries + 1} times"
    raise DataError(
        f"{url} was asked {times} and gave no answer: {said}",
        hint="start again later: what was answered is kept; or raise `retries` or `timeout`, or lower `concurrency`",
        code="data.endpoint",
    )


def _read(content: bytes) -> Answer:
    value = json.loads(content)
    try:
        choice = value["choices"][0]
        text = choice["message"]["content"]
    except (KeyError, IndexError, TypeError):
        raise ValueError(f"no `choices[0].message.content` in {content[:200]!r}") from None
    usage = value.get("usage") or {}
    tokens = usage.get("total_tokens") or 0
    return Answer("" if text is None else str(text), str(choice.get("finish_reason") or "stop"), int(tokens))


def _excerpt(error: urllib.error.HTTPError) -> str:
    try:
        content = error.read(2000)
    except (OSError, http.client.HTTPException):
        return ""
    try:
        said = json.loads(content)["error"]
        return str(said["message"] if isinstance(said, dict) else said)[:300]
    except (ValueError, KeyError, TypeError):
        return content.decode("utf-8", "replace")[:300]


def _hint(code: int) -> str:
    if code in (401, 403):
        return "look at `key`: it names the environment variable that holds the API key"
    if code == 404:
        return "look at `endpoint` (it ends in `/v1`) and `model`"
    if 300 <= code < 400:
        return "set `endpoint` to the address that it leads to"
    return "look at `model`, `prompt` and `max_tokens`"


def _retry_after(value: str | None) -> float | None:
    """Seconds, from a number or a date."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


class Answers:
    """The file of answers."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path, self._file = path, file
        self._places: dict[str, tuple[int, int]] = {}
        self._lock = threading.Lock()
        self._end = self._index()

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[Answers]:
        """Open the file for this process alone; another one that has it is waited for."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield cls(path, file)

    @staticmethod
    def key(url: str, body: dict[str, Any]) -> str:
        """What identifies a question."""
        asked = json.dumps([url, body], sort_keys=True, ensure_ascii=True)
        return hashlib.blake2b(asked.encode(), digest_size=16).hexdigest()

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def get(self, key: str) -> Answer | None:
        """The answer, None when it was never given."""
        place = self._places.get(key)
        if place is None:
            return None
        value = json.loads(os.pread(self._file.fileno(), place[1], place[0]))
        return Answer(value["text"], value["finish"], value["tokens"])

    def put(self, key: str, answer: Answer) -> None:
        """Keep an answer; it is on the disk when this returns."""
        record = {"key": key, "text": answer.text, "finish": answer.finish, "tokens": answer.tokens}
        line = json.dumps(record).encode() + b"\n"  # ASCII: a lone surrogate survives
        with self._lock:
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())
            self._places[key] = (self._end, len(line))
            self._end += len(line)

    def _index(self) -> int:
        """Find all whole lines; cut off what a kill left behind the last one."""
        self._file.seek(0)
        place = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            try:
                key = json.loads(line)["key"]
            except (ValueError, KeyError, TypeError):
                raise DataError(
                    "this is no answer of an endpoint",
                    hint="remove the line, or the file to ask everything again",
                    code="data.damaged",
                    path=str(self._path),
                    line=self._line(place),
                ) from None
            self._places[key] = (place, len(line))
            place += len(line)
        self._file.truncate(place)
        return place

    def _line(self, place: int) -> int:
        return os.pread(self._file.fileno(), place, 0).count(b"\n") + 1
