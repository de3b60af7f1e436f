"""Tast's static data: NAME.external beside a test says which object of a bucket NAME is.

The format is that of Tast's extdata package, written as tast-tests has it: indented by four, keys sorted.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from common.documents import parse
from common.errors import ArtifactError

SUFFIX = ".external"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HINT = "git -C CHECKOUT log -- FILE shows who changed it"


@dataclass(frozen=True, kw_only=True)
class Pin:
    """An object that never changes: its gs:// URL, size in bytes and SHA-256 in hex."""

    url: str
    size: int
    sha256: str

    def write(self) -> bytes:
        """The content of the .external file."""
        content = {"url": self.url, "size": self.size, "sha256sum": self.sha256}
        return (json.dumps(content, indent=4, sort_keys=True) + "\n").encode()

    @classmethod
    def read(cls, content: bytes, where: str) -> "Pin | None":
        """What a .external file pins; None where it names an artifact of the Chrome OS build instead.

        Raises:
            ArtifactError: Tast would not take it, or it says something we do not know.
        """
        match parse(content, where):
            case {"type": "artifact", "name": str()}:
                return None
            case {"url": str(url), "size": int(size), "sha256sum": str(sha256), **rest} if (
                _is_url(url) and not isinstance(size, bool) and size >= 0 and _SHA256.fullmatch(sha256) and not rest
            ):
                return cls(url=url, size=size, sha256=sha256)
            case _:
                raise ArtifactError(f"{where} is no external data file of Tast", hint=_HINT)

    def plain(self) -> dict[str, object]:
        """As our own documents have it."""
        return {"url": self.url, "size": self.size, "sha256": self.sha256}

    @classmethod
    def of(cls, plain: object, where: str) -> "Pin":
        """What `plain` gave. ArtifactError: it is something else."""
        match plain:
            case {"url": str(url), "size": int(size), "sha256": str(sha256), **rest} if (
                _is_url(url) and not isinstance(size, bool) and not rest
            ):
                return cls(url=url, size=size, sha256=sha256)
            case _:
                raise ArtifactError(f"{where}: {plain!r} is no pin", hint="run the suite again")


Pins = Mapping[str, Pin]  # by the name of the .external file


def _is_url(text: str) -> bool:
    return text.isprintable() and " " not in text and "://" in text


def read_pins(folder: Path, names: list[str]) -> dict[str, Pin]:
    """Those of the named files that a folder has and that pin something. ArtifactError: see Pin.read."""
    found = {}
    for name in names:
        path = folder / name
        if path.is_file() and (pin := Pin.read(path.read_bytes(), str(path))):
            found[name] = pin
    return found
