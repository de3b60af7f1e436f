"""Programs in a container, each run by one process there (lxd/inside.py) that stays: a call costs milliseconds.

An exec of LXD's own for each program costs a tenth of a second, nearly all of it the processors' time.
"""

import contextlib
import itertools
import json
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pylxd
from pylxd.models.operation import Operation
from ws4py.client import WebSocketBaseClient
from ws4py.exc import HandshakeError
from ws4py.messaging import Message

from common.errors import CheckFailedError, DeadlineError

_INSIDE = Path(__file__).with_name("inside.py")
# inside.py's.
Answer = dict[str, Any]
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Ran:
    """How a program in the container ended."""

    exit_code: int
    out: str
    err: str


class _EndedError(Exception):
    """The process in the container ended before it answered."""


class Programs:
    """Runs programs in a container, from any thread."""

    def __init__(self, client: pylxd.Client, name: str) -> None:
        self._client, self.name = client, name
        self._lock = threading.Lock()
        self._helper: _Helper | None = None

    def run(self, argv: Sequence[str], *, environment: Mapping[str, str], uid: int, timeout: float) -> Ran:
        """Run a program to its end, whatever its exit code.

        Raises:
            DeadlineError: it takes longer than `timeout` seconds.
            CheckFailedError: nothing can be run in the container, or that ended meanwhile.
        """
        with self._lock:
            if self._helper is None or self._helper.ended:
                self._helper = _Helper(self._client, self.name)
            helper = self._helper
        asked = helper.ask({"argv": list(argv), "environment": {"PATH": _PATH, **environment}, "uid": uid})
        try:
            answer = asked.result(timeout)
        except TimeoutError as err:
            what = f"{' '.join(argv)} did not finish in {timeout:g} s"
            raise DeadlineError(what, details=f"in container {self.name}") from err
        except _EndedError as err:
            with self._lock:
                details = helper.last_words()
            raise CheckFailedError(f"{argv[0]!r} cannot be run in {self.name}", details=details) from err
        return Ran(int(answer["exit_code"]), answer["out"], answer["err"])

    def forget(self) -> None:
        """The container has been switched off; what runs programs in it next is another process."""
        with self._lock:
            self._helper = None


class _Helper:
    """The process in the container, for as long as that runs."""

    def __init__(self, client: pylxd.Client, name: str) -> None:
        asked = {
            "command": ["python3", "-I", "-S", "-c", _INSIDE.read_text()], "environment": {"PATH": _PATH},
            "user": 0, "group": 0, "wait-for-websocket": True, "interactive": False,
        }  # fmt: skip
        started = client.api.instances[name].exec.post(json=asked).json()
        self._operation = client.api.operations[Operation.extract_operation_id(started["operation"])]
        self._asked: dict[int, Future[Answer]] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._unread = b""
        self._said = b""
        self.ended = False
        streams = started["metadata"]["metadata"]["fds"]
        path = self._operation.websocket._api_endpoint.partition("/1.0")[2]

        def connect(number: str, heard: Callable[[bytes], None], closed: Callable[[], None]) -> _Stream:
            return _Stream(client.websocket_url, f"/1.0{path}?secret={streams[number]}", heard, closed)

        self._stdin = connect("0", lambda _data: None, lambda: None)
        connect("1", self._hear, self._end)
        connect("2", self._note, lambda: None)

    def ask(self, request: Mapping[str, object]) -> Future[Answer]:
        """Have a program run; gives its answer in time, or an _EndedError."""
        future: Future[Answer] = Future()
        with self._lock:
            number = next(self._numbers)
            self._asked[number] = future
            line = json.dumps({"number": number, **request})
            try:
                self._stdin.send(f"{line}\n".encode(), binary=True)
            except (OSError, RuntimeError):  # ws4py raises the latter
                self.ended = True
            if self.ended:
                del self._asked[number]
                future.set_exception(_EndedError())
        return future

    def last_words(self) -> str:
        """What LXD, or the process itself, says of its end.

        Raises:
            LxdDiedError: it was LXD that ended.
        """
        state = self._operation.wait.get(params={"timeout": "10"}).json()["metadata"] or {}
        return "\n".join(word for word in (str(state.get("err") or ""), self._said.decode(errors="replace")) if word)

    def _hear(self, data: bytes) -> None:
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            answer = json.loads(line)
            with self._lock:
                future = self._asked.pop(answer.pop("number"))
            future.set_result(answer)

    def _note(self, data: bytes) -> None:
        self._said += data

    def _end(self) -> None:
        with self._lock:
            self.ended = True
            left, self._asked = self._asked, {}
        for future in left.values():
            future.set_exception(_EndedError())


class _Stream(WebSocketBaseClient):  # type: ignore[misc]  # ws4py has no types
    """One of the process's three streams; whatever comes is handed on by a thread of its own."""

    def __init__(self, url: str, resource: str, heard: Callable[[bytes], None], closed: Callable[[], None]) -> None:
        # LXD takes ws4py's Origin for a foreign one.
        super().__init__(url, exclude_headers=["origin"])
        self.resource = resource
        self._heard, self._closed = heard, closed
        try:
            self.connect()
        except (OSError, HandshakeError):
            self.close_connection()
            self.closed(1006)
            return
        threading.Thread(target=self.run, daemon=True).start()

    def received_message(self, message: Message) -> None:
        """Hand on what came; nothing means the end."""
        if message.data:
            self._heard(message.data)
        else:
            self._closed()

    def closed(self, code: int, reason: str | None = None) -> None:  # noqa: ARG002, as ws4py calls it
        """The other side is gone."""
        self._closed()

    def close_connection(self) -> None:
        """Close the socket, also where ws4py would not: what cannot be shut down any more."""
        sock = self.sock  # type: ignore[has-type]
        self.sock = None
        if sock:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def unhandled_error(self, error: Exception) -> None:
        """The other side is gone without a word; `closed` is called next."""
