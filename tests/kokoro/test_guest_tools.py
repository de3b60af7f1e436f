"""The guest_tools build leaves the packages of each release asked for, with versions that rise by themselves."""

from dataclasses import replace
from pathlib import Path

import pytest

from common.errors import ArtifactError
from common.files import ROOT
from common.keyring import throwaway_key
from debs.releases import read_table
from kokoro import guest_tools
from tests.common.aptparts import environment


def test_without_the_keyring_it_says_so(tmp_path: Path) -> None:
    env = environment(tmp_path)
    with pytest.raises(ArtifactError, match="cros-archive-keyring.asc"):
        guest_tools.build(env)
    assert list(env.artifacts_dir.iterdir()) == []


def test_it_can_build_every_release_of_branches_toml() -> None:
    text = (ROOT / "branches.toml").read_text()
    assert all(f'"{release}"' in text for release in read_table())


@pytest.mark.root
@pytest.mark.mirror
@pytest.mark.timeout(900)
def test_it_leaves_one_directory_a_release(tmp_path: Path) -> None:
    env = environment(tmp_path, releases=["bookworm"])
    env = replace(env, cache_dir=ROOT / "out" / "cache")
    (env.gfile_dir / guest_tools.KEYRING).write_text(throwaway_key(tmp_path / "keys").public.read_text())
    guest_tools.build(env)
    assert [path.name for path in env.artifacts_dir.iterdir()] == ["bookworm-debs"]
    names = {path.name for path in (env.artifacts_dir / "bookworm-debs").iterdir()}
    assert "cros-guest-tools_72.11316.20231114.221320+deb12_all.deb" in names
    assert all(name.endswith("_72.11316.20231114.221320+deb12_all.deb") for name in names)
