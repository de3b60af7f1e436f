"""What `invoke staged` says of a desk's staging."""

from pathlib import Path

import pytest

from common.snapshots import Part
from scripts import staged
from scripts.promote import How, run
from tests.scripts.releaseparts import make_green, publish
from tests.scripts.releaseparts import staged as shown


def lines(desk: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    capsys.readouterr()
    staged.run(milestone=72, out=str(desk), storage="directory")
    return capsys.readouterr().out.splitlines()


def test_a_desk_without_anything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [line.endswith("nothing was recorded") for line in lines(tmp_path, capsys)] == [True, True]


def test_what_is_staged_what_is_new_and_why_it_may_not_go_live(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(tmp_path, "72.1")
    make_green(tmp_path)
    first = shown(tmp_path, Part.APT).id
    run(Part.APT, milestone=72, snapshot="", how=How(out=str(tmp_path), who="me"))
    publish(tmp_path, "72.2")
    apt = lines(tmp_path, capsys)[: lines(tmp_path, capsys).index("gs://cros-containers-staging/72: ")]
    second = shown(tmp_path, Part.APT).id
    assert apt[:2] == ["gs://cros-packages-staging/72: ", f"  {second} 0 min old (staged)"]
    assert "    + cros-garcon 72.2+deb12 all" in apt
    at = apt.index("    may not go live:")
    assert apt[at + 1] == "      pfq: there is no evidence"
    assert apt[at + 2 :] == [f"  {first} 0 min old (live)", apt[at + 3], "    may go live"]
    assert apt[at + 3].startswith("    the first one: ")
