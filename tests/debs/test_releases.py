"""The table of releases is read strictly."""

from pathlib import Path

import pytest

from common.errors import ConfigError
from debs.releases import DEBS, read_table

GOOD = "debian = 12\nvariants = []\nwithout = []\nmoves = {}\nsubstvars = {}\n"


def test_the_table_names_what_exists() -> None:
    for release in read_table().values():
        for variant in release.variants:
            assert (DEBS / "variants" / variant).is_dir()


def test_releases_differ_only_in_the_fields_of_the_table() -> None:
    names = [dict(release.substvars).keys() for release in read_table().values()]
    assert all(name == names[0] for name in names)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[sid]\n" + GOOD + "colour = 1\n", r"\[sid\]: unknown field 'colour'"),
        ("[sid]\n" + GOOD.replace("moves = {}\n", ""), r"\[sid\]: missing field 'moves'"),
        ("[sid]\n" + GOOD.replace("12", '"12"'), r"debian is '12', not of type int"),
        ("[sid", "cannot be read"),
    ],
)
def test_a_bad_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "releases.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_table(path)
