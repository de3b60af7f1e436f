"""What an image says of itself in its metadata.yaml: the checks depend on it."""

import lzma
import tarfile
from dataclasses import dataclass
from pathlib import Path

import yaml

from common.errors import ImageError

# The image types, each made on top of the one before.
DEFAULT_TYPE, TEST, APP_TEST = "default", "test", "app_test"


@dataclass(frozen=True, kw_only=True)
class About:
    """An image's properties; empty where its metadata does not say.

    Attributes:
        release: of Debian.
        type: `default`, `test` or `app_test`.
        milestone: of Chrome OS.
        arch: in Debian's word.
    """

    release: str = ""
    type: str = DEFAULT_TYPE
    milestone: str = ""
    arch: str = ""

    @classmethod
    def read(cls, metadata: Path) -> "About":
        """Read a metadata tar, packed or not.

        Raises:
            ImageError: it is no LXD image's.
        """
        hint = "build it again"
        try:
            with tarfile.open(metadata) as tar:
                file = tar.extractfile("metadata.yaml")
                found = yaml.safe_load(file.read()) if file else None
        except (tarfile.TarError, lzma.LZMAError, EOFError, KeyError, ValueError, yaml.YAMLError) as err:
            raise ImageError(f"{str(metadata)!r} is no LXD image's metadata: {err}", hint=hint) from err
        said = (found.get("properties") or {}) if isinstance(found, dict) else None
        if not isinstance(said, dict):
            raise ImageError(f"{str(metadata)!r} has no metadata.yaml that says anything", hint=hint)
        return cls(
            release=str(said.get("release", "")),
            type=str(said.get("variant", DEFAULT_TYPE)),
            milestone=str(said.get("milestone", "")),
            arch=str(said.get("architecture", "")),
        )
