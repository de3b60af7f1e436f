"""The local runner against toy builds: real processes, real namespaces where we are root, ./run as a user calls it."""

import json
from pathlib import Path

from common import tools
from common.errors import ArtifactError, ConfigError, NotRootError
from common.waiting import wait_until
from tests.kokoro.toys import BRANCH, FLOW, JOBS, needs_root, ran, start_lingering, states
from tests.support import AS_NOBODY, Checkout, toy_build, wait


def test_artifacts_are_what_the_globs_say_without_the_prefix(toy: Checkout) -> None:
    finished = toy.run(*FLOW)
    assert finished.code == 0, finished.output
    left = toy.path / JOBS / "left"
    assert [path.relative_to(left / "artifacts") for path in (left / "artifacts").rglob("*.*")] == [
        Path("deep/left.txt")
    ]
    assert (toy.path / JOBS / "both" / "artifacts" / "both.txt").read_text() == "left\nright\n"
    manifest = json.loads((left / "manifest.json").read_text())
    assert [(entry["path"], entry["size"]) for entry in manifest["artifacts"]] == [("deep/left.txt", 5)]
    assert not (toy.path / "out" / "work").exists()


def test_a_file_that_two_patterns_or_a_link_name_is_handed_on_each_time(toy: Checkout) -> None:
    toy_build(toy, "left", "mkdir -p out/deep && echo left >out/deep/left.txt && ln -s deep/left.txt out/link.txt")
    cfg = (toy.path / "kokoro" / "left.cfg").read_text()
    toy.write("kokoro/left.cfg", cfg + 'action { define_artifacts { regex: "out/deep/*" strip_prefix: "out" } }\n')
    toy.commit()
    finished = toy.run(*FLOW)
    assert finished.code == 0, finished.output
    left = toy.path / JOBS / "left" / "artifacts"
    assert (left / "link.txt").read_text() == "left\n"
    assert not (left / "link.txt").is_symlink()


def test_a_bucket_that_no_longer_shows_what_was_published_is_published_again(toy: Checkout) -> None:
    flows = (toy.path / "kokoro" / "flows.toml").read_text()
    toy.write("kokoro/flows.toml", flows.replace('"kokoro/both.*"]', '"kokoro/both.*"]\nneeds = ["bucket"]'))
    digest = "1e1f2c881ae0608ec77ebf88a75c66d3099113a7343238f2f7a0ebb91a4ed335"  # of "value\n"
    toy_build(
        toy,
        "both",
        f"""mkdir -p "$CROS_STORE/bucket/72" && echo value >"$CROS_STORE/bucket/72/pointer"
echo '{{"pointers": {{"bucket/72/pointer": "{digest}"}}}}' >published.json""",
        'action { define_artifacts { regex: "published.json" } }',
    )
    cfg = (toy.path / "kokoro" / "both.cfg").read_text()
    toy.write("kokoro/both.cfg", cfg.replace("fail_if_no_artifacts: true", ""))
    toy.commit()
    finished = toy.run(*FLOW)
    assert finished.code == 0, finished.output
    assert "gs://bucket/72" in finished.output
    assert ran(toy.run(*FLOW)) == []
    (toy.path / "out/gs/bucket/72/pointer").write_text("somebody else's\n")
    assert ran(toy.run(*FLOW)) == ["both"]


def test_the_summary_names_each_job_and_the_report_shows_it(toy: Checkout) -> None:
    finished = toy.run(*FLOW)
    for name in ("left", "right", "both"):
        assert f"{name}: passed in" in finished.output
    page = (toy.path / "out" / "report" / "index.html").read_text()
    assert "<svg" in page
    assert 'id="both"' in page
    assert "http" not in page.replace("http://www.w3.org", ""), "the page must not need anything else"


def test_a_run_with_nothing_changed_runs_nothing(toy: Checkout) -> None:
    assert ran(toy.run(*FLOW)) == ["both", "left", "right"]
    again = toy.run(*FLOW)
    assert again.code == 0
    assert ran(again) == []
    assert again.output.count(": unchanged") == 3


def test_force_runs_everything(toy: Checkout) -> None:
    toy.run(*FLOW)
    assert ran(toy.run(*FLOW, "--force")) == ["both", "left", "right"]


def test_a_change_runs_its_build_and_those_that_get_something_else_from_it(toy: Checkout) -> None:
    toy.run(*FLOW)
    toy_build(toy, "left", "mkdir -p out/deep && echo other >out/deep/left.txt")
    toy.commit()
    assert ran(toy.run(*FLOW)) == ["both", "left"]
    # A change that makes the same artifacts ends where it began.
    toy_build(toy, "left", "mkdir -p out/deep && echo other >out/deep/left.txt && true")
    toy.commit()
    assert ran(toy.run(*FLOW)) == ["left"]


def test_a_lost_artifact_is_made_again(toy: Checkout) -> None:
    toy.run(*FLOW)
    (toy.path / JOBS / "left" / "artifacts" / "deep" / "left.txt").unlink()
    assert ran(toy.run(*FLOW)) == ["left"]


def test_a_tampered_artifact_is_not_handed_on(toy: Checkout) -> None:
    toy.run(*FLOW)
    artifact = toy.path / JOBS / "left" / "artifacts" / "deep" / "left.txt"
    artifact.chmod(0o644)
    artifact.write_text("LEFT\n")
    toy_build(toy, "both", "mkdir -p out && echo both >out/both.txt")
    toy.commit()
    finished = toy.run(*FLOW)
    assert finished.code == ArtifactError.exit_code
    assert "deep/left.txt: its content has changed" in finished.output
    assert "hint:" in finished.output


def test_a_build_that_forgets_its_artifact_fails(toy: Checkout) -> None:
    toy_build(toy, "left", "echo forgot")
    toy.commit()
    finished = toy.run(*FLOW)
    assert finished.code == ArtifactError.exit_code
    assert "left left no artifact that matches 'out/**/*.txt'" in finished.output
    assert states(toy) == {"left": "failed", "right": "passed"}
    assert "both: skipped" in finished.output


def test_a_failed_job_shows_its_last_lines_and_the_command_and_keeps_its_exit_code(toy: Checkout) -> None:
    toy_build(toy, "left", "echo working; echo 'error: the frobnicator is out of oil' >&2; exit 42")
    toy.commit()
    finished = toy.run(*FLOW)
    assert finished.code == 42
    assert "the frobnicator is out of oil" in finished.output
    assert f"./run invoke left --branch {BRANCH}" in finished.output
    page = (toy.path / "out" / "report" / "index.html").read_text()
    assert "the frobnicator is out of oil" in page


def test_resuming_after_a_failure_runs_only_what_is_missing(toy: Checkout) -> None:
    script = (toy.path / "kokoro" / "both.sh").read_text()
    toy.write("kokoro/both.sh", "#!/bin/sh\nexit 1\n", mode=0o755)
    toy.commit()
    assert toy.run(*FLOW).code == 1
    toy.write("kokoro/both.sh", script, mode=0o755)
    toy.commit()
    assert ran(toy.run(*FLOW)) == ["both"]


def test_independent_jobs_run_at_the_same_time(toy: Checkout) -> None:
    meet = """
mkdir -p out "$CROS_CACHE_DIR" && echo {me} >out/{me}.txt && mkdir -p out/deep && echo left >out/deep/left.txt
touch "$CROS_CACHE_DIR/{me}"
for i in $(seq 1 100); do [ -e "$CROS_CACHE_DIR/{other}" ] && exit 0; sleep 0.1; done
echo "error: {other} did not come"; exit 1
"""
    toy_build(toy, "left", meet.format(me="left", other="right"))
    toy_build(toy, "right", meet.format(me="right", other="left").replace("out/deep/left", "out/deep/right"))
    toy.commit()
    finished = toy.run(*FLOW, "--jobs", "2")
    assert finished.code == 0, finished.output


def test_the_environment_is_rebuilt_and_the_key_goes_only_where_it_is_needed(toy: Checkout) -> None:
    keys = 'before_action { fetch_keystore { keystore_resource { keystore_config_id: 1 keyname: "k" } } }'
    toy_build(toy, "left", "mkdir -p out/deep && env | sort >out/deep/left.txt")
    toy_build(toy, "right", 'mkdir -p out && env | sort >out/right.txt && head -n1 "$KOKORO_KEYSTORE_DIR/1_k"', keys)
    toy.commit()
    finished = toy.run(*FLOW, GITHUB_TOKEN="s3cr3t")
    assert finished.code == 0, finished.output
    left = (toy.path / JOBS / "left" / "artifacts" / "deep" / "left.txt").read_text()
    right = (toy.path / JOBS / "right" / "artifacts" / "right.txt").read_text()
    assert "s3cr3t" not in left + right
    assert "KOKORO_KEYSTORE_DIR" not in left
    assert "KOKORO_KEYSTORE_DIR" in right
    assert "CROS_STORE" not in left + right
    assert "KOKORO_JOB_NAME=cros-containers/crostini-guest/72/left" in left
    assert "BEGIN PGP PRIVATE KEY" in (toy.path / JOBS / "right" / "log.txt").read_text()


@needs_root
def test_inputs_are_read_only(toy: Checkout) -> None:
    toy_build(
        toy,
        "both",
        "mkdir -p out && touch out/both.txt\n"
        '! echo x >"$KOKORO_GFILE_DIR/right.txt" && ! touch "$KOKORO_GFILE_DIR/new"',
    )
    toy.commit()
    finished = toy.run(*FLOW)
    assert finished.code == 0, finished.output
    assert (toy.path / JOBS / "right" / "artifacts" / "right.txt").read_text() == "right\n"


def test_no_deps_names_the_missing_artifact_and_the_command(toy: Checkout) -> None:
    finished = toy.run("invoke", "both", "--branch", BRANCH, "--no-deps")
    assert finished.code == ArtifactError.exit_code
    assert "both needs the artifacts of left, which are missing" in finished.output
    assert f"hint: ./run invoke left --branch {BRANCH}" in finished.output
    assert states(toy) == {}


def test_the_commands_of_another_out_directory_name_it(toy: Checkout) -> None:
    finished = toy.run("invoke", "both", "--branch", BRANCH, "--no-deps", "--out", "else where")
    assert f"hint: ./run invoke left --branch {BRANCH} --out '{toy.path}/else where'" in finished.output


def test_no_deps_is_judged_by_what_it_runs(toy: Checkout) -> None:
    assert toy.run(*FLOW).code == 0
    toy.write("kokoro/left.cfg", "nonsense {")
    toy.commit()
    finished = toy.run("invoke", "both", "--branch", BRANCH, "--no-deps", "--force")
    assert finished.code == 0, finished.output


def test_two_failed_jobs_are_both_explained(toy: Checkout) -> None:
    toy_build(toy, "left", "echo 'error: left is broken'; exit 3")
    toy_build(toy, "right", "echo 'error: right is broken'; exit 4")
    toy.commit()
    finished = toy.run(*FLOW)
    assert finished.code == 3
    assert "left is broken" in finished.output
    assert "right is broken" in finished.output


def test_a_damaged_manifest_is_made_again(toy: Checkout) -> None:
    toy.run(*FLOW)
    (toy.path / JOBS / "left" / "manifest.json").write_text("")
    finished = toy.run(*FLOW)
    assert finished.code == 0, finished.output
    assert ran(finished) == ["left"]


def test_a_changed_common_cfg_is_a_change(toy: Checkout) -> None:
    toy.run(*FLOW)
    toy.write("common.cfg", 'env_vars { key: "NEW" value: "1" }\n')
    toy.commit()
    assert ran(toy.run(*FLOW)) == ["both", "left", "right"]


def test_what_git_does_not_track_is_copied_nowhere(toy: Checkout) -> None:
    toy.write("private.env", "password\n")
    (toy.path / "nested" / ".git").mkdir(parents=True)
    start_lingering(toy, "75.5")
    toy_build(toy, "left", 'mkdir -p out/deep && ls -R "$KOKORO_ARTIFACTS_DIR/../.." >out/deep/left.txt')
    finished = toy.run(*FLOW)
    assert finished.code == 0, finished.output
    listed = (toy.path / JOBS / "left" / "artifacts" / "deep" / "left.txt").read_text()
    assert "left.sh" in listed
    assert "private.env" not in listed


@needs_root
def test_a_job_sees_no_keys_no_buckets_and_no_network_that_it_does_not_need(toy: Checkout) -> None:
    flows = (toy.path / "kokoro" / "flows.toml").read_text()
    toy.write("kokoro/flows.toml", flows.replace('"kokoro/both.*"]', '"kokoro/both.*"]\nneeds = ["bucket", "network"]'))
    looks = """mkdir -p out/deep && out="$KOKORO_ARTIFACTS_DIR/../../../../../.." # out/
{{ ls "$out/keys" "$out/gs"; ls /sys/class/net; cat /proc/net/dev | grep -c :; }} >out/deep/{name}.txt 2>&1"""
    keys = 'before_action { fetch_keystore { keystore_resource { keystore_config_id: 1 keyname: "k" } } }'
    (toy.path / "out" / "gs" / "a-bucket").mkdir(parents=True)
    toy_build(toy, "left", looks.format(name="left"))
    toy_build(toy, "right", looks.format(name="right"), keys)
    toy_build(toy, "both", looks.format(name="both"))
    toy.commit()
    finished = toy.run(*FLOW)
    assert finished.code == 0, finished.output

    def saw(name: str) -> str:
        return (toy.path / JOBS / name / "artifacts" / "deep" / f"{name}.txt").read_text()

    for name in ("left", "right"):
        assert "throwaway" not in saw(name)
        assert "a-bucket" not in saw(name)
        assert saw(name).splitlines()[-1] == "1", "only the loopback device"
    assert "throwaway" not in saw("both")
    assert "a-bucket" in saw("both")


@needs_root
def test_keys_and_buckets_that_another_job_makes_meanwhile_are_hidden_too(toy: Checkout) -> None:
    """Where neither is there yet when the job begins."""
    look = """out="$KOKORO_ARTIFACTS_DIR/../../../../../.."
mkdir -p out/deep
stat -c %a "$out/keys" "$out/gs" >out/deep/left.txt"""
    toy_build(toy, "left", look)
    toy.commit()
    assert not (toy.path / "out").exists()
    finished = toy.run("invoke", "left", "--branch", BRANCH)
    assert finished.code == 0, finished.output
    assert (toy.path / JOBS / "left" / "artifacts" / "deep" / "left.txt").read_text().split() == ["0", "0"]


def test_a_single_build_makes_what_it_misses_first(toy: Checkout) -> None:
    finished = toy.run("invoke", "both", "--branch", BRANCH)
    assert ran(finished) == ["both", "left", "right"]
    assert toy.run("invoke", "both", "--branch", BRANCH, "--no-deps", "--force").code == 0


def test_a_cfg_that_does_not_parse_stops_before_any_work(toy: Checkout) -> None:
    toy.write("kokoro/both.cfg", 'build_file: "x"\naction {\n')
    toy.commit()
    finished = toy.run(*FLOW)
    assert finished.code == ConfigError.exit_code
    assert "both.cfg:" in finished.output
    assert states(toy) == {}


def test_a_missing_shell_step_is_named(toy: Checkout) -> None:
    toy.write("kokoro/both.cfg", 'build_file: "cros-container-guest-tools/kokoro/nosuch.sh"\n')
    toy.commit()
    finished = toy.run(*FLOW)
    assert finished.code == ConfigError.exit_code
    assert "build_file 'cros-container-guest-tools/kokoro/nosuch.sh'" in finished.output


def test_an_edit_during_a_run_is_for_the_next_one(toy: Checkout) -> None:
    (toy.path / "out" / "cache").mkdir(parents=True)
    script = """touch "$CROS_CACHE_DIR/up"
for i in $(seq 1 200); do [ -e "$CROS_CACHE_DIR/edited" ] && break; sleep 0.1; done
mkdir -p out/deep && echo left >out/deep/left.txt"""
    toy_build(toy, "left", script)
    toy.commit()
    env = {**tools.environment(), **toy.env}
    with tools.started(
        [toy.path / "run", *FLOW], cwd=toy.path, only_env=env, log_file=toy.path.parent / "log"
    ) as process:
        wait_until(lambda: (toy.path / "out/cache/up").exists(), "the first job to run", timeout=30)
        toy_build(toy, "both", "mkdir -p out && echo edited >out/both.txt")
        (toy.path / "out/cache/edited").touch()
        assert wait(process, 60) == 0
    both = toy.path / JOBS / "both" / "artifacts" / "both.txt"
    assert both.read_text() == "left\nright\n"
    assert ran(toy.run(*FLOW)) == ["both"]
    assert both.read_text() == "edited\n"


def test_not_root_is_said_before_any_work(toy: Checkout) -> None:
    flows = (toy.path / "kokoro" / "flows.toml").read_text()
    toy.write("kokoro/flows.toml", flows.replace('"kokoro/left.*"]', '"kokoro/left.*"]\nneeds = ["root"]'))
    toy.commit()
    log = toy.path.parent / "log"
    argv: list[tools.Arg] = [*AS_NOBODY, toy.path / "run", *FLOW]
    with tools.started(argv, cwd=toy.path, only_env={**tools.environment(), **toy.env}, log_file=log) as process:
        code = wait(process, 60)
    assert code == NotRootError.exit_code, log.read_text()
    assert "left: only root can make file systems" in log.read_text()
    assert states(toy) == {}
