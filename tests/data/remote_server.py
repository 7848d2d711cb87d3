"""A server on loopback: plain HTTP, and as much of S3, Google's, Azure's and the hub's as listing and reading takes."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

DAY = "Tue, 21 Oct 2025 07:28:00 GMT"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
"""Of every data set of the hub."""


@dataclass
class Asked:
    """A request that was answered."""

    method: str
    path: str
    range: str | None
    status: int
    authorization: str | None


@dataclass
class Remote:
    """What the server has, how it behaves, and what it was asked.

    Attributes:
        files: content by path.
        ranges: it honours `Range`.
        versions: it says `ETag` and `Last-Modified`.
        lengths: it says `Content-Length`.
        heads: it answers HEAD.
        cut: for this many GETs, the connection is cut after half of the answer.
        cut_after: so many GETs are answered first.
        fail: statuses for the next requests, in order.
        refuse: the status of everything.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    versions: bool = True
    lengths: bool = True
    heads: bool = True
    cut: int = 0
    cut_after: int = 0
    fail: list[int] = field(default_factory=list)
    refuse: int = 0
    asked: list[Asked] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    def ranges_of(self, method: str = "GET") -> list[str | None]:
        return [each.range for each in self.asked if each.method == method]

    def count(self, method: str) -> int:
        return sum(each.method == method for each in self.asked)

    def etag(self, path: str) -> str:
        return f'"{hashlib.md5(self.files[path]).hexdigest()}"'


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    remote: Remote

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def status(self, status: int, body: bytes = b"", kind: str = "application/xml", said: str = "") -> None:
        self.note(status)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("X-Error-Code", said)  # the hub's
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def note(self, status: int) -> None:
        with self.remote.lock:
            seen = Asked(self.command, self.path, self.headers["Range"], status, self.headers["Authorization"])
            self.remote.asked.append(seen)

    def answer(self) -> None:
        remote, parts = self.remote, urlsplit(self.path)
        query, path = parse_qs(parts.query), unquote(parts.path)
        if remote.refuse or remote.fail:
            return self.status(remote.refuse or remote.fail.pop(0), b"<Error><Code>AccessDenied</Code></Error>")
        if self.command == "HEAD" and not remote.heads:
            return self.status(405)
        if "list-type" in query or query.get("comp") == ["list"]:
            return self.listing(path.rstrip("/"), query)
        if path.startswith("/api/datasets/"):
            return self.data_set("/".join(path.split("/")[3:5]))
        path = path.replace(f"/resolve/{COMMIT}/", "/")
        if path not in remote.files:
            return self.status(404)
        self.file(path, remote.files[path])

    def file(self, path: str, content: bytes) -> None:
        remote, asked = self.remote, re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"] or "")
        part, status = content, 200
        if asked and remote.ranges:
            begin, end = int(asked[1]), min(int(asked[2]) + 1, len(content))
            part, status = content[begin:end], 206
        with remote.lock:
            cut = self.command == "GET" and remote.cut > 0 and remote.cut_after <= 0
            if self.command == "GET":
                remote.cut, remote.cut_after = remote.cut - cut, remote.cut_after - 1
        self.note(status)
        self.send_response(status)
        if remote.versions:
            self.send_header("ETag", remote.etag(path))
            self.send_header("Last-Modified", DAY)
        self.send_header("X-Repo-Commit", COMMIT)
        if status == 206:
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(content)}")
        if remote.lengths:
            self.send_header("Content-Length", str(len(part)))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(part[: len(part) // 2] if cut else part)
            self.close_connection = self.close_connection or cut

    def data_set(self, name: str) -> None:
        """What the hub says of one: its files are those below `/datasets/ORG/NAME/`."""
        names = sorted(path[len(f"/datasets/{name}/") :] for path in self.remote.files if f"/{name}/" in path)
        told = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": each} for each in names]}
        self.status(
            200 if names else 404, json.dumps(told).encode(), "application/json", "" if names else "RepoNotFound"
        )

    def listing(self, base: str, query: dict[str, list[str]]) -> None:
        """Two names a page, so that pages are followed."""
        remote, prefix = self.remote, query.get("prefix", [""])[0]
        keys = sorted(path[len(base) + 1 :] for path in remote.files if path.startswith(f"{base}/{prefix}"))
        begin = int((query.get("continuation-token") or query.get("marker") or ["0"])[0])
        page, rest = keys[begin : begin + 2], keys[begin + 2 :]
        if "comp" in query:
            blobs = "".join(
                f"<Blob><Name>{escape(key)}</Name><Properties><Last-Modified>{DAY}</Last-Modified>"
                f"<Etag>{remote.etag(f'{base}/{key}')}</Etag><Content-Length>{len(remote.files[f'{base}/{key}'])}"
                "</Content-Length><Content-Type>x</Content-Type></Properties></Blob>"
                for key in page
            )
            after = f"<NextMarker>{begin + 2}</NextMarker>" if rest else "<NextMarker/>"
            body = f"<EnumerationResults><Blobs>{blobs}</Blobs>{after}</EnumerationResults>"
        else:
            entries = "".join(
                f"<Contents><Key>{escape(key)}</Key><LastModified>2025-10-21T07:28:00.000Z</LastModified>"
                f"<ETag>{escape(remote.etag(f'{base}/{key}'))}</ETag><Size>{len(remote.files[f'{base}/{key}'])}</Size>"
                "</Contents>"
                for key in page
            )
            after = f"<NextContinuationToken>{begin + 2}</NextContinuationToken>" if rest else ""
            body = f"<ListBucketResult>{entries}{after}</ListBucketResult>"
        self.status(200, body.encode())


@contextmanager
def serving(remote: Remote) -> Iterator[Remote]:
    handler = type("Bound", (Handler,), {"remote": remote})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    remote.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield remote
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
