"""Signatures that apt of every Debian release takes: made with python-gnupg, counted, and verified as a client does.

Which keys and digests clients refuse is in docs/apt.md. Neither a key nor a passphrase is ever in an argument, an
environment variable or a log.
"""

import contextlib
import functools
import io
import logging
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import gnupg

from common import tools
from common.errors import CommandError, DeadlineError, SigningError
from common.files import remove_stale, secret_parent, workspace
from common.gpgkeys import Key, parse_keys, problems_of
from common.waiting import wait_until

log = logging.getLogger(__name__)

DIGEST = "SHA512"
_PREFIX = "cros-gpg"
TIMEOUT = 60.0
_CREATED = re.compile(r"^\[GNUPG:\] SIG_CREATED \S+ \S+ \S+ \S+ \S+ ([0-9A-F]{40,})", re.MULTILINE)
_STATUS = re.compile(
    r"^\[GNUPG:\] (GOODSIG|BADSIG|EXPSIG|EXPKEYSIG|REVKEYSIG|ERRSIG|VALIDSIG) ([0-9A-F]+)", re.MULTILINE
)
_HINT = "docs/apt.md says which keys clients take, and how to rotate them"


@contextlib.contextmanager
def homedir(path: Path | None = None) -> Iterator[Path]:
    """A GnuPG home directory in memory for as long as the `with` lasts; its agents end before it goes.

    What killed runs left is removed first: their keys are secret, and so many agents would use up what the kernel has.

    Args:
        path: where, instead of a new name: who uses it the next time ends what a killed run left there.
    """
    if path is not None:
        remove_homedir(path)
        path.mkdir(mode=0o700)
        try:
            yield path
        finally:
            remove_homedir(path)
        return
    parent = secret_parent()
    remove_stale(parent or Path(tempfile.gettempdir()), f"{_PREFIX}-*", first=_end_agents)
    with workspace(_PREFIX, parent=parent) as place:
        try:
            yield place
        finally:
            _end_agents(place)


def remove_homedir(path: Path) -> None:
    """End the agents of a GnuPG home directory, and remove it."""
    if path.exists():
        _end_agents(path)
        shutil.rmtree(path, ignore_errors=True)


def _end_agents(path: Path) -> None:
    with contextlib.suppress(CommandError):
        tools.run(["gpgconf", "--homedir", path, "--kill", "all"], timeout=TIMEOUT, quiet=True)


def start_agent(home: Path) -> None:
    """Start the agent of a home directory before gpg does, which waits five seconds for it: too few on a busy machine.

    Raises:
        DeadlineError: it does not start.
    """
    launch: list[tools.Arg] = ["gpgconf", "--homedir", home, "--launch", "gpg-agent"]
    said = ""

    def launched() -> bool:
        nonlocal said
        try:
            tools.run(launch, timeout=TIMEOUT, quiet=True)
        except CommandError as err:
            said = err.details
            return False
        return True

    try:
        wait_until(launched, "gpg-agent to start", timeout=TIMEOUT)
    except DeadlineError as err:
        raise DeadlineError(err.what, details=said) from err


def import_secret_keys(home: Path, files: Sequence[Path]) -> tuple[str, ...]:
    """Import armoured secret keys, and name what is to sign: for each key its newest signing subkey, or itself.

    Raises:
        SigningError: a file holds no secret key, or a key cannot sign.
        DeadlineError: gpg-agent does not start.
    """
    start_agent(home)
    found: list[str] = []
    for path in files:
        result = _gpg(home).import_keys_file(str(path))
        fingerprints = list(dict.fromkeys(result.fingerprints))
        if not fingerprints or not result.sec_read:
            raise SigningError(
                f"{path.name!r} holds no secret key", hint="gpg --armor --export-secret-keys FINGERPRINT"
            )
        for fingerprint in fingerprints:
            found += [_signer_of(key, path.name) for key in keys_in(home, fingerprint)]
    return tuple(dict.fromkeys(found))


def _signer_of(key: Key, where: str) -> str:
    can = [part for part in (key, *key.subkeys) if part.can_sign and part.has_secret]
    alive = [part for part in can if not part.dead] or can
    if not alive:
        raise SigningError(f"key {key.fingerprint!r} in {where!r} has no secret part that signs", hint=_HINT)
    return max(alive, key=lambda part: (part is not key, part.created)).fingerprint


def keys_in(home: Path, *wanted: str) -> tuple[Key, ...]:
    """The keys of a home directory, with their self-signatures, and which of their parts have a secret here.

    Raises:
        SigningError: there is no such key.
    """
    call = ["gpg", "--homedir", str(home), "--batch", "--no-tty", "--with-colons", "--no-auto-check-trustdb"]
    try:
        public = tools.capture([*call, "--check-sigs", *wanted], timeout=TIMEOUT)
        secret = tools.capture([*call, "--list-secret-keys", *wanted], timeout=TIMEOUT)
    except CommandError as err:
        raise SigningError(
            f"no secret key {' '.join(wanted)!r} in {str(home)!r}", details=err.details, hint=_HINT
        ) from err
    return parse_keys(public, secret)


class Signer:
    """Signs with every one of some keys at once, in one call of gpg, so that any one of them is enough for a client.

    Args:
        home: a GnuPG home directory that nobody else can read; a short path (gpg-agent's socket is in it).
        fingerprints: of the keys, or subkeys, to sign with; exactly these do.

    Raises:
        SigningError: the home directory is open to others, or a key is missing, expired, revoked or weak.
    """

    def __init__(self, home: Path, fingerprints: Sequence[str]) -> None:
        mode = home.stat().st_mode & 0o777
        if mode & 0o077:
            raise SigningError(
                f"others can read the GnuPG home directory {str(home)!r} (mode {mode:04o})", hint=f"chmod 700 {home}"
            )
        if not fingerprints:
            raise SigningError("there is no key to sign with", hint=_HINT)
        self.home, self.fingerprints = home, tuple(fingerprints)
        self.keys = tuple(self._key_of(fingerprint) for fingerprint in self.fingerprints)
        wrong = [line for key, part in zip(self.keys, fingerprints, strict=True) for line in problems_of(key, part)]
        if wrong:
            raise SigningError(wrong[0], details="\n".join(wrong[1:]), hint=_HINT)

    def _key_of(self, fingerprint: str) -> Key:
        found = keys_in(self.home, fingerprint)
        if len(found) != 1:
            raise SigningError(f"{fingerprint!r} names {len(found)} keys", hint="give whole fingerprints")
        return found[0]

    def public_keys(self) -> str:
        """All keys, armoured in one block: the file clients name in Signed-By."""
        return _exported(self.home, [key.fingerprint for key in self.keys])

    def clear_sign(self, content: bytes) -> bytes:
        """`content` with its signatures in one text, as InRelease is."""
        return self._sign(content, clearsign=True)

    def detached(self, content: bytes, *, binary: bool = False) -> bytes:
        """The signatures of `content` alone, armoured as Release.gpg is unless `binary`."""
        return self._sign(content, clearsign=False, binary=binary)

    def _sign(self, content: bytes, *, clearsign: bool, binary: bool = False) -> bytes:
        """Sign, and count: a success that gpg reports may be another key's, or fewer signatures than asked for."""
        # "!" makes exactly this part sign; keyid= is a default gpg may overrule
        users = [word for fingerprint in self.fingerprints for word in ("-u", f"{fingerprint}!")]
        result = _gpg(self.home).sign_file(
            io.BytesIO(content),
            clearsign=clearsign,
            detach=not clearsign,
            binary=binary,
            extra_args=[*users, "--digest-algo", DIGEST, "--no-emit-version"],
        )
        made = sorted(_CREATED.findall(result.stderr))
        if made != sorted(self.fingerprints):
            raise SigningError(
                f"{len(made)} of {len(self.fingerprints)} signatures were made: {', '.join(made) or 'none'}",
                details=f"wanted: {', '.join(self.fingerprints)}\n{result.stderr[-2000:]}",
                hint="a key with a passphrase needs an agent that has it already; a key file must have none",
            )
        return bytes(result.data)


def _exported(home: Path, fingerprints: Sequence[str]) -> str:
    call = ["gpg", "--homedir", str(home), "--batch", "--no-tty", "--armor", "--export-options", "export-minimal"]
    return tools.capture([*call, "--export", *fingerprints], timeout=TIMEOUT)


def check_public_keys(keyring: bytes, where: str) -> tuple[str, ...]:
    """See that a keyring is, byte for byte, what `Signer.public_keys` gives: much in armour means nothing.

    Returns:
        the fingerprints of its keys.

    Raises:
        SigningError: it is not.
    """
    found, exported = _united(keyring)
    if exported != keyring:
        raise SigningError(f"{where} is not as it was published", hint=_HINT)
    return found


def united_keyrings(*keyrings: bytes) -> bytes:
    """All keys of some keyrings, in their order, as `Signer.public_keys` gives them; none where there are none."""
    return _united(*keyrings)[1]


@functools.lru_cache(maxsize=16)
def _united(*keyrings: bytes) -> tuple[tuple[str, ...], bytes]:
    with homedir() as home:
        imported = [each for keyring in keyrings if keyring for each in _gpg(home).import_keys(keyring).fingerprints]
        found = tuple(dict.fromkeys(imported))
        return found, _exported(home, found).encode() if found else b""


def _gpg(home: Path) -> gnupg.GPG:
    gpg = gnupg.GPG(
        gpgbinary=str(tools.find("gpg")),
        gnupghome=str(home),
        env=tools.environment(),
        options=["--no-auto-check-trustdb", "--pinentry-mode", "error"],
    )
    gpg.encoding = "utf-8"
    return gpg


def verify(signed: Path, keyring: Path, *, detached: Path | None = None, expected: Sequence[str] = ()) -> bytes:
    """Verify as apt does: gpgv, with nothing trusted but `keyring`.

    Args:
        signed: InRelease; or, with `detached`, Release.
        keyring: armoured public keys.
        detached: Release.gpg.
        expected: fingerprints that all have to have signed; none means that one good signature is enough.

    Returns:
        the text that is signed.

    Raises:
        SigningError: no signature is good, one of `expected` is missing, or there is text that is not signed.
    """
    with workspace("gpgv") as place:
        binary = place / "keyring.gpg"
        dearmour(keyring, binary)
        output = place / "text"
        call: list[tools.Arg] = ["gpgv", "--homedir", place, "--keyring", binary, "--status-fd", "1"]
        what = [detached, signed] if detached else ["--output", output, signed]
        # 2 is what gpgv says of a signature by a key it does not know: harmless beside a good one
        status = tools.capture([*call, *what], ok=(0, 1, 2), timeout=TIMEOUT)
        good = good_signatures(status)
        if not good:
            raise SigningError(
                f"{signed.name!r} has no good signature by a key of {keyring.name!r}", details=status, hint=_HINT
            )
        if missing := set(expected) - good:
            raise SigningError(
                f"{signed.name!r} is not signed by {', '.join(sorted(missing))}",
                details=f"signed by: {', '.join(sorted(good)) or 'none'}", hint=_HINT,
            )  # fmt: skip
        if detached is None:
            check_only_signed(signed)
        return signed.read_bytes() if detached else output.read_bytes()


def good_signatures(status: str) -> frozenset[str]:
    """The fingerprints of the good signatures in what gpgv reports; none at all when one of them is bad.

    gpgv calls a signature by an expired or revoked key valid as well; apt does not take it.
    """
    good: set[str] = set()
    last = ""
    for word, value in _STATUS.findall(status):
        if word == "VALIDSIG" and last == "GOODSIG":
            good.add(value)
        last = word
        if word == "BADSIG":
            return frozenset()
    return frozenset(good)


def check_only_signed(signed: Path) -> None:
    """Refuse a clearsigned file with text before or after what is signed: gpgv passes over it, apt refuses it.

    Raises:
        SigningError: there is some.
    """
    text = signed.read_text(encoding="utf-8", errors="surrogateescape")
    if not text.startswith("-----BEGIN PGP SIGNED MESSAGE-----\n") or not text.endswith(
        "-----END PGP SIGNATURE-----\n"
    ):
        raise SigningError(f"{signed.name!r} has text outside of what is signed", hint="sign it again")


def dearmour(keyring: Path, out: Path) -> None:
    """Write armoured public keys as the binary keyring that gpgv reads.

    Raises:
        SigningError: it is no armoured keyring.
    """
    try:
        out.write_bytes(_dearmoured(keyring.read_bytes()))
    except CommandError as err:
        raise SigningError(f"{keyring.name!r} is not an armoured keyring", details=err.details, hint=_HINT) from err


@functools.lru_cache(maxsize=16)
def _dearmoured(keyring: bytes) -> bytes:
    with workspace("dearmour") as place:
        armoured, binary = place / "keyring.asc", place / "keyring.gpg"
        armoured.write_bytes(keyring)
        tools.run(
            ["gpg", "--homedir", place, "--batch", "--no-tty", "--output", binary, "--dearmor", armoured],
            timeout=TIMEOUT, quiet=True,
        )  # fmt: skip
        return binary.read_bytes()
