"""What lies in the image: our packages as they were built, and no file that gives rights away unseen."""

import fnmatch
import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from common.errors import CheckFailedError
from lxd.about import About
from lxd.checks.base import Guest, Situation, check, fail_for

REVIEWED = Path(__file__).parent.parent / "reviewed.toml"
SCAN = Path(__file__).with_name("scan.py")
# Each image type has everything of the ones before it.
TYPES = ("default", "test", "app_test")
# What cros-guest-tools brings in every release; the others depend on it.
PACKAGES = (
    "cros-adapta", "cros-apt-config", "cros-garcon", "cros-gpu", "cros-guest-tools", "cros-host-fonts", "cros-logging",
    "cros-motd", "cros-notificationd", "cros-sftp", "cros-sommelier", "cros-sommelier-config", "cros-sudo-config",
    "cros-systemd-overrides", "cros-ui-config", "cros-vmstat-metrics", "cros-wayland",
)  # fmt: skip
SOUND = {"bullseye": "cros-pulse-config"}
_NEWER_SOUND = "cros-pipe-config"
# sudo reads nothing that others may read or its owner may write.
_MODES = {"/etc/sudoers.d/10-cros-nopasswd": "440"}
_PROGRAMS = ("/usr/bin/", "/usr/libexec/")
_OURS = "dpkg-query --show --showformat='${db:Status-Abbrev} ${Package}\\n' 'cros-*'"
_NAMES = f"$({_OURS} | sed -n 's/^ii *//p')"


@check(Situation.BARE)
def packages_are_complete(guest: Guest) -> None:
    """Our packages are all installed, and dpkg has no package half done."""
    answers = guest.root.ask(
        {
            "ours": _OURS,
            "audit": "dpkg --audit",
            "states": "dpkg-query --show --showformat='${db:Status-Abbrev} ${Package}\\n' | grep -v '^ii '",
        }
    )
    installed = {words[1] for line in answers["ours"].out.splitlines() if (words := line.split())[0] == "ii"}
    sound = SOUND.get(guest.about.release, _NEWER_SOUND)
    wrong = [f"{name} is not installed" for name in (*PACKAGES, sound) if name not in installed]
    wrong += [f"{line.split()[1]} is {line.split()[0]!r} to dpkg" for line in answers["states"].out.splitlines()]
    if answers["audit"].out.strip():
        wrong.append("dpkg --audit complains")
    fail_for(wrong, details=answers["audit"].out)


@check(Situation.BARE)
def our_files_are_intact(guest: Guest) -> None:
    """Every file of our packages is there as it was built, root's, and with the mode it should have."""
    answers = guest.root.ask(
        {
            "sums": f"dpkg --verify {_NAMES}",
            "modes": f"dpkg-query --listfiles {_NAMES} | grep '^/' | sort --unique "
            "| xargs -d '\\n' stat --format '%F|%a|%U:%G|%n'",
            "alone": r"find /etc /usr/lib/systemd -path '*cros*' \( -name '*.dpkg-*' -o -name '*~' \)",
        }
    )
    wrong = [_verified(line) for line in answers["sums"].out.splitlines()]
    wrong += list(_wrong_modes(answers["modes"].out))
    # stat names what is not there, and so does dpkg --verify.
    wrong += [f"{path} is left of an update" for path in answers["alone"].out.split()]
    if not answers["modes"].out:
        wrong.append("none of our packages is installed")
    fail_for(wrong, hint="what the packages have is in debs/")


def _verified(line: str) -> str:
    """A line of dpkg --verify, `??5?????? c /etc/file` or `missing /etc/file`, in words."""
    what, path = line.split(" ", 1)[0], line.split("/", 1)[-1]
    return f"/{path} is missing" if what == "missing" else f"/{path} has another content than its package"


def _wrong_modes(listed: str) -> Iterator[str]:
    """What is wrong in lines of `kind|mode|owner|path`."""
    for line in listed.splitlines():
        kind, mode, owner, path = line.split("|", 3)
        if not kind.startswith("regular"):
            continue
        wanted = _MODES.get(path, "755" if path.startswith(_PROGRAMS) else "644")
        if mode != wanted:
            yield f"{path} has the mode {mode}, not {wanted}"
        if owner != "root:root":
            yield f"{path} belongs to {owner}, not root:root"


@check(Situation.BARE)
def rights_are_reviewed(guest: Guest) -> None:
    """Set-user-id programs, capabilities and what everybody may write to are those of lxd/reviewed.toml."""
    found = json.loads(guest.root.get(["python3", "-c", SCAN.read_text()], timeout=120))
    fail_for(
        list(surprises(found, reviewed(guest.about))),
        hint="where it has to be so, say why in lxd/reviewed.toml",
    )


def reviewed(about: About) -> dict[str, str]:
    """The reviewed files of such an image, path pattern -> what it is.

    Raises:
        CheckFailedError: nobody has looked at an image of that release.
    """
    tables = tomllib.loads(REVIEWED.read_text())
    if about.release not in tables:
        raise CheckFailedError(
            f"{REVIEWED.name} knows no release {about.release!r}", hint="the image's metadata has to name its release"
        )
    types = TYPES[: TYPES.index(about.type) + 1] if about.type in TYPES else ()
    names = ["everywhere", about.release, *types, *(f"{each}-{about.release}" for each in types)]
    return {path: what for name in names for path, what in tables.get(name, {}).items()}


def surprises(found: Mapping[str, str], wanted: Mapping[str, str]) -> Iterator[str]:
    """What is in the image and not reviewed, or reviewed as something else, or reviewed and not there."""
    for path, what in found.items():
        pattern = next((pattern for pattern in wanted if matches(path, pattern)), "")
        if not pattern:
            yield f"{path} is {what!r}, which nobody has reviewed"
        elif wanted[pattern] != what:
            yield f"{path} is {what!r}, not {wanted[pattern]!r}"
    for pattern, what in wanted.items():
        if not any(matches(path, pattern) for path in found):
            yield f"{pattern} is not {what!r}"


def matches(path: str, pattern: str) -> bool:
    """Whether a path is meant by a pattern: a * stands for anything but a slash."""
    return path.count("/") == pattern.count("/") and fnmatch.fnmatchcase(path, pattern)
