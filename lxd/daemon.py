"""An LXD or Incus to boot images in: one that runs, inside a project of ours, or one of our own that dies with us."""

import contextlib
import socket
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pylxd

from common.errors import LxdUnavailableError, UsageError
from common.files import ROOT
from common.mirror import native_arch
from lxd import emulator, own, project
from lxd.client import ANSWER_TIMEOUT, NO_ANSWER, connect, listens, translated
from lxd.network import Network, listen_in
from lxd.servers import Server

CACHE = ROOT / "out" / "cache"


@dataclass(frozen=True)
class Lxd:
    """An LXD daemon (or Incus: see `server`) and our project in it.

    Attributes:
        directory: its LXD_DIR, as other programs of this machine reach it while we run (short, whatever it is really).
        project: ours; nothing outside it is touched.
        own: whether it is our own, started for us alone.
        network: what its containers are on; None for a daemon that pulls images.
        server: which of the two it is.
        machine: the emulated one it runs in, if it does.
    """

    directory: Path
    project: str
    own: bool
    network: Network | None
    server: Server = Server.LXD
    machine: emulator.Machine | None = None

    def share(self, folder: Path) -> None:
        """Have what is in a directory now there where the daemon is too: for devices that mount it."""
        if self.machine:
            self.machine.copy(folder)

    @property
    def gateway(self) -> str:
        """The host's address on the containers' bridge; `listen` has sockets there."""
        return self._network.gateway

    def listen(self, port: int = 0) -> socket.socket:
        """A listening socket that containers reach at `gateway`; see Network.listen."""
        return self._network.listen(port)

    @property
    def _network(self) -> Network:
        if self.network is None:
            raise LxdUnavailableError("containers of an LXD that pulls images have no network here")
        return self.network

    def connect(self) -> pylxd.Client:
        """A client that sees the project only. Not to be shared between threads."""
        return connect(self.directory, project=self.project, timeout=ANSWER_TIMEOUT * self.patience)

    @property
    def patience(self) -> float:
        """How much longer than usual things may take there: for common.waiting.patient."""
        return emulator.PATIENCE if self.machine else 1.0


@contextlib.contextmanager
def lxd(
    *,
    server: Server = Server.LXD,
    arch: str | None = None,
    directories: Sequence[Path] | None = None,
    parent: Path | None = None,
    certificates: Path | None = None,
) -> Iterator[Lxd]:
    """An LXD for as long as the `with` lasts, with an empty project of ours in it.

    Our own daemon is bound to the thread that enters here: both end together, however that happens.

    Args:
        server: which of the two.
        arch: of the containers; where those do not run here, an LXD in an emulated machine is started.
        directories: the LXD_DIRs where one may be running already; the usual ones when None.
        parent: where our own daemon keeps its files (on a disk); the temporary directory when None.
        certificates: a CA list, for image servers of this machine that our own daemon pulls from. It shares this
            machine's network then, and its containers have none.

    Raises:
        LxdUnavailableError: none runs, and none can be started.
        ToolMissingError: no Incus runs, and it is not installed.
        LxdDiedError: it went away while it was used.
        DeadlineError: it did not answer in time.
        CommandError, DiskFullError: it refused something, with its own words.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(translated())
        if arch and arch != native_arch():
            yield stack.enter_context(_emulated(server, arch, parent or Path(tempfile.gettempdir())))
            return
        places = server.kind.usual if directories is None else directories
        running = next((directory for directory in places if _usable(directory)), None)
        if running:
            ours = stack.enter_context(project.ours(running))
            yield Lxd(running, ours.name, own=False, network=ours.network, server=server)
            return
        started = stack.enter_context(own.daemon(parent or Path(tempfile.gettempdir()), certificates, server=server))
        listen_at = listen_in(started.namespace) if started.namespace else None
        ours = stack.enter_context(project.ours(started.directory, disposable=True, listen_at=listen_at))
        yield Lxd(started.directory, ours.name, own=True, network=ours.network, server=server)


@contextlib.contextmanager
def _emulated(server: Server, arch: str, parent: Path) -> Iterator[Lxd]:
    if server is not Server.LXD:
        raise UsageError(
            f"there is no {server.kind.title} in an emulated machine of {arch!r}", hint="leave --server out"
        )
    with contextlib.ExitStack() as stack:
        machine = stack.enter_context(emulator.machine(arch, parent, CACHE))
        ours = stack.enter_context(project.ours(machine.directory, disposable=True, listen_at=machine.listen))
        yield Lxd(machine.directory, ours.name, own=True, network=ours.network, machine=machine)


def _usable(directory: Path) -> bool:
    """Whether an LXD that has a storage pool answers there."""
    if not listens(directory):
        return False
    try:
        return bool(connect(directory, timeout=own.START_TIMEOUT).api.storage_pools.get().json()["metadata"])
    except NO_ANSWER:
        return False
