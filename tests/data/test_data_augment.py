"""Copies that an endpoint writes: asked once, checked, in order, whatever the endpoint does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fastft.core.errors import ConfigError, DataError
from fastft.data.answers import clean, has_prose, why_not
from fastft.data.augment import count, derive
from fastft.data.augmentations.back_translation import BackTranslation
from fastft.data.augmentations.paraphrase import Paraphrase

Reply = Callable[[dict[str, Any], int], tuple[int, dict[str, str], bytes]]


def said(text: str, finish: str = "stop") -> tuple[int, dict[str, str], bytes]:
    choice = {"message": {"content": text}, "finish_reason": finish}
    return 200, {}, json.dumps({"choices": [choice], "usage": {"total_tokens": 7}}).encode()


def asked(body: dict[str, Any]) -> str:
    """The text that a question is about."""
    return str(body["messages"][0]["content"]).rpartition("\n\n")[2]


class Server:
    """An endpoint on loopback that counts what it is asked."""

    def __init__(self, reply: Reply) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.busy = self.most_busy = 0
        lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(handler) -> None:
                body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
                with lock:
                    self.bodies.append(body)
                    self.headers.append(dict(handler.headers))
                    number = len(self.bodies)
                    self.busy += 1
                    self.most_busy = max(self.most_busy, self.busy)
                try:
                    status, headers, content = reply(body, number)
                finally:
                    with lock:
                        self.busy -= 1
                handler.send_response(status)
                for name, value in headers.items():
                    handler.send_header(name, value)
                handler.send_header("Content-Length", str(len(content)))
                handler.end_headers()
                handler.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"


@contextmanager
def serving(reply: Reply) -> Iterator[Server]:
    server = Server(reply)
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        thread.join()
        server.http.server_close()


def upper(body: dict[str, Any], number: int) -> tuple[int, dict[str, str], bytes]:
    return said(asked(body).upper())


def talk(text: str, answer: str = "Sure.") -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]}


def rows(number: int = 6) -> list[tuple[str, dict[str, Any]]]:
    return [(f"{index:016x}", talk(f"question {'abcdefghijkl'[index]} please")) for index in range(number)]


def paraphrase(url: str, **options: Any) -> list[tuple[int, Any]]:
    return [(1, Paraphrase(**{"endpoint": url, "model": "m", "retries": 3, "timeout": 5.0, **options}))]


def run(folder: Path, tables: list[tuple[int, Any]], data: list[tuple[str, dict[str, Any]]] | None = None) -> Any:
    return derive(
        rows() if data is None else data, tables, folder / "out.jsonl", folder / "answers", seed=1, first_wait=0.01
    )


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out.jsonl").read_text("utf-8").splitlines()]


def test_a_copy_has_its_rows_hash_and_another_wording(tmp_path: Path) -> None:
    with serving(upper) as server:
        report = run(tmp_path, paraphrase(server.url, copies=2))
    made = lines(tmp_path)
    assert [(line["hash"], line["variant"]) for line in made] == [(h, v) for h, _ in rows() for v in (1, 2)]
    assert made[0]["row"] == talk("QUESTION A PLEASE")
    assert made[0]["kind"] == "paraphrase"
    assert (report.rows, report.requests, report.tokens, dict(report.copies)) == (6, 12, 84, {"paraphrase": 12})
    assert {body["seed"] for body in server.bodies} == {2, 3}


def test_nothing_is_asked_twice(tmp_path: Path) -> None:
    data = rows() + rows()  # each text twice, both under way at a time
    with serving(upper) as server:
        first = run(tmp_path, paraphrase(server.url), data)
        before = (tmp_path / "out.jsonl").read_bytes()
        again = run(tmp_path, paraphrase(server.url, concurrency=1), data)
    assert (first.requests, first.kept) == (6, 6)
    assert (again.requests, again.kept, len(server.bodies)) == (0, 12, 6)
    assert (tmp_path / "out.jsonl").read_bytes() == before


def test_order_does_not_depend_on_who_answers_first(tmp_path: Path) -> None:
    second = threading.Event()

    def slow_first(body: dict[str, Any], number: int) -> tuple[int, dict[str, str], bytes]:
        if number == 1:
            assert second.wait(120), "nobody else asked meanwhile"
        second.set()
        return upper(body, number)

    with serving(slow_first) as server:
        run(tmp_path, paraphrase(server.url, concurrency=4))
        assert 2 <= server.most_busy <= 4
    assert [line["hash"] for line in lines(tmp_path)] == [row_hash for row_hash, _ in rows()]


@pytest.mark.parametrize(
    "trouble",
    [
        (429, {"Retry-After": "0"}, b"{}"),
        (500, {}, b"oops"),
        (503, {"Retry-After": "Sat, 01 Jan 2000 00:00:00 GMT"}, b""),
        (200, {}, b'{"choices": [{"mess'),
        (200, {}, b'{"choices": []}'),
    ],
)
def test_what_fails_for_the_moment_is_asked_again(tmp_path: Path, trouble: tuple[int, dict[str, str], bytes]) -> None:
    with serving(lambda body, number: trouble if number in (1, 3) else upper(body, number)) as server:
        report = run(tmp_path, paraphrase(server.url, concurrency=1))
        assert len(server.bodies) == 8
    assert (report.requests, len(lines(tmp_path))) == (6, 6)


def test_retry_after_is_kept(tmp_path: Path) -> None:
    def busy(body: dict[str, Any], number: int) -> tuple[int, dict[str, str], bytes]:
        return (429, {"Retry-After": "0.3"}, b"{}") if number == 1 else upper(body, number)

    with serving(busy) as server:
        begin = time.monotonic()
        run(tmp_path, paraphrase(server.url), rows(1))
        assert time.monotonic() - begin >= 0.3


def test_a_slow_answer_is_given_up(tmp_path: Path) -> None:
    through = threading.Event()

    def slow(body: dict[str, Any], number: int) -> tuple[int, dict[str, str], bytes]:
        if number == 1:
            assert through.wait(120), "the answer was waited for"
        return upper(body, number)

    with serving(slow) as server:
        run(tmp_path, paraphrase(server.url, timeout=0.5), rows(1))
        through.set()
        assert len(server.bodies) >= 2  # on a busy machine a quick answer may come too late as well
    assert len(lines(tmp_path)) == 1


def test_an_endpoint_that_stays_broken_ends_the_run_and_keeps_what_was_answered(tmp_path: Path) -> None:
    with serving(lambda body, number: upper(body, number) if number <= 3 else (500, {}, b"")) as server:
        with pytest.raises(DataError, match="was asked 2 times and gave no answer: 500"):
            run(tmp_path, paraphrase(server.url, concurrency=1, retries=1))
        assert not (tmp_path / "out.jsonl").exists()
        assert [found.name for found in tmp_path.iterdir()] == ["answers"]
    with serving(upper) as server:
        # another address would be another question
        answers = (tmp_path / "answers").read_text().count("\n")
        assert answers == 3


@pytest.mark.parametrize(
    ("status", "match"),
    [
        (400, "refuses the request: 400"),
        (401, "holds the API key"),
        (404, "ends in `/v1`"),
        (307, "the address that it"),
    ],
)
def test_what_is_refused_is_not_asked_again(tmp_path: Path, status: int, match: str) -> None:
    error = (status, {"Location": "http://127.0.0.1:1/"}, b'{"error": {"message": "no such thing"}}')
    with serving(lambda body, number: error) as server:
        with pytest.raises(DataError, match=match):
            run(tmp_path, paraphrase(server.url, concurrency=1))
        assert len(server.bodies) == 1


def test_the_key_comes_from_the_variable_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(upper) as server:
        with pytest.raises(ConfigError, match="`SOME_KEY` is not set"):
            run(tmp_path, paraphrase(server.url, key="SOME_KEY"))
        monkeypatch.setenv("SOME_KEY", "secret-7")
        run(tmp_path, paraphrase(server.url, key="SOME_KEY"))
    assert {headers["Authorization"] for headers in server.headers} == {"Bearer secret-7"}
    assert "secret-7" not in (tmp_path / "answers").read_text()


def test_max_requests_is_a_ceiling_and_the_next_run_goes_on(tmp_path: Path) -> None:
    with serving(upper) as server:
        for run_number in (1, 2):
            with pytest.raises(DataError, match="needs more than `max_requests` = 2"):
                run(tmp_path, paraphrase(server.url, max_requests=2, concurrency=1))
            assert len(server.bodies) == 2 * run_number
        report = run(tmp_path, paraphrase(server.url, max_requests=2, concurrency=1))
    assert (report.requests, report.kept, len(lines(tmp_path))) == (2, 4, 6)


def test_a_dry_run_counts_and_sends_nothing(tmp_path: Path) -> None:
    with serving(upper) as server:
        tables = paraphrase(server.url, copies=2)
        counted = count(rows(), tables, tmp_path / "answers", seed=1)
        assert (counted["rows"], counted["requests"], len(server.bodies)) == (6, 12, 0)
        run(tmp_path, tables)
        counted = count(rows(), tables, tmp_path / "answers", seed=1)
        assert (counted["requests"], counted["kept"]) == (0, 12)
        back = [(1, BackTranslation(endpoint=server.url, model="m", languages=["German"]))]
        assert count(rows(), back, tmp_path / "answers", seed=1)["requests"] == 12


def test_back_translation_goes_there_and_back_and_takes_languages_in_turn(tmp_path: Path) -> None:
    def translate(body: dict[str, Any], number: int) -> tuple[int, dict[str, str], bytes]:
        language = body["messages"][0]["content"].partition("into ")[2].partition(".")[0]
        return said(f"{asked(body)} in {language}")

    with serving(translate) as server:
        table = BackTranslation(endpoint=server.url, model="m", languages=["German", "French"], copies=2)
        report = run(tmp_path, [(1, table)], rows(1))
    texts = [line["row"]["messages"][0]["content"] for line in lines(tmp_path)]
    assert texts == ["question a please in French in English", "question a please in German in English"]
    assert report.requests == 4


def test_only_the_wanted_roles_are_asked_about(tmp_path: Path) -> None:
    document = talk("a question", "an answer")
    document["messages"].insert(0, {"role": "developer", "content": "be kind"})
    document["messages"][2]["reasoning_content"] = "let me think"
    document["answers"] = [[{"role": "assistant", "content": "best one"}], [{"role": "assistant", "content": "worst"}]]
    document["messages"][1]["content"] = [{"type": "text", "text": "look"}, {"type": "image", "image": "a.png"}]
    wanted = {
        "user": {"look"},
        "system": {"be kind"},
        "assistant": {"an answer", "best one", "worst"},
        "reasoning": {"let me think"},
        "text": set(),
    }
    for role, texts in wanted.items():
        with serving(upper) as server:
            run(tmp_path, paraphrase(server.url, roles=[role]), [("0" * 16, document)])
            assert {asked(body) for body in server.bodies} == texts
    with serving(upper) as server:
        run(tmp_path, paraphrase(server.url, roles=["text"]), [("0" * 16, {"text": "plain words"})])
    assert lines(tmp_path)[0]["row"] == {"text": "PLAIN WORDS"}


def test_part_of_the_rows_get_a_copy(tmp_path: Path) -> None:
    data = [(f"{index:016x}", talk(f"question {index:b}".replace("0", "o").replace("1", "l"))) for index in range(200)]
    with serving(upper) as server:
        run(tmp_path, paraphrase(server.url, probability=0.25), data)
        first = lines(tmp_path)
        run(tmp_path, paraphrase(server.url, probability=0.25), data)
    assert 30 < len(first) < 70
    assert lines(tmp_path) == first


@pytest.mark.parametrize(
    ("text", "answer", "reason"),
    [
        ("a b", "", "empty"),
        ("a b", "I'm sorry, but I can't help with that.", "refusal"),
        ("a b", "As an AI language model I", "refusal"),
        ("run `ls` now", "run it now", "code"),
        ("see https://a.example/b now", "see https://a.example/c now", "link"),
        ("what is <image> here", "what is here", "placeholder"),
        ("pay 12.50 now", "pay 13.50 now", "number"),
        ("a b", "x" * 500, "length"),
    ],
)
def test_an_answer_that_can_not_be_used_is_counted_by_reason(
    tmp_path: Path, text: str, answer: str, reason: str
) -> None:
    assert why_not(text, answer) == reason
    with serving(lambda body, number: said(answer)) as server:
        report = run(tmp_path, paraphrase(server.url, max_rejected=1.0), [("0" * 16, talk(text))])
        assert (report.rejected, lines(tmp_path)) == (Counter({reason: 1}), [])
        with pytest.raises(DataError, match=f"1 of 1 answers for `paraphrase` can't be used \\({reason} 1\\)"):
            run(tmp_path, paraphrase(server.url), [("0" * 16, talk(text))])


def test_a_cut_answer_is_rejected_and_one_like_the_row_is_no_copy(tmp_path: Path) -> None:
    with serving(lambda body, number: said(asked(body), "length")) as server:
        assert run(tmp_path, paraphrase(server.url, max_rejected=1.0)).rejected == Counter({"cut": 6})
    with serving(lambda body, number: said(asked(body))) as server:
        report = run(tmp_path, paraphrase(server.url))
        assert (report.alike, lines(tmp_path)) == (6, [])


def test_wordings_are_cleaned_and_numbers_may_be_written_as_the_language_does() -> None:
    assert clean("<think>hm\nhm</think>\n\nNew text", "old") == "New text"
    assert clean('"New text"', "old") == "New text"
    assert clean('"New" and "text"', "old") == '"New" and "text"'
    assert clean("New text", "old\n") == "New text\n"
    assert why_not("pay 1,234.5 now", "zahle jetzt 1.234,5") is None
    assert not has_prose("`code` <image> https://a.example 12")


def test_a_torn_last_line_is_cut_off_and_a_broken_one_is_told(tmp_path: Path) -> None:
    with serving(upper) as server:
        run(tmp_path, paraphrase(server.url))
        whole = (tmp_path / "answers").read_bytes()
        (tmp_path / "answers").write_bytes(whole[:-9])
        report = run(tmp_path, paraphrase(server.url))
        assert (report.requests, report.kept) == (1, 5)
        assert (tmp_path / "answers").read_bytes().count(b"\n") == 6
        (tmp_path / "answers").write_bytes(b"{}\n" + whole)
        with pytest.raises(DataError, match=r"answers:1(.|\n)*remove the line"):
            run(tmp_path, paraphrase(server.url))


CHILD = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
import test_data_augment as here
here.run(Path(sys.argv[1]), here.paraphrase(sys.argv[2], concurrency=2))
"""


def test_a_killed_run_asks_nothing_twice(tmp_path: Path) -> None:
    reached, hold = threading.Event(), threading.Event()

    def stuck(body: dict[str, Any], number: int) -> tuple[int, dict[str, str], bytes]:
        if number > 4:
            reached.set()
            hold.wait(300)
        return upper(body, number)

    with serving(stuck) as server:
        code = CHILD.format(tests=str(Path(__file__).parent))
        child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), server.url])
        assert reached.wait(60)
        while (tmp_path / "answers").read_bytes().count(b"\n") < 4:
            time.sleep(0.01)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        hold.set()
        answered = (tmp_path / "answers").read_bytes().count(b"\n")
        asked_before = len(server.bodies)
        report = run(tmp_path, paraphrase(server.url))
        assert answered >= 4
        assert (report.kept, report.requests) == (answered, 6 - answered)
        assert len(server.bodies) == asked_before + 6 - answered
    assert len(lines(tmp_path)) == 6
