"""The keyring of cros-apt-config is one that every release's apt reads."""

from pathlib import Path

import pytest

from common import tools
from common.errors import ArtifactError
from debs.keyring import dearmoured


def fingerprints(keyring: Path, home: Path) -> set[str]:
    listed = tools.capture(["gpg", "--homedir", home, "--batch", "--with-colons", "--show-keys", keyring])
    return {line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr:")}


def test_all_keys_of_several_blocks_are_kept(tmp_path: Path, keyring: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--pinentry-mode", "loopback", "--passphrase", ""]
    tools.run([*gpg, "--quick-gen-key", "The next key", "ed25519", "sign", "never"], quiet=True)
    both = tmp_path / "both.asc"
    both.write_text(keyring.read_text() + tools.capture([*gpg, "--armor", "--export"]))
    tools.run(["gpgconf", "--homedir", home, "--kill", "all"], quiet=True)
    made = tmp_path / "made.gpg"
    made.write_bytes(dearmoured(both))
    assert not made.read_bytes().startswith(b"-----")
    assert len(fingerprints(made, home)) == 2
    assert fingerprints(keyring, home) < fingerprints(made, home)
    assert dearmoured(both) == made.read_bytes(), "the same keys give the same bytes"


@pytest.mark.parametrize("content", ["", "no key", "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nrubbish\n"])
def test_what_is_no_keyring_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "keyring.asc"
    path.write_text(content)
    with pytest.raises(ArtifactError, match=r"keyring.asc' (is not an armoured OpenPGP keyring|has no public key)"):
        dearmoured(path)


def test_a_missing_keyring_says_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is missing") as caught:
        dearmoured(tmp_path / "keyring.asc")
    assert "invoke apt-signer" in caught.value.hint
