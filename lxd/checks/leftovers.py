"""Nothing of the image's build is left in it, and the host's places are as the host wants to find them."""

import shlex

from common.milestones import url_of
from lxd import guest as image
from lxd import host
from lxd.checks.base import Guest, Situation, check, difference, fail_for

# Shell scripts that print what must not be there, by what it is. $boot is when this container's systemd was started:
# whatever is older came with the image.
_LEFTOVERS = {
    "package lists": "find /var/lib/apt/lists -type f ! -name lock",
    "downloaded packages": "find /var/cache/apt -type f ! -name lock",
    "policy-rc.d": "find /usr/sbin/policy-rc.d",
    "logs": 'find /var/log -type f ! -newermt "$boot"',
    "temporary files": 'find /tmp /var/tmp /var/crash -mindepth 1 ! -newermt "$boot"',
    "files of root's": "find /root -type f ! -name .bashrc ! -name .profile",
    "homes": "find /home -mindepth 1 -maxdepth 1",
    "host keys of sshd": "find /etc/ssh -name 'ssh_host_*'",
    "apt settings of the build": "find /etc/apt/apt.conf.d/99mmdebstrap /etc/apt/preferences.d/cros-build",
    "half-done updates": r"find /etc /usr /var/lib/dpkg \( -name '*.dpkg-*' -o -name '*.ucf-*' \) -type f",
    "names of other machines": "find /etc/mailname /etc/.resolv.conf.systemd-resolved.bak /var/lib/dhcp -type f",
}
_MAX_NAMES = 20


@check(Situation.BARE)
def nothing_left_behind(guest: Guest) -> None:
    """Nothing of the image's build is left: package lists, archives, logs, policy-rc.d, keys, temporary files."""
    boot = "boot=$(systemctl show --value --property=UserspaceTimestamp); "
    answers = guest.root.ask({what: f"{boot}{script} 2>/dev/null" for what, script in _LEFTOVERS.items()})
    left = {what: answer.out.split() for what, answer in answers.items() if answer.out.strip()}
    fail_for(
        [f"{len(paths)} {what} are left in the image, as {paths[0]}" for what, paths in left.items()],
        details="\n".join(path for paths in left.values() for path in paths[:_MAX_NAMES]),
    )


@check(Situation.BARE)
def resolver_is_its_own(guest: Guest) -> None:
    """/etc/resolv.conf is systemd-resolved's, not the build machine's."""
    links = {"/etc/resolv.conf": "../run/systemd/resolve/stub-resolv.conf"}
    found = {path: guest.root.run(["readlink", path]).out.strip() for path in links}
    fail_for(difference(found, links), hint="lxd/finish.sh makes the link")


@check(Situation.BARE)
def host_places_are_empty(guest: Guest) -> None:
    """/opt/google/cros-containers is an empty directory until the host mounts its programs there."""
    listed = guest.root.run(["find", "/opt/google", "-printf", "%y %p\\n"]).out.splitlines()
    wanted = ["d /opt/google", f"d {host.HOST_PROGRAMS}"]
    fail_for(
        [f"{line.split(' ', 1)[1]} is in the image" for line in listed if line not in wanted]
        + [f"{line.split(' ', 1)[1]} is no directory" for line in wanted if line not in listed]
    )


@check(Situation.BARE)
def apt_sources_are_live(guest: Guest) -> None:
    """apt knows Debian and the live repository of the milestone, each with its own key, and no other source."""
    answers = guest.root.ask(
        {
            "sources": "find /etc/apt/sources.list /etc/apt/sources.list.d -type f",
            "cros": "cat /etc/apt/sources.list.d/cros.list",
            "unsigned": "grep -rLiE 'signed-by' /etc/apt/sources.list.d",
            "odd": "grep -rniE 'staging|trusted=|trusted:|copy:|file:|allow-insecure' /etc/apt --include=*.list "
            "--include=*.sources --include=*.conf --include=[0-9]*",
            "keys": "find /etc/apt/trusted.gpg /etc/apt/trusted.gpg.d -type f ! -name 'debian-archive-*'",
            "fetched": "apt-get update --print-uris",
        }
    )
    said = {name: answer.out.strip() for name, answer in answers.items()}
    wrong = []
    sources = {"/etc/apt/sources.list.d/cros.list", "/etc/apt/sources.list.d/debian.sources"}
    known = set(said["sources"].split())
    wrong += [f"{path} is an apt source" for path in sorted(known - sources)]
    wrong += [f"{path} is missing" for path in sorted(sources - known)]
    wrong += [f"{path} names no key" for path in said["unsigned"].split()]
    wrong += [f"apt's settings have {line!r}" for line in said["odd"].splitlines()]
    wrong += [f"{path} is trusted for every repository" for path in said["keys"].split()]
    if guest.about.milestone.isdecimal() and guest.about.release:
        line = f"{url_of(image.LIVE, int(guest.about.milestone))} {guest.about.release} main"
        if not said["cros"].startswith("deb [signed-by=/") or not said["cros"].endswith(f"] {line}"):
            wrong.append(f"cros.list is {said['cros']!r}, not the source {shlex.quote(line)}")
    if answers["fetched"].exit_code != 0 or not said["fetched"]:
        wrong.append(f"apt does not understand its sources: {answers['fetched'].err.strip() or 'there are none'}")
    fail_for(wrong, hint="lxd/guest.py has the image's sources")
