"""The benchmark of publishing measures both ways to the same objects."""

from scripts.bench_publish import Result, measure, table


def test_both_ways_are_measured() -> None:
    result = measure(files=8, megabytes=8, delay=0.02)
    assert result.serial_all > result.serial_small >= 8 * 0.02
    assert 0.02 < result.again < result.all
    assert result.small > 0.02
    assert result.sent == 0


def test_the_table() -> None:
    said = table(Result(serial_small=50.0, serial_all=80.0, small=2.5, all=10.0, again=0.25, sent=0)).splitlines()
    assert said[2:4] == ["| small files | 50.0 | 2.50 | 20 |", "| all of it | 80.0 | 10.00 | 8.0 |"]
    assert said[-2:] == ["The same again, the best of three: 0.25 s, 1/40 of the first time; it sent", "0 objects."]
