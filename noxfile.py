"""The isolated environments of this project's checks: `./run nox` runs the default ones, which is what CI runs."""

import nox

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["lint", "types", "tests", "system_tests", "flow_test", "lxd_test", "docs"]
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"

PYTHON = ["common", "debs", "kokoro", "lxd", "scripts", "tests", "tasks.py", "noxfile.py"]
# Tests that share containers or images stay together (tests/conftest.py).
BOTH_PROCESSORS = ["--numprocesses=auto", "--dist=loadgroup"]
# Seconds that what made containers, daemons and mounts has after Ctrl-C to remove them; nox's own are 0.3.
CLEANUP = 60.0


def install(session: nox.Session) -> None:
    """Exactly what locks/dev.lock pins."""
    session.install("--require-hashes", "--no-deps", "-r", "locks/dev.lock")


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff for Python, shellcheck for the shell steps."""
    install(session)
    session.run("ruff", "check", *PYTHON)
    session.run("ruff", "format", "--check", *PYTHON)
    session.run("python", "-m", "scripts.shell_lint")


@nox.session
def types(session: nox.Session) -> None:
    """Mypy, strict, tests too."""
    install(session)
    session.run("mypy", *PYTHON)


@nox.session
def tests(session: nox.Session) -> None:
    """Unit tests: no LXD, no mirror, no root. Arguments go to pytest."""
    install(session)
    session.run("pytest", *BOTH_PROCESSORS, *session.posargs)


@nox.session
def system_tests(session: nox.Session) -> None:
    """Tests with the real programs: root, the machine's Debian mirror, LXD. Arguments go to pytest."""
    install(session)
    chosen = "(root or mirror or lxd) and not flow and not packages and not incus and not emulated"
    session.run("pytest", *BOTH_PROCESSORS, "-m", chosen, *session.posargs, interrupt_timeout=CLEANUP)


@nox.session(default=False)
def packages_test(session: nox.Session) -> None:
    """The guest packages in more roots and containers: of every release, and with only what the packages need."""
    install(session)
    session.run("pytest", "-m", "packages", *session.posargs, interrupt_timeout=CLEANUP)


@nox.session
def flow_test(session: nox.Session) -> None:
    """The whole continuous flow, its published repository and images used by real clients, and killed runs."""
    install(session)
    session.run("pytest", *BOTH_PROCESSORS, "-m", "flow and not incus", *session.posargs, interrupt_timeout=CLEANUP)


@nox.session(default=False)
def incus_test(session: nox.Session) -> None:
    """What the tests with a real LXD do, with an Incus: its daemon, its client, its view of the published index."""
    install(session)
    session.run("pytest", "-m", "incus", *session.posargs, interrupt_timeout=CLEANUP)


@nox.session(default=False)
def clients_test(session: nox.Session) -> None:
    """Real clients in a tight loop while what they read is published, promoted, put back and pruned."""
    install(session)
    session.run("pytest", "-m", "clients", *session.posargs, interrupt_timeout=CLEANUP)


@nox.session(default=False)
def mutants(session: nox.Session) -> None:
    """Slow: images are broken in one way each, and the boot checks have to notice. Arguments go to pytest."""
    install(session)
    session.run("pytest", *BOTH_PROCESSORS, "-m", "mutants", *session.posargs, interrupt_timeout=CLEANUP)


@nox.session(default=False)
def arm64_test(session: nox.Session) -> None:
    """Slow: a machine of another architecture in software emulation. Boot checks there: lxd_test -- --arch arm64."""
    install(session)
    session.run("pytest", "-m", "emulated", *session.posargs, interrupt_timeout=CLEANUP)


@nox.session
def lxd_test(session: nox.Session) -> None:
    """The boot checks of images: of all that have been built, of some (`-- --help`), of RESULT_DIR METADATA ROOTFS."""
    install(session)
    session.run("python", "-m", "scripts.lxd_test", *session.posargs, interrupt_timeout=CLEANUP)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Measure what docs/benchmarks.md states, and write it down there."""
    install(session)
    session.run("python", "-m", "scripts.bench", *session.posargs, interrupt_timeout=CLEANUP)


@nox.session
def docs(session: nox.Session) -> None:
    """The documents against the tree: commands exist, links lead somewhere, the picture is of these flows."""
    install(session)
    session.run("pytest", "-m", "docs", *session.posargs)


@nox.session(default=False)
def lock(session: nox.Session) -> None:
    """Pin the newest versions in locks/; `git diff` shows what changed."""
    install(session)
    for group in ("run", "dev"):
        session.run(
            "uv", "pip", "compile", "--quiet", "--upgrade", "--generate-hashes", "--no-header", "--no-emit-index-url",
            "--no-emit-find-links", "--python-version", "3.11", "--group", group,
            *(["--constraint", "locks/run.lock"] if group == "dev" else []),
            "--output-file", f"locks/{group}.lock",
        )  # fmt: skip
