import pytest

from scripts import bench


def test_a_part_is_measured_and_printed_but_not_written_down(capsys: pytest.CaptureFixture[str]) -> None:
    before = bench.PAGE.read_bytes()
    assert bench.main(["start_up"]) == 0
    printed = capsys.readouterr().out
    assert "## ./run" in printed
    assert "cores of" in printed
    assert bench.PAGE.read_bytes() == before


def test_every_part_is_in_the_page() -> None:
    page = bench.PAGE.read_text()
    for title in ("## ./run", "## apt_repo", "## Boot checks", "## continuous"):
        assert title in page
