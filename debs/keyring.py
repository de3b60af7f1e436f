"""The keyring that cros-apt-config ships, from the armoured public keys of whoever signs."""

from pathlib import Path

from common import tools
from common.errors import ArtifactError, CommandError
from common.files import secret_parent, workspace


def dearmoured(armoured: Path) -> bytes:
    """All public keys of an armoured file, one block or several, as one OpenPGP keyring.

    apt from bullseye to trixie reads that form, named .gpg; several armoured blocks in one file it does not.

    Raises:
        ArtifactError: the file is missing, or holds no public key.
    """
    hint = "it comes from apt_signer's key ring; at a desk ./run invoke apt-signer makes a throwaway key"
    if not armoured.is_file():
        raise ArtifactError(f"the keyring {str(armoured)!r} is missing", hint=hint)
    with workspace("keyring", parent=secret_parent()) as home:
        gpg: list[tools.Arg] = [
            "gpg",
            "--homedir",
            home,
            "--batch",
            "--no-autostart",
            "--quiet",
            "--no-permission-warning",
        ]
        out = home / "keyring.gpg"
        try:
            tools.run([*gpg, "--import", armoured], quiet=True, timeout=60)
            tools.run([*gpg, "--output", out, "--export"], quiet=True, timeout=60)
        except CommandError as err:
            raise ArtifactError(
                f"{str(armoured)!r} is not an armoured OpenPGP keyring", details=err.details, hint=hint
            ) from err
        if not out.is_file() or not out.stat().st_size:
            raise ArtifactError(f"{str(armoured)!r} has no public key", hint=hint)
        return out.read_bytes()
