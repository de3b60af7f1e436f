"""The throwaway key: one for everybody, readable by nobody else, and mended after a kill."""

import hashlib
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from common import signing, tools
from common.errors import ArtifactError
from common.files import ROOT, secret_parent
from common.keyring import throwaway_key
from common.signing import Signer, homedir, import_secret_keys, keys_in, verify
from common.waiting import wait_until


def test_it_signs(tmp_path: Path) -> None:
    key = throwaway_key(tmp_path / "keys")
    with homedir() as home:
        signer = Signer(home, import_secret_keys(home, [key.secret]))
        (tmp_path / "text").write_bytes(signer.clear_sign(b"text\n"))
        said = tools.capture(["gpg", "--homedir", home, "--batch", "--list-keys"])
    assert verify(tmp_path / "text", key.public, expected=signer.fingerprints) == b"text\n"
    assert "THROWAWAY KEY" in said
    assert signer.keys[0].algorithm_name == "ed25519"


def test_nobody_else_reads_it(tmp_path: Path) -> None:
    key = throwaway_key(tmp_path / "keys")
    modes = [
        stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "keys", key.secret.parent, key.secret, key.public)
    ]
    assert modes == [0o700, 0o700, 0o600, 0o644]
    assert "PRIVATE KEY" in key.secret.read_text()
    assert "PRIVATE KEY" not in key.public.read_text()


def test_made_once(tmp_path: Path) -> None:
    first = throwaway_key(tmp_path).secret.read_bytes()
    assert throwaway_key(tmp_path).secret.read_bytes() == first


def test_two_runs_at_once_get_the_same(tmp_path: Path) -> None:
    script = "import sys, pathlib; from common.keyring import throwaway_key; throwaway_key(pathlib.Path(sys.argv[1]))"
    argv: list[tools.Arg] = [ROOT / ".venv/bin/python", "-c", script, tmp_path / "keys"]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: tools.run(argv, cwd=ROOT, timeout=60, quiet=True), range(3)))
    assert sorted(path.name for path in (tmp_path / "keys").iterdir()) == ["throwaway"]
    with homedir() as home:
        import_secret_keys(home, [throwaway_key(tmp_path / "keys").secret])
        assert len(keys_in(home)) == 1


def test_after_a_kill(tmp_path: Path) -> None:
    left = tmp_path / ".unfinished-x"
    left.mkdir()
    (left / "secret.asc").write_text("half")
    throwaway_key(tmp_path)
    assert not left.exists()


def test_killed_with_its_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that dies between the key and its end leaves an agent; the next run ends it."""
    monkeypatch.setattr(signing, "remove_homedir", lambda _: None)
    throwaway_key(tmp_path)
    monkeypatch.undo()
    shutil.rmtree(tmp_path / "throwaway")
    [line] = [line for line in tools.capture(["ps", "-eo", "pid,args"]).splitlines() if agent_of(tmp_path) in line]
    throwaway_key(tmp_path)
    wait_until(lambda: not Path("/proc", line.split()[0]).exists(), "the agent to end", timeout=10)
    assert not Path(agent_of(tmp_path)).exists()


def agent_of(keys_dir: Path) -> str:
    """The home directory that is in the command line of the agent of `keys_dir`."""
    return str((secret_parent() or keys_dir) / f"gpg-{hashlib.sha256(bytes(keys_dir)).hexdigest()[:16]}")


def test_half_of_it_is_gone(tmp_path: Path) -> None:
    throwaway_key(tmp_path).public.unlink()
    with pytest.raises(ArtifactError, match="has no secret.asc and public.asc") as caught:
        throwaway_key(tmp_path)
    assert "rm -r" in caught.value.hint
