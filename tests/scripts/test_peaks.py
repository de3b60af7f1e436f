"""What work needs at its peak is seen, in this process and in those it starts."""

import os
import sys
from pathlib import Path

from common import tools
from scripts.peaks import EVERY, watched

HUNGRY = f"import time; held = bytearray(b'x' * (100 << 20)); time.sleep({5 * EVERY})"


def test_memory_of_a_child_and_room_on_the_disk(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with watched(tmp_path) as peaks:
        file.write_bytes(os.urandom(50 << 20))
        with file.open("rb") as written:
            os.fsync(written.fileno())
        tools.run(["sh", "-c", '"$0" -c "$1"; exit 0', sys.executable, HUNGRY], quiet=True)
    assert peaks.memory > 100 << 20
    assert peaks.disk > 40 << 20
