"""An empty Debian 12 that has booted: debootstrap makes it, systemd-nspawn starts its systemd.

It shares the network of this machine, so that it reaches the package registries, and is reached at
127.0.0.1; everything else is its own, and gone at the end.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from . import DOMAIN

TOOLS = {
    "debootstrap": "debootstrap",
    "systemd-nspawn": "systemd-container",
    "nsenter": "util-linux",
    "openssl": "openssl",
    "git": "git",
}
ROOT_OF_CODE = Path(__file__).resolve().parents[2]
REPOSITORY = "srv/groupsite"
MIRROR = "http://deb.debian.org/debian"
SIZE = "6G"  # at most
# What the machine has in place of this one's: certificates of this network, and its own name.
TRUSTED, PIP = Path("/usr/local/share/ca-certificates"), Path("/etc/pip.conf")
ENVIRONMENT = {
    "HOME": "/root",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "TERM": "dumb",
}
# MariaDB takes no other port by itself where this machine's own has the usual one.
OTHER_PORT = "[mariadbd]\nport = 33306\n"


class CommandFailed(Exception):
    """A command of the guide that did not succeed, with what it said."""


def missing_tools() -> list[str]:
    """Return the Debian packages that the trial needs and this machine lacks."""
    return [package for tool, package in TOOLS.items() if not shutil.which(tool)]


class Machine:
    def __init__(self, root: Path, log: Path) -> None:
        self.root = root
        self.log = log
        self.leader = 0

    def run(self, command: str, *, fails: bool = False) -> str:
        """Run a command of root's shell there, in its home; return what it said.

        Everything that is run, and what it said, stands in the log.
        """
        begun = time.monotonic()
        done = subprocess.run(
            [
                *("nsenter", "--target", str(self.leader), "--all", "--root", "--wd"),
                *("env", "--ignore-environment", "--chdir=/root"),
                *(f"{name}={value}" for name, value in ENVIRONMENT.items()),
                *("bash", "-euo", "pipefail", "-c", command),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        with self.log.open("a") as log:
            log.write(f"\n# {command}\n{done.stdout}")
            log.write(f"[{done.returncode}, {time.monotonic() - begun:.1f} s]\n")
        if (done.returncode != 0) != fails:
            raise CommandFailed(f"{command}\n{done.stdout[-4000:]}\n[{done.returncode}]")
        return done.stdout

    def write(self, path: str, text: str) -> None:
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def read(self, path: str) -> str:
        return (self.root / path.lstrip("/")).read_text()


@contextmanager
def memory(folder: Path) -> Iterator[Path]:
    """Yield a folder in memory: on a disk, dpkg would wait for it after each file."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def make_debian(root: Path) -> None:
    included = "--include=systemd-sysv,ca-certificates"
    subprocess.run(
        ["debootstrap", "--variant=minbase", included, "bookworm", str(root), MIRROR],
        stdout=subprocess.DEVNULL,
        check=True,
    )


@contextmanager
def empty_debian(root: Path, log: Path) -> Iterator[Machine]:
    """Boot the Debian in a folder; switch it off at the end."""
    machine = Machine(root, log)
    prepare(machine)
    with booted(machine, root.parent / "console"):
        yield machine


def prepare(machine: Machine) -> None:
    """Give the machine its name, and what this network needs."""
    machine.write("/etc/hosts", f"127.0.0.1 localhost {DOMAIN}\n")
    machine.write("/etc/mysql/mariadb.conf.d/99-port.cnf", OTHER_PORT)
    for certificate in TRUSTED.glob("*.crt"):
        shutil.copy(certificate, machine.root / TRUSTED.relative_to("/"))
    if PIP.exists():
        shutil.copy(PIP, machine.root / "etc")
    for timer in ("apt-daily.timer", "apt-daily-upgrade.timer"):
        (machine.root / "etc/systemd/system" / timer).symlink_to("/dev/null")


@contextmanager
def booted(machine: Machine, console: Path) -> Iterator[None]:
    with console.open("w") as said:
        container = subprocess.Popen(
            [
                *("systemd-nspawn", "--quiet", "--register=no", "--keep-unit"),
                *("--link-journal=no", f"--directory={machine.root}"),
                *(f"--machine=guide-{os.getpid()}", "--boot"),
            ],
            env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
    try:
        deadline = time.monotonic() + 60
        while not (leader := first_process(container.pid)):
            if container.poll() is not None or time.monotonic() > deadline:
                raise CommandFailed(f"The machine does not boot: {console.read_text()[-2000:]}")
            time.sleep(0.1)
        machine.leader = leader
        machine.run("until [ -S /run/systemd/private ]; do sleep 0.1; done")
        machine.run("systemctl is-system-running --wait")
        machine.run("update-ca-certificates")
        yield
    finally:
        with suppress(CommandFailed):
            machine.run("systemctl poweroff --force")
        try:
            container.wait(30)
        except subprocess.TimeoutExpired:
            container.kill()
            container.wait()


def first_process(pid: int) -> int:
    """Return which descendant of a process is the first process of a namespace of its own."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    for child in map(int, children.read_text().split()) if children.exists() else ():
        status = Path(f"/proc/{child}/status").read_text()
        ids = next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid"))
        if len(ids) > 1 and ids[-1] == "1":
            return child
        if found := first_process(child):
            return found
    return 0


def hand_over_code(machine: Machine) -> None:
    """Put this working tree into a repository on the machine."""
    origin = machine.root / REPOSITORY
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT_OF_CODE,
        check=True,
        stdout=subprocess.PIPE,
    ).stdout
    for name in filter(None, listed.decode().split("\0")):
        source, target = ROOT_OF_CODE / name, origin / name
        if source.is_file() and not source.is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    git = ["git", "-C", str(origin), "-c", "user.name=Olga", "-c", "user.email=olga@example.com"]
    for arguments in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "-m", "One"]):
        subprocess.run([*git, *arguments], check=True)


def new_version(machine: Machine) -> None:
    """Commit something to the machine's repository, so that there is a version to upgrade to."""
    origin = machine.root / REPOSITORY
    machine.write("/srv/groupsite/docs/changed.md", "Changed.\n")
    git = ["git", "-C", str(origin), "-c", "user.name=Olga", "-c", "user.email=olga@example.com"]
    subprocess.run([*git, "add", "--all"], check=True)
    subprocess.run([*git, "commit", "--quiet", "-m", "Two"], check=True)


def make_certificate(machine: Machine, folder: Path) -> Path:
    """Make an authority, and a certificate by it for the machine; return the authority's own."""
    authority, key, request = (folder / name for name in ("ca.pem", "ca.key", "site.csr"))
    names = folder / "names"
    names.write_text(f"subjectAltName=DNS:{DOMAIN}\n")
    home = machine.root / "root"
    new = ["-newkey", "rsa:2048", "-nodes"]
    for arguments in (
        ["req", "-x509", *new, "-keyout", key, "-out", authority, "-subj", "/CN=Authority"],
        ["req", *new, "-keyout", home / f"{DOMAIN}.key", "-out", request, "-subj", f"/CN={DOMAIN}"],
        [
            *("x509", "-req", "-in", request, "-CA", authority, "-CAkey", key, "-CAcreateserial"),
            *("-extfile", names, "-out", home / f"{DOMAIN}.pem"),
        ],
    ):
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
    return authority
