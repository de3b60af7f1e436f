"""What differs between Debian releases, read from releases.toml and checked."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from common.errors import ConfigError, UsageError

DEBS = Path(__file__).resolve().parent
TABLE = DEBS / "releases.toml"
_FIELDS = {"debian": int, "variants": list, "without": list, "moves": dict, "substvars": dict}


@dataclass(frozen=True, kw_only=True)
class Release:
    """One table of releases.toml.

    Attributes:
        codename: bullseye, bookworm, trixie.
        debian: the release's number, the end of the version.
        variants: directories of debs/variants laid over debs/files.
        without: packages that are not built.
        moves: (from, to) directories of the target tree.
        substvars: (name, text) of each ${cros:NAME} in debian/control; the text may be empty.
    """

    codename: str
    debian: int
    variants: tuple[str, ...]
    without: tuple[str, ...]
    moves: tuple[tuple[str, str], ...]
    substvars: tuple[tuple[str, str], ...]


def read_table(path: Path = TABLE) -> dict[str, Release]:
    """Read the table.

    Raises:
        ConfigError: it does not parse, or a field is missing, unknown or of the wrong type.
    """
    try:
        tables = tomllib.loads(path.read_text())
    except (OSError, ValueError) as err:
        raise ConfigError(f"{path.name} cannot be read: {err}", hint="see the comment at its top") from err
    releases = {}
    for codename, table in tables.items():
        for field in sorted(table.keys() ^ _FIELDS.keys()):
            word = "unknown" if field in table else "missing"
            raise ConfigError(
                f"{path.name}: [{codename}]: {word} field {field!r}", hint=f"fields: {', '.join(_FIELDS)}"
            )
        for field, kind in _FIELDS.items():
            if type(table[field]) is not kind:
                raise ConfigError(
                    f"{path.name}: [{codename}]: {field} is {table[field]!r}, not of type {kind.__name__}"
                )
        releases[codename] = Release(
            codename=codename,
            debian=table["debian"],
            variants=tuple(table["variants"]),
            without=tuple(table["without"]),
            moves=tuple(table["moves"].items()),
            substvars=tuple(table["substvars"].items()),
        )
    return releases


def find_release(codename: str) -> Release:
    """The release of that name; UsageError when there is none."""
    table = read_table()
    if codename not in table:
        raise UsageError(f"unknown release {codename!r}", hint=f"debs/releases.toml has: {', '.join(table)}")
    return table[codename]
