"""What the benchmark of images says of its result."""

from scripts.bench_images import Result, table
from scripts.peaks import Peaks


def test_the_table() -> None:
    gib = 2**30
    said = table(Result(1500.0, 250.0, Peaks(memory=gib, disk=4 * gib), 2 * gib)).splitlines()
    assert said[2] == "| 1500 | 250 | 6.0 |"
    assert "1.00 GiB of memory" in said[-2]
    assert "2.0 times" in said[-2]
