"""apt: installs from the milestone's repository, and refuses it where its signature does not fit."""

import re
import shlex
from collections.abc import Collection

from common.errors import CheckFailedError, DeadlineError
from common.waiting import wait_until
from lxd.checks.base import Guest, Situation, check, fail_for
from lxd.programs import Ran
from lxd.repository import Kind

# Small, and without dependencies: Chrome OS's own tests install it to see the launcher follow.
PACKAGE = "cros-tast-tests"
# Ours that do something when they are installed: they have to be able to do it with the host's programs in place.
WITH_SCRIPTS = ("cros-apt-config", "cros-garcon", "cros-sommelier-config", "cros-ui-config")
INSTALLED = "/usr/share/applications/x11_demo.desktop"
TRIGGER = "/usr/share/applications/.garcon_trigger"
KEYRING = "/usr/share/keyrings/cros-archive-keyring.gpg"
PRIORITY = "995"  # of cros-apt-config's preferences
TIMEOUT = 300.0  # seconds
# How long the path unit may take to see what the host has written; seconds.
BIND_TIMEOUT = 60.0
# An apt that knows one source and nothing else, with the image's keyring, preferences and settings. Its folders have to
# be open to the user _apt.
_PREPARE = """
place=$(mktemp -d /var/tmp/apt.XXXXXX); chmod 755 $place; mkdir -p $place/lists/partial $place/cache/archives/partial
echo {source} >$place/one.list
apt() {{
    DEBIAN_FRONTEND=noninteractive apt-get --quiet --yes -o Dir::Etc::SourceList=$place/one.list \
        -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists=$place/lists -o Dir::Cache=$place/cache \
        -o Acquire::Retries=0 -o DPkg::Lock::Timeout=120 -o DPkg::Options::=--force-unsafe-io "$@"
}}
"""


@check(Situation.HOST)
def hosts_source_is_bound(guest: Guest) -> None:
    """The apt source that the host writes, without a key, is bound to ours as soon as it is there."""
    path = "/etc/apt/sources.list.d/cros.list"
    before = guest.root.get(["cat", path])
    write = ["sh", "-euc", 'printf %s "$2" >"$1"', "sh", path]
    source = "https://storage.example/cros-packages/72 bookworm main"
    guest.root.get([*write, f"deb {source}\n"])
    found = ""

    def bound() -> bool:
        nonlocal found
        found = guest.root.get(["cat", path]).strip()
        return found == f"deb [signed-by={KEYRING}] {source}"

    try:
        wait_until(bound, f"{path} to be bound", timeout=BIND_TIMEOUT)
    except DeadlineError as err:
        journal = guest.root.journal("cros-bind-keyring.service", "cros-bind-keyring.path")
        raise CheckFailedError(f"{path} still is {found!r}, without a key", details=journal) from err
    finally:
        guest.root.get([*write, before])


def _lacking(guest: Guest) -> str:
    return "" if guest.run.repository else "no --repository was given"


def _script(guest: Guest, kind: Kind, then: str) -> str:
    source = f"deb [signed-by={KEYRING}] {guest.run.url}/{kind} {guest.about.release} main"
    return _PREPARE.format(source=shlex.quote(source)) + then + "\nrm -r $place\nexit $code\n"


@check(Situation.GPU, alone=True, lacking=_lacking)
def apt_installs(guest: Guest) -> None:
    """apt takes the milestone's repository with the image's own key, prefers it, installs and updates from it."""
    then = f"""
code=0
touch --date=@1 {TRIGGER}
apt update --error-on=any || code=10
rm -f /var/lib/man-db/auto-update  # to index manual pages takes longer than everything else
[ $code != 0 ] || apt install --reinstall {PACKAGE} {" ".join(WITH_SCRIPTS)} || code=11
apt-cache -o Dir::Etc::SourceList=$place/one.list -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::State::Lists=$place/lists -o Dir::Cache=$place/cache policy {PACKAGE}
[ $code != 0 ] || [ -e {INSTALLED} ] || code=12
[ $code != 0 ] || [ $(stat --format=%Y {TRIGGER}) != 1 ] || code=13
[ $code = 10 ] || dpkg --purge {PACKAGE} >/dev/null 2>&1
"""
    ran = guest.root.run(["sh", "-c", _script(guest, Kind.SIGNED, then)], timeout=TIMEOUT)
    wrong = {
        0: [],
        10: [f"apt does not take the repository with {KEYRING}"],
        11: [f"apt does not install {_broken(ran.out + ran.err) or PACKAGE}"],
        12: [f"{PACKAGE} is installed, but there is no {INSTALLED}"],
        13: [f"dpkg did not touch {TRIGGER}, so garcon does not hear of new applications"],
    }.get(ran.exit_code, [f"apt ended with {ran.exit_code}"])
    if not wrong and f" {PRIORITY}" not in ran.out:
        wrong = [f"{PACKAGE} of the repository has not the priority {PRIORITY}"]
    fail_for(wrong, details=ran.out + ran.err, hint="the key, the preferences and the hook are cros-apt-config's")


def _broken(said: str) -> str:
    """The packages that dpkg could not configure or unpack, from what it said."""
    return ", ".join(sorted(set(re.findall(r"^dpkg: error processing (?:package|archive) (\S+)", said, re.MULTILINE))))


@check(Situation.GPU, lacking=_lacking)
def apt_refuses_what_was_changed(guest: Guest) -> None:
    """apt refuses a repository of which one byte was changed: of the signed index, of a list, of a package."""
    update = "apt update --error-on=any 2>&1; code=$?"
    install = f"apt update --error-on=any 2>&1 && apt install {PACKAGE} 2>&1; code=$?"
    answers = guest.root.ask(
        {
            Kind.OTHER_RELEASE: _script(guest, Kind.OTHER_RELEASE, update),
            Kind.OTHER_INDEX: _script(guest, Kind.OTHER_INDEX, update),
            Kind.OTHER_PACKAGE: _script(guest, Kind.OTHER_PACKAGE, install),
            "a wrong key": _script(guest, Kind.SIGNED, update).replace(
                KEYRING, "/usr/share/keyrings/debian-archive-keyring.gpg"
            ),
        },
        timeout=TIMEOUT,
    )
    # As gpgv says it, and as trixie's sqv does.
    reasons = {
        Kind.OTHER_RELEASE: ("a changed InRelease", ("BADSIG", "Message has been manipulated")),
        Kind.OTHER_INDEX: ("a changed list of packages", ("Hash Sum mismatch",)),
        Kind.OTHER_PACKAGE: ("a changed package", ("Hash Sum mismatch",)),
        "a wrong key": ("a repository signed with another key", ("NO_PUBKEY", "Missing key")),
    }
    fail_for(
        [phrase for kind, (what, why) in reasons.items() if (phrase := _not_refused(answers[kind], what, why))],
        details="\n".join(answer.out for answer in answers.values()),
    )


def _not_refused(answer: Ran, what: str, why: Collection[str]) -> str:
    if answer.exit_code == 0:
        return f"apt takes {what}"
    return "" if any(word in answer.out for word in why) else f"apt refuses {what}, but not for {' or '.join(why)}"
