"""How we talk to LXD: pylxd over a unix socket, its failures as our errors."""

import contextlib
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pylxd
import requests
from pylxd.exceptions import ClientConnectionFailed, LXDAPIException

from common.errors import CommandError, DeadlineError, DiskFullError, LxdDiedError
from lxd.unixsocket import UnixAdapter

# The longest answer: unpacking a big image on a slow disk. Seconds.
ANSWER_TIMEOUT = 300.0
# What a call raises when nobody answers.
NO_ANSWER = (ClientConnectionFailed, requests.exceptions.RequestException)


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """The one place where what pylxd and requests raise becomes our errors."""
    try:
        yield
    except (requests.exceptions.ReadTimeout, requests.exceptions.ConnectTimeout) as err:
        raise DeadlineError(
            f"LXD did not answer: {err}", hint="is the machine overloaded? run the command again"
        ) from err
    except (
        requests.exceptions.ConnectionError,
        requests.exceptions.ChunkedEncodingError,
        ClientConnectionFailed,
    ) as err:
        raise LxdDiedError(
            "the LXD daemon went away while it was used", details=str(err), hint="run the same command again"
        ) from err
    except LXDAPIException as err:
        if re.search(r"no space left on device|disk quota exceeded", str(err), re.IGNORECASE):
            raise DiskFullError(
                "no space left on the disk that LXD uses", details=str(err), hint="free some space"
            ) from err
        raise CommandError(f"LXD refused: {err}") from err


def connect(directory: Path, *, project: str | None = None, timeout: float = ANSWER_TIMEOUT) -> pylxd.Client:
    """A client of the LXD whose LXD_DIR is `directory`, that sees `project` only. Not to be shared between threads."""
    path = directory / "unix.socket"
    session = requests.Session()
    session.mount("http+unix://", UnixAdapter(path))
    session.headers["Connection"] = "close"  # pylxd closes no connection itself
    return pylxd.Client(
        endpoint=f"http+unix://{quote(str(path), safe='')}", timeout=timeout, project=project, session=session
    )


def listens(directory: Path) -> bool:
    """Whether some daemon listens on the socket of this LXD_DIR."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(directory / "unix.socket"))
        except OSError:
            return False
        return True


def wait_for(client: pylxd.Client, answer: requests.Response) -> None:
    """Wait for the operation that a call started."""
    client.operations.wait_for_operation(answer.json()["operation"])
