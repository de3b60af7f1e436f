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


def test_a_part_takes_the_place_of_what_the_page_had_of_it() -> None:
    page = bench.with_sections("# Old head\n\n## One\n\n1\n\n## Two\n\n2\n", ["## One\n\nnew\n", "## Three\n\n3\n"])
    assert page == f"{bench.HEAD}\n## One\n\nnew\n\n## Two\n\n2\n\n## Three\n\n3\n"
    assert bench.with_sections(page, []) == page


def test_the_page_is_as_it_is_written() -> None:
    page = bench.PAGE.read_text()
    assert bench.with_sections(page, []) == page


def test_a_section_says_where_it_is_from() -> None:
    title, _, rest = bench.stamped("## Title\n\ntext\n").partition("\n")
    assert title == "## Title"
    assert rest.startswith("\nMeasured on 20")
    assert f", on {bench.machine()}.\n\ntext\n" in rest
