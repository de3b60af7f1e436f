"""What the tests of the Tast tasks share: a checkout, published images, snapshots, and a program `tast`."""

import datetime as dt
import hashlib
import sys
from pathlib import Path

from common import tools
from common.bucket import Kind
from common.bucket_directory import DirectoryBucket
from common.documents import canonical
from common.external import Pin
from common.milestones import object_name
from common.snapshot_store import STATEMENT
from lxd.built import BuiltImage
from lxd.metadata import ImageName
from lxd.publish import publish_images
from lxd.simplestreams import IMAGES, Images
from lxd.tast_data import objects_of

STAGING = "cros-containers-staging"
DATA = "src/go.chromium.org/tast-tests/cros/local/crostini/data"
OLD_PIN = "crostini_test_container_metadata_buster_amd64.tar.xz.external"
NOW = dt.datetime(2026, 11, 26, 10, 0, tzinfo=dt.UTC)
TRIPLES = (("bookworm", "amd64", "test"), ("bookworm", "arm64", "test"), ("trixie", "amd64", "app_test"),
           ("bookworm", "amd64", "default"))  # fmt: skip


def git(checkout: Path, *words: str) -> str:
    """Run git in a checkout, as somebody."""
    return tools.capture(
        ["git", "-C", checkout, "-c", "user.name=test", "-c", "user.email=test@localhost", *words], timeout=60
    )


def tast_tests(place: Path) -> Path:
    """A checkout of tast-tests, with a pin of an image that nobody publishes any more."""
    checkout = place / "tast-tests"
    (checkout / DATA).mkdir(parents=True)
    (checkout / DATA / "OWNERS").write_text("somebody@chromium.org\n")
    old = Pin(url="gs://cros-containers-staging/96/images/debian/buster/amd64/test/20210929_16:08/lxd.tar.xz",
              size=684, sha256="0" * 64)  # fmt: skip
    (checkout / DATA / OLD_PIN).write_bytes(old.write())
    git(place, "init", "--quiet", "--initial-branch=main", str(checkout))
    git(checkout, "config", "user.name", "test")
    git(checkout, "config", "user.email", "test@localhost")
    git(checkout, "add", "--all")
    git(checkout, "commit", "--quiet", "--message", "first")
    return checkout


def publish(out: Path, *, day: int = 0, milestone: int = 72, triples: tuple[tuple[str, str, str], ...] = TRIPLES,
            bucket: str = STAGING) -> DirectoryBucket:  # fmt: skip
    """Publish small images, so many days after the first ones."""
    built = []
    for release, arch, kind in triples:
        name = ImageName(release=release, arch=arch, type=kind)
        folder = out / "made" / str(day) / name.folder
        folder.mkdir(parents=True, exist_ok=True)
        for file in ("lxd.tar.xz", "incus.tar.xz", "rootfs.squashfs"):
            (folder / file).write_text(f"{file} {name} {day}")
        built.append(BuiltImage.read(name, folder))
    made = DirectoryBucket(out / "gs" / bucket)
    publish_images(made, milestone, built, now=NOW + dt.timedelta(days=day), publisher="test")
    return made


def snapshot(bucket: DirectoryBucket, *, milestone: int = 72, created: dt.datetime = NOW) -> str:
    """Leave a manifest of what the index has now; its id."""
    held = bucket.read(object_name(milestone, IMAGES))
    assert held is not None
    objects = objects_of(Images.read(held.content, "it"))
    subjects = [
        {"name": path, "digest": {"sha256": each.sha256}, "annotations": {"size": each.size}}
        for path, each in sorted(objects.items())
    ]
    content = canonical(
        {
            "_type": STATEMENT,
            "subject": subjects,
            "predicateType": "https://slsa.dev/provenance/v1",
            "predicate": {"runDetails": {"metadata": {"finishedOn": created.isoformat()}}},
        }
    )
    made = hashlib.sha256(content).hexdigest()
    bucket.upload(content, object_name(milestone, f"snapshots/{made}.json"), kind=Kind.IMMUTABLE)
    return made


# As strict as Tast's flag package, and writes results as it does. What a test does is told by a file `mode` beside it.
_TAST = """#!{python}
import json, pathlib, re, sys, time
here = pathlib.Path(__file__).parent
mode = (here / "mode").read_text() if (here / "mode").exists() else "pass"
known = {{"resultsdir", "timeout", "buildworkspace", "extraallowedbuckets", "var", "build"}}
words = sys.argv[1:]
(here / "calls").write_text(json.dumps(words))
if words[:1] != ["run"]:
    sys.exit("unknown subcommand")
flags, rest = {{}}, words[1:]
while rest and rest[0].startswith("-"):
    name, _, value = rest.pop(0).lstrip("-").partition("=")
    if name not in known:
        print(f"flag provided but not defined: -{{name}}", file=sys.stderr)
        sys.exit(2)
    flags[name] = value
if not rest:
    print("Missing target.", file=sys.stderr)
    sys.exit(2)
int(flags["timeout"])
host, patterns = rest[0], rest[1:]
if any(p.startswith("(") for p in patterns) and (len(patterns) != 1 or not patterns[0].endswith(")")):
    print("bad attribute expression", file=sys.stderr)
    sys.exit(1)
data = sorted(pathlib.Path(flags["buildworkspace"]).rglob("*.external"))
(here / "seen").write_text(json.dumps({{path.name: json.loads(path.read_text()) for path in data}}))
results = pathlib.Path(flags["resultsdir"])
results.mkdir(parents=True, exist_ok=True)
if mode == "hang":
    time.sleep(60)
if mode == "unmatched":
    print(f"No tests matched by pattern(s) {{patterns}}")
    sys.exit(1)
if mode == "lost":
    print("Lost SSH connection: EOF")
    sys.exit(1)
if mode == "broken":
    print("Failed to build")
    sys.exit(1)
now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + ".123456789Z"
errors = [{{"time": now, "reason": "no prompt", "file": "x.go", "line": 1, "stack": ""}}] if mode == "fail" else None
test = {{"name": "crostini.Basic", "errors": errors, "start": now, "end": now, "outDir": "", "skipReason": ""}}
(results / "streamed_results.jsonl").write_text(json.dumps(test) + "\\n")
(results / "results.json").write_text(json.dumps([test], indent=2))
"""


def fake_tast(bindir: Path, mode: str = "pass") -> Path:
    """Leave a program `tast` in a directory of PATH; its calls and the static data it saw are files beside it."""
    bindir.mkdir(exist_ok=True)
    program = bindir / "tast"
    program.write_text(_TAST.format(python=sys.executable))
    program.chmod(0o755)
    (bindir / "mode").write_text(mode)
    return bindir
