"""Packages that fail at one step or another of their installation."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from common import tools


def failing(deb: Path, out: Path, *, step: str) -> Path:
    """A newer version of a package that fails: `preinst` in its script, `unpack` over a file of dpkg's, `configure`.

    The scripts for the other steps are the package's own.
    """
    tree = out / f"{deb.stem}-{step}"
    tools.run(["dpkg-deb", "--raw-extract", deb, tree], quiet=True, timeout=60)
    control = tree / "DEBIAN" / "control"
    control.write_text(re.sub(r"^Version: .*", f"Version: 999.{step}", control.read_text(), flags=re.MULTILINE))
    if step == "unpack":
        (tree / "usr/bin").mkdir(parents=True, exist_ok=True)
        (tree / "usr/bin/dpkg").write_text("")
    else:
        script = tree / "DEBIAN" / {"preinst": "preinst", "configure": "postinst"}[step]
        script.write_text("#!/bin/sh\nexit 1\n")
        script.chmod(0o755)
    made = out / f"{deb.name.split('_')[0]}_999.{step}_all.deb"
    tools.capture(["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, made], timeout=60)
    shutil.rmtree(tree)
    return made


def deconfiguring(packages: Sequence[str], out: Path) -> Path:
    """A package that wants others deconfigured while it is unpacked, and then fails."""
    tree = out / "breaks-them"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/bin/dpkg").write_text("")
    (tree / "DEBIAN" / "control").write_text(
        f"Package: {tree.name}\nVersion: 1\nArchitecture: all\nBreaks: {', '.join(packages)}\n"
        "Maintainer: Nobody <nobody@example.org>\nDescription: breaks them\n"
    )
    made = out / f"{tree.name}_1_all.deb"
    tools.capture(["dpkg-deb", "--root-owner-group", "--build", tree, made], timeout=60)
    shutil.rmtree(tree)
    return made
