"""A stand-in for Google Cloud Storage on loopback, strict where emulators are not, and faulty where a test says so.

The part of the JSON API that google-cloud-storage uses for objects, as cloud.google.com/storage/docs/json_api has it:
preconditions hold for every write, wrong checksums are refused, a generation that is gone is not found. Objects are
public under /BUCKET/NAME too, as they are for apt and LXD. Run as a module it serves until it is ended.
"""

import argparse
import base64
import contextlib
import functools
import hashlib
import json
import re
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import google_crc32c

PAGE = 1000
REWRITE = 1 << 20  # what one rewrite request copies


@dataclass(frozen=True)
class Request:
    """What was asked for: `action` is get, media, list, upload, start, chunk, rewrite, delete, bucket or public."""

    action: str
    bucket: str
    name: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass
class Fault:
    """What goes wrong with the next `times` requests of an action (whose object's name contains `name`), but for the
    first `after` of them.

    status: this answer, nothing done. reset: no answer, and nothing done. lost: all done, and no answer. truncated:
    half of the body. flipped: a byte of the content, on its way in or out. lying: a wrong checksum in the answer.
    slow: this many seconds of silence.
    """

    action: str
    status: int = 0
    reset: bool = False
    lost: bool = False
    truncated: bool = False
    flipped: bool = False
    lying: bool = False
    slow: float = 0.0
    times: int = 1
    name: str = ""
    after: int = 0


@dataclass(frozen=True)
class Object:
    """A generation of an object."""

    content: bytes
    generation: int
    about: dict[str, Any]

    def resource(self, bucket: str, name: str) -> dict[str, Any]:
        return {
            **self.about, "kind": "storage#object", "bucket": bucket, "name": name, "size": str(len(self.content)),
            "generation": str(self.generation), "metageneration": "1",
            "crc32c": self.crc32c,
        }  # fmt: skip

    @functools.cached_property
    def crc32c(self) -> str:
        return base64.b64encode(google_crc32c.value(self.content).to_bytes(4, "big")).decode()


class RefusedError(Exception):
    """An answer that is none of success."""

    def __init__(self, status: int, message: str = "") -> None:
        super().__init__(message)
        self.status = status


def flip(content: bytes) -> bytes:
    """The same with another byte in the middle."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@dataclass
class Upload:
    """A resumable upload under way."""

    start: Request
    content: bytearray = field(default_factory=bytearray)
    answer: tuple[int, dict[str, Any]] | None = None


@dataclass
class Storage:
    """All buckets; `requests` lists what was asked for, `faults` what is to go wrong, `delay` is seconds a request."""

    buckets: dict[str, dict[str, Object]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    delay: float = 0.0
    url: str = ""
    _uploads: dict[str, Upload] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _generation: int = 0

    def actions(self) -> list[str]:
        """What was asked for, but for what the library wants to know about a bucket in the background."""
        return [request.action for request in self.requests if request.action != "bucket"]

    def fault_of(self, request: Request) -> Fault:
        with self._lock:
            self.requests.append(request)
            for fault in self.faults:
                if fault.action == request.action and fault.name in request.name:
                    if fault.after:
                        fault.after -= 1
                        continue
                    fault.times -= 1
                    if not fault.times:
                        self.faults.remove(fault)
                    return fault
        return Fault("")

    def answer(self, request: Request, injected: int) -> tuple[int, dict[str, str], dict[str, Any] | Object]:
        """Status, headers, and a body: JSON, or an object's content."""
        if injected:
            raise RefusedError(injected, "injected")
        with self._lock:
            if request.bucket not in self.buckets:
                raise RefusedError(404, "no such bucket")
            return getattr(self, f"_{request.action}")(request)  # type: ignore[no-any-return]

    def _get(self, request: Request) -> tuple[int, dict[str, str], dict[str, Any]]:
        return 200, {}, self._existing(request).resource(request.bucket, request.name)

    def _media(self, request: Request) -> tuple[int, dict[str, str], Object]:
        return 200, {}, self._existing(request)

    _public = _media

    def _bucket(self, request: Request) -> tuple[int, dict[str, str], dict[str, Any]]:
        return 200, {}, {"kind": "storage#bucket", "name": request.bucket, "location": "US", "projectNumber": "1"}

    def _list(self, request: Request) -> tuple[int, dict[str, str], dict[str, Any]]:
        query, objects = request.query, self.buckets[request.bucket]
        names = [
            name
            for name in sorted(objects, key=str.encode)
            if name.startswith(query.get("prefix", ""))
            and name >= query.get("startOffset", "")
            and name < query.get("endOffset", chr(sys.maxunicode))
            and name > query.get("pageToken", "")
        ]
        page: dict[str, Any] = {"items": [objects[name].resource(request.bucket, name) for name in names[:PAGE]]}
        if names[PAGE:]:
            page["nextPageToken"] = names[PAGE - 1]
        return 200, {}, page

    def _upload(self, request: Request) -> tuple[int, dict[str, str], dict[str, Any]]:
        about, content = multipart(request)
        content = flip(content) if "flipped" in request.query else content
        named = request_named(request, about)
        return 200, {}, self._store(named, about, content)

    def _start(self, request: Request) -> tuple[int, dict[str, str], dict[str, Any]]:
        number = str(len(self._uploads) + 1)
        self._uploads[number] = Upload(request_named(request, json.loads(request.body)))
        query = f"uploadType=resumable&upload_id={number}"
        return 200, {"Location": f"{self.url}/upload/storage/v1/b/{request.bucket}/o?{query}"}, {}

    def _chunk(self, request: Request) -> tuple[int, dict[str, str], dict[str, Any]]:
        upload = self._uploads[request.query["upload_id"]]
        if upload.answer is None:
            first, last, total = re.fullmatch(
                r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", request.headers["content-range"]
            ).groups()  # type: ignore[union-attr]
            if first is not None:
                if int(first) > len(upload.content):
                    raise RefusedError(503, "a gap")
                assert len(request.body) == int(last) - int(first) + 1
                body = flip(request.body) if "flipped" in request.query else request.body
                upload.content += body[len(upload.content) - int(first) :]  # what it has already it ignores
            if total == "*" or len(upload.content) < int(total):
                kept = {"Range": f"bytes=0-{len(upload.content) - 1}"} if upload.content else {}
                return 308, kept, {}
            about = {"contentType": upload.start.headers["x-upload-content-type"], **json.loads(upload.start.body)}
            upload.answer = 200, self._store(upload.start, about, bytes(upload.content))
        return upload.answer[0], {}, upload.answer[1]

    def _rewrite(self, request: Request) -> tuple[int, dict[str, str], dict[str, Any]]:
        bucket, name = request.query["to_bucket"], request.query["to_name"]
        if bucket not in self.buckets:
            raise RefusedError(404, "no such bucket")
        wanted = {"generation": request.query.get("sourceGeneration", "")}
        source = self._existing(Request("get", request.bucket, request.name, wanted, {}, b""))
        check(request.query.get("ifSourceGenerationMatch"), source)
        size = len(source.content)
        done = int(request.query.get("rewriteToken", "0")) + REWRITE
        if done < size:
            token = {"rewriteToken": str(done)}
            return 200, {}, {"done": False, "totalBytesRewritten": str(done), "objectSize": str(size), **token}
        target = Request("rewrite", bucket, name, request.query, {}, b"")
        resource = self._store(target, json.loads(request.body or b"{}"), source.content)
        return 200, {}, {"done": True, "totalBytesRewritten": str(size), "objectSize": str(size), "resource": resource}

    def _delete(self, request: Request) -> tuple[int, dict[str, str], dict[str, Any]]:
        have = self._existing(request)
        check(request.query.get("ifGenerationMatch"), have)
        del self.buckets[request.bucket][request.name]
        return 204, {}, {}

    def _existing(self, request: Request) -> Object:
        have = self.buckets[request.bucket].get(request.name)
        if have is None or request.query.get("generation", "") not in ("", str(have.generation)):
            raise RefusedError(404, f"no such object: {request.bucket}/{request.name}")
        return have

    def _store(self, request: Request, about: dict[str, Any], content: bytes) -> dict[str, Any]:
        objects = self.buckets[request.bucket]
        check(request.query.get("ifGenerationMatch"), objects.get(request.name))
        self._generation = max(self._generation + 1, time.time_ns() // 1000)
        kept: dict[str, Any] = {key: about[key] for key in ("contentType", "cacheControl", "metadata") if key in about}
        made = Object(content, self._generation, kept)
        if about.get("crc32c", made.crc32c) != made.crc32c:
            raise RefusedError(400, f"Provided CRC32C {about['crc32c']!r} doesn't match calculated {made.crc32c!r}")
        if "md5Hash" in about and about["md5Hash"] != base64.b64encode(hashlib.md5(content).digest()).decode():
            raise RefusedError(400, f"Provided MD5 {about['md5Hash']!r} doesn't match")
        objects[request.name] = made
        return objects[request.name].resource(request.bucket, request.name)


def check(wanted: str | None, have: Object | None) -> None:
    """A generation precondition; 0 is for no object."""
    if wanted is not None and int(wanted) != (have.generation if have else 0):
        raise RefusedError(412, "conditionNotMet")


def request_named(request: Request, about: dict[str, Any]) -> Request:
    """An upload's name may be in the body."""
    name = request.query.get("name") or about["name"]
    return Request(request.action, request.bucket, name, request.query, request.headers, request.body)


def multipart(request: Request) -> tuple[dict[str, Any], bytes]:
    """The two parts of a multipart/related body: JSON, and the content."""
    boundary = request.headers["content-type"].partition('boundary="')[2].rstrip('"').encode()
    _nothing, first, second, _end = request.body.split(b"--" + boundary, 3)
    about = json.loads(first.partition(b"\r\n\r\n")[2])
    head, _, content = second.partition(b"\r\n\r\n")
    return {"contentType": head.decode().partition("content-type: ")[2], **about}, content[:-2]


def parse(method: str, target: str, headers: dict[str, str], body: bytes) -> Request:
    """Which action a request is."""
    url = urllib.parse.urlsplit(target)
    query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
    part = r"([^/]+)"
    if found := re.fullmatch(f"/storage/v1/b/{part}/o/{part}/rewriteTo/b/{part}/o/{part}", url.path):
        bucket, name, query["to_bucket"], query["to_name"] = map(urllib.parse.unquote, found.groups())
        return Request("rewrite", bucket, name, query, headers, body)
    if found := re.fullmatch(f"/upload/storage/v1/b/{part}/o", url.path):
        action = "upload" if query["uploadType"] == "multipart" else "start" if method == "POST" else "chunk"
        return Request(action, urllib.parse.unquote(found[1]), query.get("name", ""), query, headers, body)
    if found := re.fullmatch(f"(?:/download)?/storage/v1/b/{part}/o(?:/{part})?", url.path):
        bucket, name = urllib.parse.unquote(found[1]), urllib.parse.unquote(found[2] or "")
        action = "delete" if method == "DELETE" else "media" if query.get("alt") == "media" else "get"
        return Request(action if name else "list", bucket, name, query, headers, body)
    if found := re.fullmatch(f"/storage/v1/b/{part}", url.path):
        return Request("bucket", urllib.parse.unquote(found[1]), "", query, headers, body)
    bucket, _, name = urllib.parse.unquote(url.path).lstrip("/").partition("/")
    return Request("public", bucket, name, query, headers, body)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    storage: Storage

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        headers = {key.lower(): value for key, value in self.headers.items()}
        request = parse(self.command, self.path, headers, self.rfile.read(length))
        fault = self.storage.fault_of(request)
        if pause := max(fault.slow, self.storage.delay):
            threading.Event().wait(pause)
        if fault.reset:
            self.close_connection = True
            return
        if fault.flipped:
            request.query["flipped"] = "yes"
        try:
            status, more, body = self.storage.answer(request, fault.status)
        except RefusedError as err:
            status, more, body = err.status, {}, {"error": {"code": err.status, "message": str(err)}}
        if fault.lost:
            self.close_connection = True
        else:
            self._answer(request, fault, status, more, body)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _serve

    def _answer(
        self, request: Request, fault: Fault, status: int, more: dict[str, str], body: dict[str, Any] | Object
    ) -> None:
        if isinstance(body, Object):
            about = body.resource(request.bucket, request.name)
            more = {**more, "X-Goog-Hash": f"crc32c={about['crc32c']}", "X-Goog-Generation": about["generation"]}
            more |= {"Cache-Control": about.get("cacheControl", "public, max-age=3600")}
            kind, content = about.get("contentType", "application/octet-stream"), body.content
            if found := re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", "")):
                status, content = 206, content[int(found[1]) :]
                more |= {"Content-Range": f"bytes {found[1]}-{len(body.content) - 1}/{len(body.content)}"}
        else:
            if fault.lying:
                body = {**body, "crc32c": "AAAAAA=="}
            kind, content = "application/json", json.dumps(body).encode()
        if fault.flipped and content and request.action == "media":
            content = flip(content)
        self.send_response(status)
        for key, value in {**more, "Content-Type": kind}.items():
            self.send_header(key, value)
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD" and status != 204:
            self.wfile.write(content[: len(content) // 2] if fault.truncated else content)
        self.close_connection = self.close_connection or fault.truncated


class Server(ThreadingHTTPServer):
    """Room for many connections at once; one that breaks is nothing to report."""

    request_queue_size = 256
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


@contextlib.contextmanager
def stand_in(*buckets: str, delay: float = 0.0, port: int = 0) -> Iterator[Storage]:
    """Serve these buckets for as long as the `with` lasts; `url` of what it gives is for STORAGE_EMULATOR_HOST."""
    storage = Storage({name: {} for name in buckets}, delay=delay)
    handler: Callable[..., Handler] = type("_Handler", (Handler,), {"storage": storage})
    with Server(("127.0.0.1", port), handler) as server:
        storage.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield storage
        finally:
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("buckets", nargs="+", help="their names")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds each request takes")
    options = parser.parse_args()
    with stand_in(*options.buckets, delay=options.delay) as serving:
        print(serving.url, flush=True)
        threading.Event().wait()
