"""External data files: what is written is read, and what Tast would not take is refused."""

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import ArtifactError, ReleaseError
from common.external import Pin, read_pins

URL = "gs://cros-containers-staging/109/images/debian/bullseye/amd64/test/20221108_10:20/lxd.tar.xz"
PINS = st.builds(
    Pin,
    url=st.text().filter(str.isprintable).map(lambda text: f"gs://{text.replace(' ', '_')}"),
    size=st.integers(0, 2**63),
    sha256=st.binary(min_size=32, max_size=32).map(bytes.hex),
)


def test_the_form_is_that_of_tast_tests() -> None:
    assert Pin(url=URL, size=684, sha256="0a" * 32).write().decode() == (
        "{\n"
        f'    "sha256sum": "{"0a" * 32}",\n'
        '    "size": 684,\n'
        f'    "url": "{URL}"\n'
        "}\n"
    )  # fmt: skip


@given(PINS)
def test_what_is_written_is_read(pin: Pin) -> None:
    assert Pin.read(pin.write(), "it") == pin
    assert Pin.of(json.loads(json.dumps(pin.plain())), "it") == pin


def test_an_artifact_of_the_build_pins_nothing() -> None:
    assert Pin.read(b'{"type": "artifact", "name": "guest-vm-base.tbz"}', "it") is None


@pytest.mark.parametrize(
    "content",
    [
        b"[]", b"{}", b'{"url": "x"}', b'{"url": "gs://x", "size": 1, "sha256sum": "0"}', b"x",
        b'{"url": "", "size": 1, "sha256sum": "%s"}' % (b"0" * 64),
        b'{"url": "gs://\\u001b[2J", "size": 1, "sha256sum": "%s"}' % (b"0" * 64),
        b'{"url": "gs://x", "size": true, "sha256sum": "%s"}' % (b"0" * 64),
        b'{"url": "gs://x", "size": -1, "sha256sum": "%s"}' % (b"0" * 64),
        b'{"url": "gs://x", "name": "x", "size": 1, "sha256sum": "%s"}' % (b"0" * 64),
        b'{"type": "artifact", "url": "x"}',
    ],
)  # fmt: skip
def test_what_tast_would_not_take(content: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"^data/x\.external is no"):
        Pin.read(content, "data/x.external")


@given(PINS, st.data())
def test_a_changed_byte_is_our_error_or_another_pin(pin: Pin, data: st.DataObject) -> None:
    content = bytearray(pin.write())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ReleaseError):
        Pin.read(bytes(content), "it")


def test_the_pins_of_a_folder(tmp_path: Path) -> None:
    pin = Pin(url=URL, size=1, sha256="0" * 64)
    (tmp_path / "a.external").write_bytes(pin.write())
    (tmp_path / "b.external").write_bytes(b'{"type": "artifact", "name": "x"}')
    assert read_pins(tmp_path, ["a.external", "b.external", "c.external"]) == {"a.external": pin}
