"""The doctor, on machines made up of fake programs and files."""

import os
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from common.errors import (
    CommandError,
    ConfigError,
    LxdUnavailableError,
    NetworkError,
    NotRootError,
    SigningError,
    ToolMissingError,
)
from scripts import doctor, probes
from scripts.probes import Finding, can, cannot, misses

FakeTool = Callable[..., Path]


def test_the_exit_code_is_that_of_the_first_thing_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [
        can("sun", "shines"),
        cannot("moon", "is new", "wait"),
        misses("root", "not root", "run as [root]", NotRootError),
        misses("reprepro", "reprepro is missing", "apt-get install reprepro", ToolMissingError),
    ]
    monkeypatch.setattr(doctor.diagnose, "__defaults__", ([lambda: found],))
    assert doctor.main([]) == NotRootError.exit_code
    said = capsys.readouterr().out
    assert "-> run as [root]" in said
    assert "-> apt-get install reprepro" in said
    assert "cannot run here: root, reprepro" in said


def test_what_is_not_needed_does_not_stop_anybody(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor.diagnose, "__defaults__", ([lambda: cannot("KVM", "no /dev/kvm")],))
    assert doctor.main([]) == 0
    assert "`continuous` can run here" in capsys.readouterr().out
    assert doctor.main(["--fix"]) == 2


def test_a_probe_that_fails_is_a_finding() -> None:
    def probe_some_thing() -> Finding:
        raise ConfigError("no source of apt", hint="add one")

    assert doctor.diagnose([probe_some_thing]) == [misses("some thing", "no source of apt", "add one", ConfigError)]


def test_every_probe_answers_with_a_name_and_a_way_out() -> None:
    findings = doctor.diagnose([probe for probe in probes.PROBES if probe is not probes.probe_mirror])
    assert len({finding.name for finding in findings}) == len(findings)
    for finding in findings:
        assert finding.says
        assert finding.ok or finding.mend or "not tried" in finding.says


@pytest.mark.parametrize(("uid", "ok"), [(0, True), (1000, False)])
def test_root(monkeypatch: pytest.MonkeyPatch, uid: int, ok: bool) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    finding = probes.probe_root()
    assert (finding.ok, finding.error if not ok else NotRootError) == (ok, NotRootError)


def test_what_takes_root_is_not_tried_without(monkeypatch: pytest.MonkeyPatch, fake_tool: FakeTool) -> None:
    calls = fake_tool("unshare")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert probes.probe_cgroup2().ok is None
    assert not calls.exists()


@pytest.mark.parametrize(
    ("probe", "tool", "error"),
    [
        (probes.probe_cgroup2, "unshare", LxdUnavailableError),
        (probes.probe_user_namespaces, "unshare", LxdUnavailableError),
        (probes.probe_namespaces, "setpriv", CommandError),
        (probes.probe_loop, "losetup", LxdUnavailableError),
    ],
)
def test_what_a_program_cannot_do_is_missing(
    monkeypatch: pytest.MonkeyPatch, fake_tool: FakeTool, probe: Callable[[], Finding], tool: str, error: type
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    fake_tool(tool)
    assert probe().ok is True
    fake_tool(tool, exit_code=1)
    finding = probe()
    assert (finding.ok, finding.error) == (False, error)
    assert f"{tool} exited with 1" in finding.says
    assert finding.mend


def test_each_missing_program_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = tmp_path / "programs.txt"
    listed.write_text(f"sh dash\nno-such-program its-package\n{tmp_path}/none keys\n{listed} this\n")
    monkeypatch.setattr("common.tools.PROGRAMS", listed)
    there, program, file = probes.probe_programs()
    assert there == can("programs", "2 of 4 are there")
    assert (program.name, program.mend, program.error) == (
        "no-such-program", "apt-get install its-package", ToolMissingError,
    )  # fmt: skip
    assert file.mend == "apt-get install keys"


@pytest.mark.parametrize(
    ("text", "ok"),
    [
        ('ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12"\n', True),
        ('ID=debian\nVERSION_ID="9"\nPRETTY_NAME="Debian GNU/Linux 9"\n', None),
        ("ID=arch\n\n# x\n", None),
    ],
)
def test_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, ok: bool | None) -> None:
    (tmp_path / "os-release").write_text(text)
    monkeypatch.setattr(probes, "OS_RELEASE", tmp_path / "os-release")
    assert probes.probe_debian().ok is ok


@pytest.mark.parametrize(("free", "ok"), [(50e9, True), (9e9, None), (1e9, False)])
def test_disk(monkeypatch: pytest.MonkeyPatch, free: float, ok: bool | None) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": free}))
    assert probes.probe_disk().ok is ok


def test_memory_and_file_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 8000000 kB\nMemAvailable:  1000000 kB\n")
    (tmp_path / "filesystems").write_text("nodev\ttmpfs\n\tsquashfs\n")
    monkeypatch.setattr(probes, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(probes, "FILESYSTEMS", tmp_path / "filesystems")
    assert (probes.probe_memory().ok, probes.probe_memory().says) == (None, "1.0 GB available")
    assert [(finding.name, finding.ok, finding.mend) for finding in probes.probe_filesystems()] == [
        ("file system btrfs", None, "modprobe btrfs"),
        ("file system squashfs", True, ""),
        ("file system overlay", None, "modprobe overlay"),
    ]


class _Answer(BaseHTTPRequestHandler):
    code = 200

    def do_GET(self) -> None:
        self.send_response(self.code)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.mark.parametrize(("code", "ok"), [(200, True), (404, False), (None, False)])
def test_the_mirror(fake_tool: FakeTool, code: int | None, ok: bool) -> None:
    with HTTPServer(("127.0.0.1", 0), type("Answer", (_Answer,), {"code": code})) as server:
        url = f"http://127.0.0.1:{server.server_address[1]}/debian"
        thread = threading.Thread(target=server.handle_request, daemon=True)
        if code is None:
            server.server_close()
        else:
            thread.start()
        fake_tool("apt-get", says=url)
        finding = probes.probe_mirror()
        if code is not None:
            thread.join(10)
    assert (finding.ok, finding.error) == (ok, CommandError if ok else NetworkError)


def test_lxd_is_startable_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "USUAL", [tmp_path])
    monkeypatch.setenv("PATH", str(tmp_path))
    finding = probes.probe_lxd()
    assert (finding.ok, finding.error) == (False, LxdUnavailableError)
    assert "lxd and mkfs.btrfs is missing" in finding.says
    for name in ("lxd", "mkfs.btrfs"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    assert probes.probe_lxd().ok is True


@pytest.mark.parametrize(
    ("code", "ok", "says"),
    [
        ("print(12)", True, "API version 12"),
        ("raise OSError('Permission denied')", None, "Permission denied"),
        ("import time; time.sleep(60)", None, "waited 0.5 s for /dev/kvm to answer, in vain"),
    ],
)
def test_kvm_is_tried_with_a_deadline(monkeypatch: pytest.MonkeyPatch, code: str, ok: bool | None, says: str) -> None:
    if not Path("/dev/kvm").exists():
        pytest.skip("there is no /dev/kvm")
    monkeypatch.setattr(probes, "_KVM", code)
    monkeypatch.setattr(probes, "DEADLINE", 0.5 if "sleep" in code else 10.0)
    finding = probes.probe_kvm()
    assert finding.ok is ok
    assert says in finding.says


def test_gpg(fake_tool: FakeTool) -> None:
    assert probes.probe_gpg().ok is True
    fake_tool("gpg", exit_code=2)
    finding = probes.probe_gpg()
    assert (finding.ok, finding.error) == (False, SigningError)
