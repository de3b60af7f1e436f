"""Where Debian packages come from: the mirror this machine's own apt uses, and the suites of a release on it."""

from dataclasses import dataclass
from pathlib import Path

import requests

from common import tools
from common.errors import ConfigError, NetworkError

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_HINT = "add a Debian entry to /etc/apt/sources.list.d (deb822 or one-line), then run apt-get update"


def native_arch() -> str:
    """This machine's architecture, in Debian's word."""
    return tools.capture(["dpkg", "--print-architecture"]).strip()


@dataclass(frozen=True)
class Mirror:
    """The URIs of Debian's archive and of its security archive, without a final slash."""

    archive: str
    security: str

    @classmethod
    def of_this_machine(cls) -> "Mirror":
        """Ask apt for its own sources.

        Raises:
            ConfigError: no source looks like Debian's archive.
        """
        listed = tools.capture(["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"])
        uris = [line.rstrip("/") for line in listed.splitlines()]
        archive = next((uri for uri in uris if uri.endswith("/debian")), None)
        if archive is None:
            raise ConfigError("this machine's apt has no source that ends in /debian", hint=_HINT)
        security = next((uri for uri in uris if uri.endswith("-security")), f"{archive}-security")
        return cls(archive, security)

    def suites(self, release: str) -> list[tuple[str, str]]:
        """The suites of a release as (URI, suite): itself, its updates, its security archive."""
        return [
            (self.archive, release),
            (self.archive, f"{release}-updates"),
            (self.security, f"{release}-security"),
        ]

    def has(self, release: str, component: str, arch: str) -> bool:
        """Whether it has a component of a release: mirrors may leave non-free out.

        Raises:
            NetworkError: it does not answer.
        """
        url = f"{self.archive}/dists/{release}/{component}/binary-{arch}/Release"
        try:
            return requests.head(url, timeout=60, allow_redirects=True).ok
        except requests.RequestException as err:
            raise NetworkError(f"the Debian mirror does not answer: {err}", hint="./run invoke doctor") from err

    def source(self, release: str, component: str) -> str:
        """A component of a release, without its updates, as a one-line apt source."""
        return f"deb [signed-by={KEYRING}] {self.archive} {release} {component}"

    def sources(self, release: str) -> list[str]:
        """The same as one-line apt sources, trusted through Debian's own keyring."""
        return [f"deb [signed-by={KEYRING}] {uri} {suite} main" for uri, suite in self.suites(release)]
