"""Images that are broken in one way each (mutants.toml), and what the checks have to say of them."""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common import tools
from lxd import host
from lxd.checks import CHECKS
from lxd.container import Container
from lxd.own import POOL
from lxd.report import Outcome
from lxd.servers import Server
from tests.lxd.daemons import pid_of

MUTANTS_TOML = Path(__file__).with_name("mutants.toml")
_KEYS = ("name", "script", "caught", "also")
_WORDS = f"""
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
units=/usr/lib/systemd/user wants=$units/default.target.wants sources=/etc/apt/sources.list.d
keyring=/usr/share/keyrings/cros-archive-keyring.gpg host={host.HOST_PROGRAMS}
"""
# With this machine's /dev in it for as long as that takes: programs write to /dev/null.
_INSIDE = 'mount --bind /dev "$1/dev"; exec chroot "$1" sh -euc "$2"'

# Notices whatever is changed in a file of our packages.
_WATCHES_ALL = "our-files-are-intact"
ANY = "*"


@dataclass(frozen=True)
class Mutant:
    """One way to break an image; see the comments of mutants.toml."""

    name: str
    script: str
    caught: Mapping[str, str]
    also: Sequence[str]

    def __str__(self) -> str:
        """For the test's name."""
        return self.name

    def damage(self, container: Container, parent: Path, project: str) -> None:
        """Break a container that has not been started, of the daemon whose files are below `parent`."""
        # As the daemon sees it, in its own mount namespace.
        pool = Server.LXD.kind.home / "storage-pools" / POOL
        root = pool / "containers" / f"{project}_{container.name}" / "rootfs"
        inside: list[tools.Arg] = ["unshare", "--mount", "sh", "-euc", _INSIDE, "sh", root, _WORDS + self.script]
        tools.run(["nsenter", f"--target={pid_of(parent)}", "--mount", *inside])

    def unlike(self, outcomes: Sequence[Outcome]) -> Iterator[str]:
        """What the checks should have found and have not, and what they should not have."""
        failures: dict[str, str] = {}  # of all situations
        for outcome in outcomes:
            if outcome.failure:
                failures[outcome.name] = f"{failures.get(outcome.name, '')}{outcome.failure}\n"
        for check, words in self.caught.items():
            if check not in failures:
                yield f"{check} does not notice"
            elif not re.search(words, failures[check], re.DOTALL):
                yield f"{check} does not say {words!r}: {failures[check]}"
        if ANY not in self.also:
            expected = {*self.caught, *self.also, _WATCHES_ALL}
            yield from (f"{check} fails, too: {said}" for check, said in failures.items() if check not in expected)


def _mutants() -> Iterator[Mutant]:
    known = {check.name for check in CHECKS}
    for each in tomllib.loads(MUTANTS_TOML.read_text())["mutants"]:
        mutant = Mutant(each["name"], each["script"], each["caught"], each.get("also", ()))
        unknown = ({*mutant.caught, *mutant.also} - known - {ANY}) | (each.keys() - set(_KEYS))
        assert not unknown, f"mutant {mutant}: {unknown} is nothing that exists"
        assert mutant.caught, f"mutant {mutant} is to be caught by nothing"
        yield mutant


MUTANTS = tuple(_mutants())
