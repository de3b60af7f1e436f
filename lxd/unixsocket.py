"""HTTP over a unix socket, for requests: pylxd's own adapter leaves a socket open that nobody listened on."""

import socket
from pathlib import Path

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError


class UnixAdapter(HTTPAdapter):
    """All requests go to the server that listens on `path`, whatever host their address names."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._pool = _Pool(path)

    def get_connection_with_tls_context(self, *_request: object, **_settings: object) -> urllib3.HTTPConnectionPool:
        """The connections to the one server."""
        return self._pool

    def request_url(self, request: requests.PreparedRequest, _proxies: object) -> str:
        """The path alone: there is no proxy to a unix socket."""
        return request.path_url

    def close(self) -> None:
        """Close what connections are left."""
        self._pool.close()
        super().close()


class _Pool(urllib3.HTTPConnectionPool):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def _new_conn(self) -> urllib3.connection.HTTPConnection:
        return _Connection(self._path)


class _Connection(urllib3.connection.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def _new_conn(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        try:
            client.settimeout(self.timeout)
            client.connect(str(self._path))
        except TimeoutError as err:
            client.close()
            raise ConnectTimeoutError(self, f"{self._path} did not take a connection") from err
        except OSError as err:
            client.close()
            raise NewConnectionError(self, f"{self._path}: {err}") from err
        return client
