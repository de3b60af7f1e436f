"""`invoke prune-images`: its arguments, and what it says."""

import datetime as dt
from pathlib import Path

import pytest

from common.bucket_directory import DirectoryBucket
from common.errors import UsageError
from lxd.built import BuiltImage
from lxd.metadata import ImageName
from lxd.publish import publish_images
from lxd.simplestreams import serial_of
from scripts.prune_images import parse_age, run
from tests.support import Checkout

NAME = ImageName(release="bookworm", arch="amd64", type="default")
NOW = dt.datetime.now(dt.UTC)


def publish(out: Path, days: int) -> str:
    folder = out / "made" / str(days)
    folder.mkdir(parents=True)
    for file in ("lxd.tar.xz", "incus.tar.xz", "rootfs.squashfs"):
        (folder / file).write_text(f"{file} {days}")
    when = NOW - dt.timedelta(days=days)
    bucket = DirectoryBucket(out / "gs" / "cros-containers-staging")
    publish_images(bucket, 72, [BuiltImage.read(NAME, folder)], now=when, publisher="test")
    return serial_of(when)


def pruned(out: Path, **arguments: object) -> None:
    usual = {"branch": "", "milestone": 72, "keep": 1, "min_age": "7d", "tast": "", "dry_run": False, "out": str(out),
             "storage": "directory"}  # fmt: skip
    run(**{**usual, **arguments})  # type: ignore[arg-type]


def test_it_says_what_goes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, _ = publish(tmp_path, 30), publish(tmp_path, 10)
    pruned(tmp_path, dry_run=True)
    assert f"debian:bookworm:amd64:default {old}: would be removed from the index (0.0 MB)" in capsys.readouterr().out
    pruned(tmp_path)
    said = capsys.readouterr().out
    assert f"{old}: removed from the index" in said
    assert "3 objects (0.0 MB) wait until clients forget the index that named them: run this again after 20" in said
    pruned(tmp_path, min_age="99d")
    assert "3 objects" in capsys.readouterr().out


def test_with_nothing_to_do_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish(tmp_path, 30)
    pruned(tmp_path)
    assert capsys.readouterr().out == "nothing to prune\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"milestone": 0}, "name either a branch or a milestone"),
        ({"branch": "main"}, "name either a branch or a milestone"),
        ({"keep": 0}, "--keep 0 would leave products without an image"),
        ({"min_age": "7"}, "--min-age '7' is no age"),
        ({"min_age": "-7d"}, "--min-age '-7d' is no age"),
        ({"tast": "/nowhere"}, "'/nowhere' is no folder"),
    ],
)
def test_arguments_that_make_no_sense_are_named(tmp_path: Path, arguments: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        pruned(tmp_path, **arguments)


@pytest.mark.parametrize(("text", "hours"), [("7d", 168), ("12h", 12), ("30m", 0.5), ("0d", 0)])
def test_ages(text: str, hours: float) -> None:
    assert parse_age(text) == dt.timedelta(hours=hours)


def test_the_task_ends_with_an_exit_code(pristine: Checkout) -> None:
    finished = pristine.run("invoke", "prune-images", "--branch", "main", "--min-age", "old")
    assert finished.code == UsageError.exit_code
    assert finished.output.startswith("error: --min-age 'old' is no age")
    finished = pristine.run("invoke", "prune-images", "--branch", "main", "--dry-run")
    assert "gs://cros-containers-staging/74/streams/v1/images.json is missing" in finished.output
