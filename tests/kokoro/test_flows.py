from collections.abc import Sequence
from pathlib import Path

import pytest

from common.branches import find_branch
from common.errors import ConfigError, UsageError
from kokoro.flows import CONTINUOUS, Selection, read_flows

HEAD = '[common]\nsources = ["run"]\n[builds.a]\nsummary = "A"\n[builds.b]\nsummary = "B"\n'


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "flows.toml"
    path.write_text(text)
    return path


def selection(
    *, releases: Sequence[str] = (), arches: Sequence[str] = (), image_types: Sequence[str] = (), tarball: bool = False
) -> Selection:
    return Selection.of(
        find_branch("release-R72-11316.B"), releases=releases, arches=arches, image_types=image_types,
        native_arch="amd64", tarball=tarball,
    )  # fmt: skip


def short(only: str = "", *, releases: Sequence[str] = (), arches: Sequence[str] = ()) -> list[str]:
    chosen = selection(releases=releases, arches=arches)
    return [job.short_name for job in read_flows().jobs(CONTINUOUS, chosen, only=only)]


def test_jobs_carry_the_milestone_in_their_name() -> None:
    names = {job.name for job in read_flows().jobs(CONTINUOUS, selection())}
    assert "cros-containers/crostini-guest/72/apt_repo" in names


def test_a_matrix_build_has_one_job_for_each_release_and_architecture() -> None:
    made = short(releases=["trixie", "bookworm"], arches=["arm64", "amd64"])
    assert [name for name in made if name.startswith("lxd")] == [
        "lxd_container_amd64_bookworm",
        "lxd_container_amd64_trixie",
        "lxd_container_arm64_bookworm",
        "lxd_container_arm64_trixie",
    ]


def test_images_are_for_this_machine_unless_asked_otherwise() -> None:
    assert [name for name in short(releases=["bookworm"]) if "lxd_container" in name] == [
        "lxd_container_amd64_bookworm"
    ]


def test_every_job_comes_after_its_parents() -> None:
    seen: set[str] = set()
    for job in read_flows().jobs(CONTINUOUS, selection()):
        assert seen >= set(job.parents)
        seen.add(job.name)


def test_a_build_brings_what_it_needs_before_it() -> None:
    assert short(only="apt_signer") == ["guest_tools", "apt_repo", "apt_signer"]


def test_only_what_makes_images_makes_tarballs() -> None:
    jobs = read_flows().jobs(CONTINUOUS, selection(releases=["bookworm"], tarball=True))
    assert {job.build.name for job in jobs if job.tarball} == {"lxd_container"}
    commands = {job.build.name: job.command() for job in jobs}
    assert "--tarball" in commands["lxd_container"]
    assert "--tarball" not in commands["apt_repo"]


def test_app_test_is_made_on_request() -> None:
    assert selection().image_types == ("default", "test")
    assert selection(image_types=["app_test"]).image_types == ("app_test",)


def test_the_repository_keeps_all_architectures_when_images_are_narrowed() -> None:
    jobs = read_flows().jobs(CONTINUOUS, selection(arches=["amd64"]))
    assert next(job for job in jobs if job.build.name == "apt_repo").arches == ("amd64", "arm64", "armhf", "i386")


def test_no_image_for_an_architecture_is_said() -> None:
    with pytest.raises(UsageError, match="has no images for i386"):
        selection(arches=["i386"])


def test_the_command_runs_the_same_job_again() -> None:
    jobs = read_flows().jobs(CONTINUOUS, selection(releases=["bookworm"]))
    image = next(job for job in jobs if job.short_name == "lxd_container_amd64_bookworm")
    assert image.command() == (
        "./run invoke lxd-container --branch release-R72-11316.B --release bookworm --arch amd64"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[flow.x]\nsummary = "X"\n', "unknown key 'flow'"),
        ('[flows.x]\nsummary = "X"\n[flows.x.jobs]\nc = []\n', "unknown key 'c'"),
        ('[flows.x]\nsummary = "X"\n[flows.x.jobs]\na = ["b"]\n', "'b', which is no job of this flow"),
        ('[flows.x]\nsummary = "X"\n[flows.x.jobs]\na = ["b"]\nb = ["a"]\n', "is a circle"),
        ('[builds.c]\nsummary = "C"\nneeds = ["internet"]\n', "unknown needs 'internet'"),
        ("[builds.c]\n", "'summary' is missing"),
    ],
)
def test_a_mistake_in_flows_toml_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_flows(written(tmp_path, HEAD + text))


def test_unknown_names_have_a_hint() -> None:
    with pytest.raises(UsageError) as caught:
        read_flows().build("apt-rep")
    assert "did you mean 'apt_repo'" in caught.value.hint
    with pytest.raises(UsageError, match="unknown flow 'nightly'"):
        read_flows().flow("nightly")
