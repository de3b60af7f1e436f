"""Runs in the container, with its python3 alone: prints as JSON the files that give rights away, path -> what it is."""

import contextlib
import grp
import json
import os
import pwd
import stat
from collections.abc import Iterator

# Where everybody may make files, and what is only there while the container runs.
TEMPORARY = ("/tmp", "/var/tmp", "/home", "/var/log/journal")
CAPABILITIES = "security.capability"


def files(top: str) -> Iterator[tuple[str, os.stat_result]]:
    """Every file and directory of the root file system, and where others are mounted on it, but not what they have."""
    device = os.lstat(top).st_dev
    waiting = [top]
    while waiting:
        place = waiting.pop()
        with contextlib.suppress(FileNotFoundError):  # the system is at work meanwhile
            about = os.lstat(place)
            # Sockets and pipes are made by what runs, not by who built the image.
            made = stat.S_ISSOCK(about.st_mode) or stat.S_ISFIFO(about.st_mode)
            if (stat.S_ISDIR(about.st_mode) or about.st_dev == device) and not made:
                yield place, about
            if stat.S_ISDIR(about.st_mode) and about.st_dev == device and place not in TEMPORARY:
                waiting += (entry.path for entry in os.scandir(place))


def name_of(number: int, names: dict[int, str]) -> str:
    """The name, or the number of an owner that has none: then it is the build machine's."""
    return names.get(number, str(number))


def main() -> None:
    """Print what gives rights away, and what belongs to nobody that is known."""
    users = {entry.pw_uid: entry.pw_name for entry in pwd.getpwall()}
    groups = {entry.gr_gid: entry.gr_name for entry in grp.getgrall()}
    found = {}
    for path, about in files("/"):
        mode, plain = stat.S_IMODE(about.st_mode), stat.S_ISREG(about.st_mode)
        capabilities = ""
        if plain:
            with contextlib.suppress(OSError):
                # Without revision and flags: 32 bits permitted and 32 inheritable, twice, the least significant first.
                data = os.getxattr(path, CAPABILITIES)
                mask = int.from_bytes(data[4:8], "little") | int.from_bytes(data[12:16], "little") << 32
                capabilities = f" capabilities={mask:#x}"
        known = about.st_uid in users and about.st_gid in groups
        gives = bool(mode & stat.S_IWOTH) and not stat.S_ISLNK(about.st_mode)
        if capabilities or gives or not known or (plain and mode & (stat.S_ISUID | stat.S_ISGID)):
            owner = f"{name_of(about.st_uid, users)}:{name_of(about.st_gid, groups)}"
            found[path] = f"{stat.filemode(about.st_mode)[0]} {mode:04o} {owner}{capabilities}"
    print(json.dumps(found, indent=0, sort_keys=True))


if __name__ == "__main__":
    main()
