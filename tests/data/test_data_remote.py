"""Files of web servers and object stores: each is fetched once, whole, and told by its address."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from data_helpers import Heard, Kitchen, chat, rejected
from remote_server import Remote, serving

from fastft.core.errors import DataError
from fastft.core.events import Bus
from fastft.data import keep as keeping
from fastft.data import remote as door
from fastft.data.engine import engine
from fastft.data.keep import Keep

ROWS = "".join(json.dumps(chat(f"question {number}", "answer " * 9)) + "\n" for number in range(300)).encode()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Remote]:
    monkeypatch.setattr(door, "PAUSE_S", 0.001)
    monkeypatch.setattr(door, "PIECE_BYTES", 4096)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving(Remote({"/data/rows.jsonl": ROWS})) as remote:
        monkeypatch.setenv("AWS_ENDPOINT", remote.url)
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "something")
        yield remote


@pytest.fixture
def keep(tmp_path: Path) -> Keep:
    return Keep(tmp_path / "cache")


def fetch(url: str, keep: Keep, heard: Heard | None = None) -> list[dict[str, Any]]:
    return door.fetch(url, keep, Bus([heard] if heard else []))


def one(url: str, keep: Keep, heard: Heard | None = None) -> bytes:
    (found,) = fetch(url, keep, heard)
    return Path(found["path"]).read_bytes()


@pytest.mark.parametrize("scheme", ["http", "s3"])
def test_the_store_is_the_one_that_the_local_file_makes(
    kitchen: Kitchen, server: Remote, tmp_path: Path, scheme: str
) -> None:
    local = tmp_path / "rows.jsonl"
    local.write_bytes(ROWS + b'{"messages": 7}\n')
    server.files["/data/rows.jsonl"] = local.read_bytes()
    url = f"{server.url}/data/rows.jsonl" if scheme == "http" else "s3://data/rows.jsonl"
    fresh = Kitchen(kitchen.tokenizer, tmp_path / "cache")
    of_url = fresh.prepare({"path": url}, out=tmp_path / "run")
    bad = rejected(tmp_path / "run" / "data")
    assert [(row["file"], row["line"]) for row in bad] == [(url, 301)]
    assert of_url.sources[0]["path"] == url
    assert of_url.sources[0]["files"][0]["path"] == url
    assert of_url.sources[0]["origin"]["files"][0]["etag"] == server.etag("/data/rows.jsonl")

    of_file = fresh.prepare(local, out=tmp_path / "second")
    assert (of_file.key, of_file.cached) == (of_url.key, True)
    # the store was made from the address; the run that reads the file is told of the file
    assert [row["file"] for row in rejected(tmp_path / "second" / "data")] == [str(local)]
    assert of_file.sources[0]["files"][0]["path"] == str(local)
    elsewhere = Kitchen(kitchen.tokenizer, tmp_path / "other").prepare(local)
    for name in ("ids", "documents"):
        for path in elsewhere.train.folder.glob(f"**/*{name}*"):
            assert path.read_bytes() == (of_url.train.folder / path.relative_to(elsewhere.train.folder)).read_bytes()


def test_a_file_is_fetched_in_ranges_once_and_then_only_asked_about(server: Remote, keep: Keep) -> None:
    url = f"{server.url}/data/rows.jsonl"
    assert one(url, keep) == ROWS
    pieces = -(-len(ROWS) // 4096)
    assert (server.count("HEAD"), server.count("GET")) == (1, pieces)
    wanted = {f"bytes={at}-{min(at + 4096, len(ROWS)) - 1}" for at in range(0, len(ROWS), 4096)}
    assert set(server.ranges_of()) == wanted
    assert one(url, keep) == ROWS
    assert (server.count("HEAD"), server.count("GET")) == (2, pieces)


def test_what_was_fetched_before_it_broke_off_is_not_fetched_again(
    server: Remote, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "ATTEMPTS", 1)
    url = f"{server.url}/data/rows.jsonl"
    server.cut, server.cut_after = 1000, 5
    with pytest.raises(DataError, match="1 attempts") as caught:
        one(url, keep)
    assert caught.value.code == "data.remote-network"
    (part,) = keep.root.glob("*/*/rows.jsonl.part")
    done = {int(line) for line in part.with_suffix(".journal").read_text().splitlines()[1:]}
    assert done
    before = len(server.asked)
    server.cut = 0
    assert one(url, keep) == ROWS
    again = {each.range for each in server.asked[before:] if each.method == "GET"}
    everything = range(-(-len(ROWS) // 4096))
    assert again == {f"bytes={at * 4096}-{min(at * 4096 + 4096, len(ROWS)) - 1}" for at in everything if at not in done}


def test_a_changed_file_is_not_gone_on_with(server: Remote, keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"{server.url}/data/rows.jsonl"
    with monkeypatch.context() as patch:
        patch.setattr(door, "ATTEMPTS", 1)
        server.cut, server.cut_after = 1000, 5
        with pytest.raises(DataError):
            one(url, keep)
    server.cut, before = 0, len(server.asked)
    server.files["/data/rows.jsonl"] = other = ROWS[::-1]
    assert one(url, keep) == other
    again = {each.range for each in server.asked[before:] if each.method == "GET"}
    assert len(again) == -(-len(ROWS) // 4096)


def test_a_cut_connection_is_followed_by_a_request_for_the_rest(server: Remote, keep: Keep) -> None:
    server.cut = 3
    assert one(f"{server.url}/data/rows.jsonl", keep) == ROWS
    assert server.count("GET") == -(-len(ROWS) // 4096) + 3
    assert any(span and int(span[6:].split("-")[0]) % 4096 != 0 for span in server.ranges_of())


@pytest.mark.parametrize("scheme", ["http", "s3"])
def test_a_server_that_is_busy_is_asked_again(server: Remote, keep: Keep, scheme: str) -> None:
    server.fail = [503, 500, 429]
    assert one(f"{server.url}/data/rows.jsonl" if scheme == "http" else "s3://data/rows.jsonl", keep) == ROWS


@pytest.mark.parametrize("lacks", ["ranges", "lengths", "heads", "versions"])
def test_servers_that_can_do_less_serve_too(server: Remote, keep: Keep, lacks: str) -> None:
    setattr(server, lacks, False)
    url = f"{server.url}/data/rows.jsonl"
    assert one(url, keep) == ROWS
    asked = server.count("GET")
    assert one(url, keep) == ROWS
    if lacks == "versions":  # nothing tells whether it changed, so it is fetched, and found to be the same
        assert server.count("GET") > asked
        assert len(list(keep.root.glob("*/*/entry.json"))) == 1
    else:
        assert server.count("GET") == asked + (lacks == "heads")


@pytest.mark.parametrize(
    ("url", "refuse", "code", "says"),
    [
        ("{}/data/no.jsonl", 0, "data.remote-missing", "HTTP 404"),
        ("{}/data/rows.jsonl", 403, "data.remote-credentials", "HTTP 403(.|\n)*login"),
        ("s3://data/no.jsonl", 0, "data.remote-missing", "no such object"),
        ("s3://data/rows.jsonl", 403, "data.remote-credentials", "HTTP 403(.|\n)*AWS_ACCESS_KEY_ID"),
        ("s3://data/no*.jsonl", 0, "data.remote-missing", "no object matches"),
        ("{}/data/*.jsonl", 0, "data.remote-listing", "name each file"),
        ("{}/data/rows.jsonl", 503, "data.remote-network", r"HTTP 503 Service Unavailable \(6 attempts\)"),
    ],
)
def test_errors_name_address_status_and_a_way_out(
    server: Remote, keep: Keep, url: str, refuse: int, code: str, says: str
) -> None:
    server.refuse = refuse
    url = url.format(server.url)
    with pytest.raises(DataError, match=says) as caught:
        one(url, keep)
    assert caught.value.code == code
    assert url in caught.value.message


def test_passwords_and_signatures_are_not_shown(server: Remote, keep: Keep) -> None:
    signed = server.url.replace("//", "//me:hush@") + "/data/rows.jsonl?X-Amz-Signature=secret&part=1"
    (found,) = fetch(signed, keep)
    assert found["shown"] == f"{server.url}/data/rows.jsonl?X-Amz-Signature=***&part=1"
    assert all((each.authorization or "").startswith("Basic ") for each in server.asked)
    assert "secret" in server.asked[0].path
    written = [path.read_text() for path in keep.root.glob("**/*.json")]
    assert written
    assert not any("secret" in text or "hush" in text for text in written)
    server.refuse = 503
    assert one(signed, keep) == ROWS


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_folders_and_patterns_of_object_stores_name_their_files_in_order(
    server: Remote, keep: Keep, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setenv("GOOGLE_BASE_URL", server.url)
    monkeypatch.setenv("GOOGLE_SKIP_SIGNATURE", "true")
    monkeypatch.setenv("GOOGLE_ALLOW_HTTP", "true")
    monkeypatch.setenv("AZURE_STORAGE_USE_EMULATOR", "true")
    monkeypatch.setenv("AZURITE_BLOB_STORAGE_URL", server.url)
    base = "/devstoreaccount1/data" if scheme == "az" else "/data"
    names = ["a/2.jsonl", "a/b/3.txt", "a/1 é.jsonl", "a/README.md", "a/.hidden/4.jsonl", "c.jsonl", "ab/5.jsonl"]
    server.files = {f"{base}/{name}": name.encode() for name in names}

    def shown(url: str) -> list[str]:
        return [each["shown"].removeprefix(f"{scheme}://data/") for each in fetch(url, keep)]

    assert shown(f"{scheme}://data/a") == ["a/1 é.jsonl", "a/2.jsonl", "a/b/3.txt"]
    assert shown(f"{scheme}://data/a/*.jsonl") == ["a/1 é.jsonl", "a/2.jsonl"]
    assert shown(f"{scheme}://data/**/*.jsonl") == ["a/1 é.jsonl", "a/2.jsonl", "ab/5.jsonl", "c.jsonl"]
    assert one(f"{scheme}://data/a/1 é.jsonl", keep) == "a/1 é.jsonl".encode()


def test_without_a_network_the_copy_is_used_and_told(server: Remote, keep: Keep) -> None:
    one("s3://data/rows.jsonl", keep)
    server.refuse, heard = 503, Heard()
    assert one("s3://data/rows.jsonl", keep, heard) == ROWS
    assert heard.codes() == ["data.offline-copy"]
    with pytest.raises(DataError, match="HTTP 503"):
        one("s3://data/other.jsonl", keep)


def test_the_cache_stays_below_its_cap_and_keeps_what_is_used(
    server: Remote, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files |= {f"/data/{name}.txt": bytes([number]) * 20_000 for number, name in enumerate("abcd")}
    monkeypatch.setenv("FASTFT_REMOTE_CACHE_GB", "0.000050")
    for name in "ab":
        one(f"{server.url}/data/{name}.txt", keep)
    # what this process used stays, whatever the cap
    one(f"{server.url}/data/c.txt", keep)
    assert len(list(keep.root.glob("*/*/entry.json"))) == 3
    for lock in [lock for lock in keeping._HELD if lock.startswith(str(keep.root))]:
        os.close(keeping._HELD.pop(lock))
    one(f"{server.url}/data/b.txt", keep)
    one(f"{server.url}/data/d.txt", keep)
    left = {path.parent.glob("?.txt").__next__().name for path in keep.root.glob("*/*/entry.json")}
    assert left == {"b.txt", "d.txt"}


def test_a_cap_that_is_no_number_is_told(server: Remote, keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTFT_REMOTE_CACHE_GB", "much")
    with pytest.raises(ValueError, match="FASTFT_REMOTE_CACHE_GB is `much`"):
        one(f"{server.url}/data/rows.jsonl", keep)


def test_a_damaged_file_is_named_by_its_address(kitchen: Kitchen, server: Remote, tmp_path: Path) -> None:
    server.files["/data/rows.jsonl.gz"] = gzip.compress(ROWS)[:-100]
    with pytest.raises(DataError) as caught:
        Kitchen(kitchen.tokenizer, tmp_path / "cache").prepare({"path": "s3://data/rows.jsonl.gz"})
    assert "s3://data/rows.jsonl.gz" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_ctrl_c_stops_a_download(server: Remote, tmp_path: Path) -> None:
    native = engine()
    (found,) = json.loads(native.remote_look(f"{server.url}/data/rows.jsonl", native.Progress(), 1, 0.001))
    progress = native.Progress()
    progress.cancel()
    with pytest.raises(KeyboardInterrupt):
        native.remote_fetch(json.dumps(found), str(tmp_path / "x"), progress, 1, 0.001, 4096)
