"""Build and run what the Dockerfile and compose.yml say, without an engine: their own commands, in
a folder that stands for the image's root.

The tree belongs to another user and is read-only, as in the container; the site runs as the image's
user, and only /data and /tmp can be written. PostgreSQL and Redis are our own.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

from wechat.sandbox import Fault, Phone, Sandbox

from . import APP_ID, APP_SECRET
from .faults import LOG_IN
from .inside import environment_of
from .kills import tell_missing
from .plan import Plan, TrialResult
from .servers import (
    ROOT,
    MissingProgram,
    PostgreSQL,
    Redis,
    Visitor,
    free_port,
    kill_all,
    listens,
    scratch,
    wait_for,
)

OURS = ("/opt/venv", "/srv/groupsite", "/data")  # of the image's folders, those that the site has
SLOW = 2.0  # seconds that WeChat takes while the container is stopped
GRACE = 40.0  # seconds: `stop_grace_period` of the site

Instruction = tuple[str, str]


def python_of_everyone() -> str:
    """Return a Python that another user may run too. Raises MissingProgram."""
    for path in (os.path.realpath(sys.executable), "/usr/bin/python3"):
        shared = all(folder.stat().st_mode & 0o001 for folder in Path(path).parents)
        if shared or os.geteuid():
            return path
    raise MissingProgram("a Python that other users may run")


def instructions(text: str) -> list[Instruction]:
    """Return the instructions of a Dockerfile, each with the rest of its line."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    whole = re.sub(r"\\\n\s*", "", "\n".join(lines))
    parts = [line.split(maxsplit=1) for line in whole.splitlines() if line.strip()]
    return [(name, rest) for name, rest in parts]


def context(files: list[str], ignore: str) -> list[str]:
    """Return those files that .dockerignore lets in: the last pattern that fits says so."""
    patterns = [line for line in ignore.splitlines() if line and not line.startswith("#")]
    return [file for file in files if not _is_ignored(file, patterns)]


def _is_ignored(file: str, patterns: list[str]) -> bool:
    parts = file.split("/")
    folders = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    ignored = False
    for pattern in patterns:
        name = pattern.removeprefix("!")
        if name.startswith("**/"):
            fits = any(fnmatch(part, name.removeprefix("**/")) for part in parts)
        else:
            fits = any(
                fnmatch(folder, name) and "/" not in folder.removeprefix(name.split("*")[0])
                for folder in folders
            )
        if fits:
            ignored = not pattern.startswith("!")
    return ignored


class Image:
    """A folder in which the Dockerfile's instructions were carried out."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "image"
        self.tools = folder / "tools"
        self.environment: dict[str, str] = {}
        self.user, self.place = 0, "/"
        self.command: list[str] = []
        self.check: list[str] = []
        self.tools.mkdir(parents=True)
        (self.tools / "python").symlink_to(python_of_everyone())
        for name, rest in instructions((ROOT / "Dockerfile").read_text()):
            self.carry_out(name, rest)
        # Those who build an image own what is in it.
        for path in (self.root / "opt", self.root / "srv"):
            subprocess.run(["chmod", "-R", "a-w", path], check=True)  # noqa: S603, S607

    def inside(self, text: str) -> str:
        """Return a text whose paths of the image are those of the folder."""
        return re.sub(rf"(?<![\w.])(?={'|'.join(OURS)})", str(self.root), text)

    def carry_out(self, name: str, rest: str) -> None:
        if name == "RUN":
            self.shell(re.sub(r"^(--mount=\S+\s*)+", "", rest))
        elif name == "COPY" and not rest.startswith("--from"):  # there is one folder for all stages
            self.copy(*rest.split())
        elif name == "WORKDIR":
            self.place = rest
            Path(self.inside(rest)).mkdir(parents=True, exist_ok=True)
        elif name == "ENV":
            pairs = re.findall(r"(\w+)=(\S+)", rest)
            self.environment |= {key: self.inside(value) for key, value in pairs}
        elif name == "USER":
            self.user = int(rest.split(":")[0])
        elif name == "CMD":
            self.command = json.loads(rest)
        elif name == "HEALTHCHECK":
            self.check = json.loads(rest.partition("CMD ")[2])

    def shell(self, command: str) -> None:
        path = f"{self.tools}:{os.environ['PATH']}"
        (self.root / "data").parent.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(  # noqa: S603
            ["sh", "-e", "-c", self.inside(command)],  # noqa: S607
            cwd=self.inside(self.place) if self.place != "/" else self.root,
            env={"PATH": path, "HOME": os.environ.get("HOME", "/")},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{command}: {(done.stdout + done.stderr)[-2000:]}")

    def copy(self, source: str, target: str) -> None:
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard"],  # noqa: S607
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        for file in context(listed, (ROOT / ".dockerignore").read_text()):
            if (source == "." or file.startswith(f"{source}/")) and (ROOT / file).is_file():
                where = Path(self.inside(self.place)) / file
                where.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / file, where)

    def start(self, command: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
        """Run a command as the container would: its user, its variables and no others."""
        temporary = self.root.parent / "tmp"
        if not temporary.exists():
            temporary.mkdir()
            temporary.chmod(0o1777)
        own = self.environment | {"TMPDIR": str(temporary)} | environment
        path = own.pop("PATH").replace("$PATH", "/usr/local/bin:/usr/bin:/bin")
        as_user: dict[str, Any] = {}
        if os.geteuid() == 0:
            as_user = {"user": self.user, "group": self.user, "extra_groups": []}
        return subprocess.Popen(  # noqa: S603
            [shutil.which(command[0], path=path) or command[0], *command[1:]],
            cwd=self.inside(self.place),
            env=own | {"PATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            **as_user,
        )

    def run(self, command: list[str], environment: dict[str, str]) -> tuple[int, str]:
        with self.start(command, environment) as process:
            said, _nothing = process.communicate(timeout=120)
        return process.returncode, said

    def written(self) -> dict[str, float]:
        """Return every file of the image but those of /data, with when it was written."""
        kept = (self.root / "opt", self.root / "srv")
        found: Iterator[Path] = (path for folder in kept for path in folder.rglob("*"))
        return {str(path): path.lstat().st_mtime for path in found}


def run(plan: Plan) -> TrialResult:
    outcome = TrialResult()
    try:
        with scratch() as (folder, stack):
            try_it(folder, stack, outcome)
    except MissingProgram as missing:
        tell_missing(outcome, str(missing))
    return outcome


def try_it(folder: Path, stack: ExitStack, outcome: TrialResult) -> None:
    compose = yaml.safe_load((ROOT / "compose.yml").read_text())["services"]
    begun = time.monotonic()
    image = Image(folder)
    outcome.facts.append(f"the Dockerfile's commands ran in {time.monotonic() - begun:.0f} s")
    database = stack.enter_context(PostgreSQL(folder / "postgresql"))
    redis = stack.enter_context(Redis(folder / "redis"))
    sandbox = stack.enter_context(Sandbox({APP_ID: APP_SECRET}))
    port = free_port()

    def environment_for(service: str) -> dict[str, str]:
        """Return what .env and compose.yml give a service, with our servers in place of theirs."""
        given = environment_of(folder, "", sandbox.url) | {"OPERATOR_TOTP": "True"}
        given |= {key: image.inside(text) for key, text in compose[service]["environment"].items()}
        return given | {
            "DATABASE_URL": database.url,
            "REDIS_URL": redis.url,
            "PORT": str(port),
            "ALLOW_SANDBOX": "True",
        }

    before = image.written()
    for job in ("migrate", "purge"):
        status, said = image.run(compose[job]["command"], environment_for(job))
        if status:
            outcome.fail(f"the job {job} ended with {status}: {said[-1500:]}")
        else:
            outcome.facts.append(f"the job {job} ended with 0")
    site = image.start(image.command, environment_for("site"))
    stack.callback(kill_all, site.pid)
    wait_for(lambda: listens(port) or site.poll() is not None, "the site serves")
    if site.poll() is not None:
        outcome.fail(f"the site does not start: {site.communicate()[0][-2000:]}")
        return
    with Visitor(port) as visitor:
        for path in ("/livez", "/readyz", "/static/site.css"):
            if (status := visitor.ask("GET", path)[0]) != 200:
                outcome.fail(f"{path} is answered {status}")
    if (found := image.run(image.check, environment_for("site")))[0]:
        outcome.fail(f"the health check fails while the site serves: {found[1][-500:]}")
    stop_within_a_request(site, sandbox, port, outcome)
    if image.run(image.check, environment_for("site"))[0] == 0:
        outcome.fail("the health check passes though nothing serves")
    changed = set(image.written().items()) ^ set(before.items())
    if changed:
        outcome.fail(f"written where nothing should be: {sorted(changed)[:5]}")
    if os.geteuid() == 0:
        outcome.facts.append(f"all of it as user {image.user}, in a tree that it cannot write")
    else:
        outcome.gaps.append("not tried: another user than the one who builds, which needs root")


def stop_within_a_request(
    site: subprocess.Popen[str], sandbox: Sandbox, port: int, outcome: TrialResult
) -> None:
    """End the site as an engine does, while someone logs in and WeChat is slow."""
    code = Phone(sandbox.url, "alice", APP_ID).login()
    sandbox.state.request_fault(LOG_IN, Fault(delay=SLOW), 1)

    def log_in() -> int:
        with Visitor(port) as visitor:
            return visitor.ask("POST", "/api/v1/login", {"code": code, "appid": APP_ID})[0]

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(log_in)
        time.sleep(SLOW / 2)
        site.send_signal(signal.SIGTERM)
        begun = time.monotonic()
        said, _nothing = site.communicate(timeout=GRACE)
        took = time.monotonic() - begun
        if answer.result() != 200 or site.returncode:
            outcome.fail(f"stopped, {answer.result()} and exit {site.returncode}: {said[-1000:]}")
        else:
            outcome.facts.append(
                f"SIGTERM within a log-in: answered 200, and ended with 0 after {took:.1f} s"
            )
