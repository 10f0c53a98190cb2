"""The programs that the figures run beside: emulators from crates.io, Java's daemon from Maven Central.

Each is installed once into target/test-tools, where `cargo test --test emulators` looks too.
"""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
TOOLS = REPOSITORY / "target" / "test-tools"

CRATES = {
    "ferrokinesis": ("0.7.0", "ferrokinesis", []),
    "dynoxide-rs": ("3.2.0", "dynoxide", ["--no-default-features", "--features", "native-sqlite,http-server,cli"]),
}

# Published complete: 2.2.0, 2.5.4, 2.7.2, 3.1.3. Of 3.2.1 and 3.5.1 only the core is published: the daemon
# of 3.1.3 runs on it, and the core is what decides leases and retrieval.
DAEMON_OF_CORE = {"3.2.1": "3.1.3", "3.5.1": "3.1.3"}
# The daemon of 2.7.2 is published without its list of dependencies.
MISSING = {
    "2.7.2": [
        ("ch.qos.logback", "logback-classic", "1.3.14"),
        ("com.beust", "jcommander", "1.82"),
        ("commons-beanutils", "commons-beanutils", "1.9.4"),
        ("software.amazon.awssdk", "sts", "2.33.0"),
    ]
}


class Missing(Exception):
    """A tool is not here and cannot be installed; the text says why."""


def crate(name):
    """The program of a crate."""
    version, program, flags = CRATES[name]
    root = TOOLS / f"{name}-{version}"

    def install():
        need("cargo")
        run("cargo", "install", "--locked", "--root", root, "--version", version, *flags, name)

    once(root, install)
    return root / "bin" / program


def kinesis_local():
    """The program of kinesis-local for node, and the certificate without which it does not start."""
    need("node")
    root = TOOLS / "kinesis-local-0.6.2"

    def install():
        need("npm")
        run("npm", "install", "--no-audit", "--no-fund", "--prefix", root, "kinesis-local@0.6.2")

    once(root, install)
    package = root / "node_modules" / "kinesis-local"
    return package / "main.js", package / "server.json"


def java_class_path(version):
    """Class path of Java's MultiLangDaemon."""
    need("java")
    root = TOOLS / f"java-kcl-{version}"

    def install():
        need("mvn")
        group, core = "software.amazon.kinesis", "amazon-kinesis-client"
        wanted = [(group, core, version), (group, core + "-multilang", DAEMON_OF_CORE.get(version, version))]
        wanted += MISSING.get(version, [])
        dependencies = "".join(
            f"<dependency><groupId>{g}</groupId><artifactId>{a}</artifactId><version>{v}</version></dependency>"
            for g, a, v in wanted
        )
        (root / "pom.xml").write_text(
            "<project><modelVersion>4.0.0</modelVersion><groupId>x</groupId><artifactId>x</artifactId>"
            f"<version>1</version><dependencies>{dependencies}</dependencies></project>"
        )
        run("mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=.", "-DincludeScope=runtime", cwd=root)

    once(root, install)
    return f"{root}/*"


def need(program):
    if shutil.which(program) is None:
        raise Missing(f"{program} is not on PATH")


def run(*command, cwd=None):
    done = subprocess.run([str(part) for part in command], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        last = done.stdout.decode(errors="replace").strip().splitlines()[-1:]
        raise Missing(f"'{command[0]} {command[1]}' failed: {' '.join(last)}")


def once(root, install):
    """Runs `install` unless it has succeeded before; nobody else installs the same meanwhile."""
    TOOLS.mkdir(parents=True, exist_ok=True)
    with open(f"{root}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / ".complete").exists():
            shutil.rmtree(root, ignore_errors=True)
            os.makedirs(root)
            install()
            (root / ".complete").touch()
