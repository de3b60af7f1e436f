"""The .cfg loader: what public files say, errors that point at the place, unknown fields found wherever they stand."""

import logging
import re
import sys
from pathlib import Path

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from common import tools
from common.errors import ConfigError
from common.files import ROOT
from kokoro import textproto
from kokoro.build_config_pb2 import Action, BuildConfig, DefineArtifacts, EnvVar
from kokoro.config import ArtifactSpec, KeystoreResource, load

GVISOR_STYLE = """\
# Format: //devtools/kokoro/config/proto/build.proto
build_file: "repo/scripts/build.sh"
timeout_mins: 20
before_action { fetch_keystore { keystore_resource { keystore_config_id: 73898 keyname: "kokoro-repo-key"
  backend: "blade:keystore-fastconfigpush" backend_type: FASTCONFIGPUSH } } }
env_vars { key: "KOKORO_REPO_KEY" value: "73898_kokoro-repo-key" }
env_vars: { key: "B", value: 'c' "d" };
gfile_resources: "/bigstore/a/b"
action { define_artifacts { regex: "**/runsc" regex: ["**/dists/**", "**/pool/**"] strip_prefix: "git/repo/" } }
action < define_artifacts < regex: "logs/**/*" fail_if_no_artifacts: true > >
bazel_setting { project_id: "p" local_execution: true auth_credential { keystore_config_id: 1 keyname: "k" } }
container_properties { docker_image: "i" }
xunit_test_results { target_name: "t" result_xml_path: "git/repo/x.xml" }
"""


def _cfg(folder: Path, text: str, name: str = "job.cfg") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text)
    return path


def test_every_field_of_public_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = load(_cfg(tmp_path, GVISOR_STYLE))
    assert (config.name, config.build_file, config.script, config.timeout_mins) == (
        "job", "repo/scripts/build.sh", "scripts/build.sh", 20,
    )  # fmt: skip
    assert config.gfile_resources == ("/bigstore/a/b",)
    assert config.env_vars == (("KOKORO_REPO_KEY", "73898_kokoro-repo-key"), ("B", "cd"))
    assert config.keystore == (KeystoreResource(config_id=73898, keyname="kokoro-repo-key"),)
    assert config.keystore[0].filename == "73898_kokoro-repo-key"
    assert config.artifacts == (
        ArtifactSpec(
            regexes=("**/runsc", "**/dists/**", "**/pool/**"), strip_prefix="git/repo/", fail_if_no_artifacts=False
        ),
        ArtifactSpec(regexes=("logs/**/*",), strip_prefix="", fail_if_no_artifacts=True),
    )
    assert not caplog.records


@pytest.mark.parametrize(
    ("build_file", "script"),
    [("github/repo/ci/a.sh", "ci/a.sh"), ("kokoro/test.sh", "test.sh"), ("s/a/b.sh", "a/b.sh")],
)
def test_script_is_relative_to_the_checkout(tmp_path: Path, build_file: str, script: str) -> None:
    assert load(_cfg(tmp_path, f'build_file: "{build_file}"')).script == script


def test_common_cfg_of_the_directories_above_comes_first(tmp_path: Path) -> None:
    root = tmp_path / "repo"
    _cfg(tmp_path, 'timeout_mins: 1 gfile_resources: "above the repository"', "common.cfg")
    _cfg(root, 'timeout_mins: 2 gfile_resources: "top" env_vars { key: "K" value: "top" }', "common.cfg")
    _cfg(root / "a", 'timeout_mins: 3 gfile_resources: "a" env_vars { key: "L" value: "a" }', "common.cfg")
    job = _cfg(root / "a", 'build_file: "s/x.sh" gfile_resources: "own" env_vars { key: "K" value: "own" }')
    config = load(job, root=root)
    assert config.timeout_mins == 3
    assert config.gfile_resources == ("top", "a", "own")
    assert config.env_vars == (("K", "own"), ("L", "a"))


def test_a_symlink_gives_the_job_its_name(tmp_path: Path) -> None:
    _cfg(tmp_path / "elsewhere", "timeout_mins: 9", "common.cfg")
    target = _cfg(tmp_path / "elsewhere", 'build_file: "s/lxd.sh"', "lxd_container.cfg")
    link = tmp_path / "lxd_container_arm64_trixie.cfg"
    link.symlink_to(target)
    config = load(link, root=tmp_path)
    assert (config.name, config.script, config.timeout_mins) == ("lxd_container_arm64_trixie", "lxd.sh", None)


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ('build_file "x"', ":1:12:", 'Expected ":"'),
        ('# c\n\nbuild_file: "x', ":3:13:", "String missing ending quote"),
        ('build_file: "x"\ntimeout_mins: "x"', ":2:15:", "Couldn't parse integer"),
        ('build_file: "a" build_file: "b"', ":1:29:", "should not have multiple"),
        ("action {\n  define_artifacts { fail_if_no_artifacts: maybe }\n}", ":2:44:", "Expected"),
        ("a " + "{ b " * 60, ":", "more than 50 messages inside each other"),
        ("a {" * 3000, ":", "more than 50 messages inside each other"),
        ("strange: - 1", ":1:10:", "'-' is not a value"),
        ('strange { a: [ 1, "open ] }', ":1:19:", "is not a value"),
        ("regex: [", ":1:9:", "a list is not closed"),
        ("strange: }", ":1:10:", "'}' is not a value"),
        ("x: {{", ":1:5:", "Expected identifier"),
    ],
)
def test_an_error_points_at_the_place(tmp_path: Path, text: str, place: str, says: str) -> None:
    path = _cfg(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert f"{path}{place}" in caught.value.what
    assert says in caught.value.what
    assert "field: value" in caught.value.hint
    if "\n" not in text:
        assert caught.value.details.splitlines()[0] == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "build_file is missing"),
        ('build_file: "job.sh"', "build_file 'job.sh' does not name a file of the checkout"),
        ('build_file: "scm/../../etc/x"', "does not name a file of the checkout"),
        ('build_file: "scm//etc/x"', "does not name a file of the checkout"),
        ('build_file: "s/x" timeout_mins: 0', "timeout_mins is 0"),
        ('build_file: "s/x" env_vars { value: "v" }', "env_vars key ''"),
        (
            'build_file: "s/x" before_action { fetch_keystore { keystore_resource { keyname: "../x" } } }',
            "keystore_resource 0 '../x' cannot name a key's file",
        ),
    ],
)
def test_nonsense_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(_cfg(tmp_path, text))
    assert says in caught.value.what
    assert caught.value.hint


def test_missing_and_undecodable_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is missing"):
        load(tmp_path / "none.cfg")
    path = tmp_path / "latin.cfg"
    path.write_bytes(b'# a\n# caf\xe9\nbuild_file: "s/x"\n')
    with pytest.raises(ConfigError, match=r"latin\.cfg:2: byte 0xe9 is not UTF-8"):
        load(path)


def test_unknown_fields_are_named_with_a_guess(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = _cfg(tmp_path, 'build_file: "s/x"\ntimeout_min: 3\naction { define_artifacts {\n regexp: "a" } }\n')
    with caplog.at_level(logging.WARNING):
        assert load(path).timeout_mins is None
    first, second = (record.getMessage() for record in caplog.records)
    assert f"{path}:2: unknown field 'timeout_min' in BuildConfig is ignored; did you mean 'timeout_mins'?" in first
    assert f"{path}:4: unknown field 'regexp' in DefineArtifacts is ignored; did you mean 'regex'?" in second


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_VALUES = _TEXT.filter(lambda text: "\0" not in text)
_CONFIGS = st.builds(
    BuildConfig,
    build_file=st.just("s/x.sh"),
    timeout_mins=st.none() | st.integers(1, 2**31 - 1),
    gfile_resources=st.lists(_TEXT, max_size=3),
    env_vars=st.lists(
        st.builds(EnvVar, key=st.from_regex(r"[A-Z_]{1,8}", fullmatch=True), value=_VALUES),
        max_size=3, unique_by=lambda variable: variable.key,
    ),
    action=st.lists(
        st.builds(
            Action,
            define_artifacts=st.builds(
                DefineArtifacts,
                regex=st.lists(_TEXT, max_size=3), strip_prefix=_TEXT, fail_if_no_artifacts=st.booleans(),
            ),
        ),
        max_size=3,
    ),
)  # fmt: skip


@given(_CONFIGS, st.booleans(), st.booleans(), st.booleans())
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, proto: BuildConfig, utf8: bool, one_line: bool, pointy: bool
) -> None:
    text = text_format.MessageToString(proto, as_utf8=utf8, as_one_line=one_line, pointy_brackets=pointy)
    config = load(_cfg(tmp_path_factory.getbasetemp(), text))
    assert config.timeout_mins == (proto.timeout_mins if proto.HasField("timeout_mins") else None)
    assert config.gfile_resources == tuple(proto.gfile_resources)
    assert config.env_vars == tuple((variable.key, variable.value) for variable in proto.env_vars)
    assert [(list(spec.regexes), spec.strip_prefix, spec.fail_if_no_artifacts) for spec in config.artifacts] == [
        (list(spec.regex), spec.strip_prefix, spec.fail_if_no_artifacts)
        for spec in (action.define_artifacts for action in proto.action)
    ]


# Ways to write a field that does not exist, each on one line.
_STRANGE = st.sampled_from(
    [
        'strange: "x" "y"', "strange: -1.5", "strange: -inf", "strange { a: 1 b { c: 'd' } }", "strange: < a: [1, 2] >",
        "strange: [ { a: 1 }, < > ]", "strange: []", 'strange: [ "a", \'b\' ];', "strange: WORD,",
        'strange: "}"', 'strange: "# {"',
    ]
)  # fmt: skip


@given(_CONFIGS, _STRANGE, st.data())
def test_an_unknown_field_is_found_wherever_it_is_put(
    tmp_path_factory: pytest.TempPathFactory, proto: BuildConfig, strange: str, data: st.DataObject
) -> None:
    lines = ["# a comment", *text_format.MessageToString(proto).split("\n")]
    where = data.draw(st.integers(0, len(lines)))
    lines.insert(where, f"  {strange} # and why")
    path = _cfg(tmp_path_factory.getbasetemp(), "\n".join(lines))
    parsed, unknown = textproto.parse(path)
    assert parsed == proto
    assert [(field.name, field.line) for field in unknown] == [("strange", where + 1)]


def test_nothing_is_unknown_in_what_protobuf_writes(tmp_path: Path) -> None:
    _, unknown = textproto.parse(_cfg(tmp_path, GVISOR_STYLE))
    assert unknown == []


def test_the_generated_code_is_that_of_the_schema(tmp_path: Path) -> None:
    tools.run(
        [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}",
         "kokoro/build_config.proto"],
        cwd=ROOT, timeout=60,
    )  # fmt: skip
    for name in ("build_config_pb2.py", "build_config_pb2.pyi"):
        assert (tmp_path / "kokoro" / name).read_text() == (ROOT / "kokoro" / name).read_text(), (
            f"{name}: make it again, as kokoro/build_config.proto says"
        )


@pytest.mark.parametrize("cfg", sorted((ROOT / "kokoro").glob("*.cfg")), ids=lambda path: path.name)
def test_our_own_files(cfg: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = load(cfg)
    script = ROOT / config.script
    assert script.stat().st_mode & 0o111, f"{cfg.name}: {config.script} is not executable"
    assert not caplog.records


_SOUP = st.lists(
    st.sampled_from(
        ["build_file", "action", "regex", "strange", ":", "{", "}", "<", ">", "[", "]", ",", ";", "-", "#", "\n",
         '"a"', "'", '"', "1", "-2.5", "inf", "true", "\\", "/", "a.b", "é", "\0", "\x85"],
    ),
    max_size=14,
)  # fmt: skip


@given(_SOUP)
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, words: list[str]) -> None:
    path = _cfg(tmp_path_factory.getbasetemp(), " ".join(words))
    try:
        textproto.parse(path)
        refused = None
    except ConfigError as err:
        refused = err.what
    assert refused is None or re.match(rf"{re.escape(str(path))}:\d+", refused)
