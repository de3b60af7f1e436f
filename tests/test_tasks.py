import inspect
import re
from pathlib import Path

import pytest
from invoke.collection import Collection

import tasks
from common import tools
from common.errors import ConfigError, ReleaseError, UsageError
from common.files import ROOT
from kokoro.flows import read_flows
from tests.support import Checkout

ALL = sorted(Collection.from_module(tasks).tasks.items())


@pytest.mark.parametrize(("name", "task"), ALL, ids=[name for name, _ in ALL])
def test_a_task_is_documented_and_thin(name: str, task: object) -> None:
    body = task.body  # type: ignore[attr-defined]
    flags = set(inspect.signature(body).parameters) - {"_c"}
    assert task.__doc__, f"{name}: no docstring, so `invoke --list` shows nothing"
    assert flags <= set(task.help), f"{name}: a flag without help"  # type: ignore[attr-defined]
    assert len(inspect.getsource(body).splitlines()) <= 15, f"{name}: move the work into a module"


def test_every_build_and_flow_is_a_task() -> None:
    names = {name for name, _ in ALL}
    flows = read_flows()
    assert names >= {build.task for build in flows.builds.values()} | set(flows.flows)
    assert names >= {"branches", "serve", "doctor", "flow-graph", "clean"}


def test_the_list_reads_as_a_table_of_contents(pristine: Checkout) -> None:
    listed = pristine.run("invoke", "--list").output
    rows = [line for line in listed.splitlines()[2:] if line.strip()]
    assert len(rows) == len(ALL), "a description that needs a second line is too long"


@pytest.mark.parametrize(
    ("command", "said", "hint"),
    [
        ("contnuous", "unknown task 'contnuous'", "did you mean 'continuous'?"),
        ("continuous --relase bookworm", "unknown flag '--relase'", "--help"),
        ("continuous", "no branch is named", "--branch"),
        ("continuous --branch", "Flag --branch needed value", "--help"),
        ("continuous --branch release-R72-11316", "unknown branch 'release-R72-11316'", "release-R72-11316.B"),
        ("continuous --branch release-R99-1.B", "branch 'release-R99-1.B' is not active", "active:"),
        ("continuous --branch factory-x-123.B", "no guest is built from branch 'factory-x-123.B'", "active:"),
        ("continuous --branch main --release bokworm", "unknown release 'bokworm'", "did you mean 'bookworm'?"),
        ("continuous --branch main --arch mips", "unknown arch 'mips'", "amd64"),
        ("continuous --branch main --image-type tset", "unknown image type 'tset'", "default"),
        ("apt-repo --branch main --jobs x", "'x'", "--help"),
        ("apt-repo --branch main --jobs -1", "--jobs -1 is below 0", "0 means"),
        ("--dry branches", "--dry means nothing", "leave it out"),
        ("branches --build apt-rep", "unknown build 'apt_rep'", "did you mean 'apt_repo'?"),
    ],
)
def test_bad_input_is_one_sentence_with_the_value_and_what_to_do(
    pristine: Checkout, command: str, said: str, hint: str
) -> None:
    finished = pristine.run("invoke", *command.split())
    assert finished.code == UsageError.exit_code, finished.output
    error, *rest = finished.output.splitlines()
    assert error.startswith("error: ")
    assert said in error
    assert any(line.startswith("hint: ") and hint in line for line in rest), finished.output
    assert not (pristine.path / "out").exists(), "bad input must change nothing"


@pytest.mark.parametrize(
    ("flags", "said", "hint"),
    [
        ("--storage directory", "--storage directory is for the local runner", "CROS_STORE in the .cfg"),
        ("--storage gsc", "unknown storage 'gsc'", "known: directory, gcs"),
        ("--no-deps", "--no-deps are for the local runner", "unset KOKORO_ARTIFACTS_DIR"),
    ],
)
def test_a_flag_that_kokoro_would_not_mind_is_refused(
    pristine: Checkout, tmp_path: Path, flags: str, said: str, hint: str
) -> None:
    finished = pristine.run("invoke", "publish-lxd-staging", *flags.split(), KOKORO_ARTIFACTS_DIR=str(tmp_path))
    assert finished.code == UsageError.exit_code, finished.output
    assert said in finished.output
    assert hint in finished.output


def test_branches_prints_the_table_of_the_seed(pristine: Checkout) -> None:
    rows = re.findall(
        r"\| (\S+) +\| (\d+) +\| (\S+) +\|", pristine.run("invoke", "branches", "--build", "guest-tools").output
    )
    assert ("cros-containers/crostini-guest/72/guest_tools", "72", "release-R72-11316.B") in rows
    assert ("cros-containers/crostini-guest/74/guest_tools", "74", "main") in rows
    assert len(rows) == 4


def test_clean_removes_what_was_made_and_keeps_the_key(checkout: Checkout) -> None:
    assert checkout.run("invoke", "clean").code == UsageError.exit_code, "there is nothing of ours yet"
    (checkout.path / "out").mkdir()
    (checkout.path / "out" / ".lock").touch()
    for name in ("jobs", "gs", "cache", "report", "lxd_test", "keys"):
        (checkout.path / "out" / name).mkdir(parents=True)
    assert checkout.run("invoke", "clean").code == 0
    assert sorted(path.name for path in (checkout.path / "out").iterdir()) == [".lock", "keys"]
    assert checkout.run("invoke", "clean", "--keys").code == 0
    assert [path.name for path in (checkout.path / "out").iterdir()] == [".lock"]


def test_clean_touches_nothing_that_no_run_has_made(checkout: Checkout) -> None:
    (checkout.path / "mine" / "cache").mkdir(parents=True)
    finished = checkout.run("invoke", "clean", "--out", "mine")
    assert finished.code == UsageError.exit_code
    assert "is no directory that a run has made" in finished.output
    assert (checkout.path / "mine" / "cache").is_dir()


def test_tasks_are_found_from_any_directory(pristine: Checkout, tmp_path: Path) -> None:
    said = tools.capture([pristine.path / "run", "invoke", "branches"], cwd=tmp_path, env=dict(pristine.env))
    assert "release-R72-11316.B" in said


def test_a_flows_toml_that_cannot_be_read_is_one_sentence(checkout: Checkout) -> None:
    flows = checkout.path / "kokoro" / "flows.toml"
    flows.write_text(flows.read_text().replace("needs =", "nedes =", 1))
    finished = checkout.run("invoke", "--list")
    assert finished.code == ConfigError.exit_code
    assert finished.output.startswith("error: flows.toml builds guest_tools: unknown key 'nedes'")
    assert "did you mean 'needs'?" in finished.output


def test_exit_codes_are_one_a_kind() -> None:
    kinds = ReleaseError.__subclasses__()
    codes = [kind.exit_code for kind in kinds]
    assert len(codes) == len(set(codes))
    assert min(codes) > 1


def test_errors_become_exit_codes_in_few_places() -> None:
    allowed = {
        "common/errors.py", "common/program.py", "kokoro/entry.py", "tasks.py",
    }  # fmt: skip
    for path in [
        *ROOT.glob("*.py"),
        *(p for top in ("common", "kokoro", "lxd", "debs", "scripts") for p in (ROOT / top).rglob("*.py")),
    ]:
        name = path.relative_to(ROOT).as_posix()
        text = path.read_text().split('\nif __name__ == "__main__":')[0]
        if name not in allowed and not name.startswith("lxd/mocks/"):
            assert not re.search(r"sys\.exit|SystemExit\(|\bExit\(", text), f"{name}: raise a ReleaseError instead"


def test_the_tasks_file_does_no_work() -> None:
    assert len(Path(tasks.__file__).read_text().splitlines()) < 300
