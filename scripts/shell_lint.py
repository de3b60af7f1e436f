"""Runs shellcheck on every shell script of the tree, found by its first line."""

import re
import sys
from collections.abc import Sequence

from common import tools
from common.errors import reported
from common.files import ROOT
from kokoro.sources import Tree

_SHEBANG = re.compile(rb"#!\s*(/usr)?/bin/(env )?(ba|da)?sh\b")


def main(argv: Sequence[str]) -> int:
    """Check the files named, or all of them."""
    paths = argv or [path for path in Tree(ROOT).paths if is_shell(path)]
    tools.run(["shellcheck", "--", *paths], cwd=ROOT, timeout=300)
    print(f"shellcheck: {len(paths)} scripts, nothing to say")
    return 0


def is_shell(path: str) -> bool:
    """Whether a file of the tree is a shell script."""
    file = ROOT / path
    if file.is_symlink():
        return False
    with file.open("rb") as content:
        return _SHEBANG.match(content.read(40)) is not None


if __name__ == "__main__":
    with reported():
        sys.exit(main(sys.argv[1:]))
