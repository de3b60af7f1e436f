"""gpg's colon listings read, and what is said about the keys in them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.gpgkeys import parse_keys, problems_of

PRIMARY, SUBKEY = "A" * 40, "B" * 40
# As gpg 2.2.40 prints them: a certifying ed25519 key with an RSA subkey that signs.
PUBLIC = f"""\
tru::1:1700000000:0:3:1:5
pub:u:255:22:AAAAAAAAAAAAAAAA:1700000000:::u:::cSC:::::ed25519:::0:
fpr:::::::::{PRIMARY}:
uid:u::::1700000000::X::archive::::::::::0:
sig:!::22:AAAAAAAAAAAAAAAA:1600000000::::archive:13x::{PRIMARY}:::2:
sig:!::22:AAAAAAAAAAAAAAAA:1700000000::::archive:13x::{PRIMARY}:::10:
sig:!::22:CCCCCCCCCCCCCCCC:1800000000::::stranger:10x::{"C" * 40}:::2:
sub:u:3072:1:BBBBBBBBBBBBBBBB:1700000000:4000000000:::::s::::::23:
fpr:::::::::{SUBKEY}:
sig:!::22:AAAAAAAAAAAAAAAA:1700000000::::archive:18x::{PRIMARY}:::10:
"""
SECRET = f"""\
sec:u:255:22:AAAAAAAAAAAAAAAA:1700000000:::u:::cSC:::#::ed25519:::0:
fpr:::::::::{PRIMARY}:
ssb:u:3072:1:BBBBBBBBBBBBBBBB:1700000000:4000000000:::::s:::+:::23:
fpr:::::::::{SUBKEY}:
"""


def test_a_subkey_that_signs_with_its_primary_offline() -> None:
    [key] = parse_keys(PUBLIC, SECRET)
    [subkey] = key.subkeys
    assert (key.fingerprint, key.usage, key.has_secret, key.algorithm_name) == (PRIMARY, "c", False, "ed25519")
    assert (subkey.fingerprint, subkey.can_sign, subkey.has_secret, subkey.algorithm_name) == (
        SUBKEY,
        True,
        True,
        "rsa3072",
    )
    assert key.bound == (1700000000, 10)  # its own newest signature, not the older one, nor the stranger's newer one
    assert list(problems_of(key, SUBKEY)) == []
    assert list(problems_of(key, PRIMARY)) == [
        f"key {PRIMARY!r} may not sign", f"the secret of key {PRIMARY!r} is not here",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("sub:u", "sub:r", "is revoked"),
        ("pub:u", "pub:r", "is revoked"),
        ("sub:u", "sub:e", "expired on 2096-10-02"),
        (":1700000000:4000000000:", ":1600000000:1700000000:", "expired on 2023-11-14"),
        ("pub:u", "pub:d", "is disabled or invalid"),
        ("sub:u:3072:", "sub:u:1024:", "is 'rsa1024', which apt refuses"),
        ("sub:u:3072:1:", "sub:u:3072:17:", "is 'dsa3072', which apt refuses"),
        ("18x::" + PRIMARY + ":::10:", "18x::" + PRIMARY + ":::2:", "is bound to its owner with SHA1"),
    ],
)
def test_what_is_wrong_with_a_key(old: str, new: str, says: str) -> None:
    assert old in PUBLIC
    [key] = parse_keys(PUBLIC.replace(old, new), SECRET)
    [problem] = problems_of(key, SUBKEY)
    assert says in problem


def test_an_unknown_part() -> None:
    [key] = parse_keys(PUBLIC, SECRET)
    assert list(problems_of(key, "D" * 40)) == [f"key {PRIMARY!r} has no part {'D' * 40!r}"]


@given(st.text(), st.text())
def test_no_listing_breaks_the_parser(public: str, secret: str) -> None:
    parse_keys(public, secret)


KINDS = st.sampled_from(["pub", "sec", "sub", "ssb", "fpr", "sig", "uid"])
FIELDS = st.lists(st.text(alphabet="019rse+:", max_size=3), max_size=20)


@given(st.lists(st.builds(lambda kind, rest: ":".join([kind, *rest]), KINDS, FIELDS)))
def test_lines_in_any_order(lines: list[str]) -> None:
    for key in parse_keys("\n".join(lines), ""):
        assert key.part(key.fingerprint) is not None
