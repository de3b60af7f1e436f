"""Ways in which a container can be broken (damages.toml), done and undone."""

import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lxd import host
from lxd.checks import CHECKS, Check, Guest, Situation

_WORDS = f"""
user={host.USER} home=/home/{host.USER} mocks=/run/user/{host.UID}/cros-mocks host={host.HOST_PROGRAMS}
units=/usr/lib/systemd/user sources=/etc/apt/sources.list.d
userctl() {{
    setpriv --reuid={host.UID} --regid={host.UID} --clear-groups \\
        env XDG_RUNTIME_DIR=/run/user/{host.UID} systemctl --user "$@"
}}
"""
# What was there is kept in memory, with its owners, modes and capabilities; what was not is remembered.
_SAVE = """
save() {
    for path; do
        mkdir -p "/run/saved${path%/*}"
        if [ -e "$path" ] || [ -L "$path" ]; then cp -a "$path" "/run/saved$path"; else echo "$path" >>/run/added; fi
    done
}
"""
_RESTORE = """
[ ! -e /run/added ] || xargs rm -rf </run/added
if [ -d /run/saved ]; then
    cd /run/saved
    find . -mindepth 1 ! -type d -exec rm -rf '/{}' ';' -exec cp -a --parents '{}' / ';'
fi
rm -rf /run/saved /run/added
systemctl daemon-reload
"""


@dataclass(frozen=True)
class Damage:
    """One way to break a container, for one check.

    Attributes:
        check: its name.
        situation: where it is run.
        script: breaks it; empty where the situation itself is wrong for the check.
        words: what the failure says.
        undo: what has to be done besides putting files back.
    """

    check: str
    situation: Situation
    script: str
    words: tuple[str, ...]
    undo: str = ""

    def __str__(self) -> str:
        """For the test's name."""
        return f"{self.check}-{re.sub('[^a-z0-9]+', '-', self.words[0].lower()).strip('-')}"

    @contextmanager
    def done(self, guest: Guest) -> Iterator[Check]:
        """The container is broken so for as long as the `with` lasts."""
        try:
            guest.root.get(["sh", "-euc", _WORDS + _SAVE + self.script])
            yield next(check for check in CHECKS if check.name == self.check)
        finally:
            guest.root.get(["sh", "-euc", _WORDS + _RESTORE + self.undo])


def _read() -> list[Damage]:
    tables = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())["damages"]
    return [
        Damage(
            check=table["check"],
            situation=Situation(table["situation"]),
            script=table.get("script", ""),
            words=tuple(table["words"]),
            undo=table.get("undo", ""),
        )
        for table in tables
    ]


DAMAGES = _read()
# Checks that are seen red in test_tracks.py, where the image is broken before it boots, and in tests of their own in
# test_checks.py.
ELSEWHERE = {
    "system-boots", "user-made", "starts-in-time", "apt-refuses-what-was-changed", "stops-cleanly", "starts-again",
    "journal-is-kept", "no-unit-failed-at-the-end",
}  # fmt: skip
