"""`make release`, run for real in a repository of its own."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from datetime import datetime
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from cyclonedx.output import OutputFormat
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation import make_schemabased_validator
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.bom import bill_of_materials
from scripts.release import check_repository
from tests.servers import find_program

pytestmark = pytest.mark.no_service

ROOT = Path(__file__).resolve().parent.parent
PROJECT, PACKAGE, LOCK = (
    "pyproject.toml",
    "miniprogram/package.json",
    "miniprogram/package-lock.json",
)
EXAMPLES = [f"examples/{name}/package-lock.json" for name in ("taro", "uni-app")]
VERSIONS = "miniprogram/README.md"
CHANGED = {"CHANGELOG.md", PROJECT, PACKAGE, LOCK, *EXAMPLES}
NEEDED = [PROJECT, PACKAGE, LOCK, *EXAMPLES, VERSIONS, "Makefile", ".gitignore"]
NEEDED += ["requirements-dev.txt"]
NEEDED += [
    str(path.relative_to(ROOT))
    for pattern in ("scripts/*.py", "requirements.txt", "requirements/*.txt")
    for path in ROOT.glob(pattern)
]

CHANGELOG = """# Changelog

## Unreleased

### Added

- For members: faces.
- For operators: 群排行。
"""
NO_ENTRY = CHANGELOG.partition("- ")[0]
# Of a hook: the process that runs git, after checking that it is a release.
FIND_RELEASE = """release=$(cut -d ' ' -f 4 /proc/$PPID/stat)
grep --quiet scripts.release /proc/$release/cmdline || exit 1"""


class Repository:
    """A repository with what a release needs, as the project has it, and a changelog of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in NEEDED:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
        self.git("init", "--quiet", "--initial-branch", "main")
        self.git("config", "user.name", "Olga")
        self.git("config", "user.email", "olga@example.com")
        self.commit(CHANGELOG)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        own |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        return subprocess.run(command, cwd=self.root, env=own, capture_output=True, text=True)

    def git(self, *arguments: str) -> str:
        run = self.run(find_program("git"), *arguments)
        assert run.returncode == 0, run.stderr
        return run.stdout.strip()

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `make release` with the environment that runs this test."""
        environment = ("--old-file", ".venv/.dev", f"BIN={Path(sys.executable).parent}")
        return self.run(find_program("make"), *environment, "release", *arguments)

    def release(self, version: str) -> str:
        run = self.make(f"VERSION={version}")
        assert run.returncode == 0, run.stderr
        return run.stdout

    def refused(self, version: str) -> str:
        """Return why a version is not released, after checking that nothing has changed."""
        before = self.state()
        run = self.make(f"VERSION={version}")
        assert run.returncode != 0
        assert "Traceback" not in run.stderr
        assert self.state() == before
        return run.stderr

    def commit(self, changelog: str) -> None:
        (self.root / "CHANGELOG.md").write_text(changelog)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "Write the changelog")

    def hook(self, name: str, *lines: str) -> None:
        path = self.root / ".git/hooks" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
        path.chmod(0o755)

    def forget_hooks(self) -> None:
        shutil.rmtree(self.root / ".git/hooks")
        while (self.root / ".git/index.lock").exists():  # of a git whose release was killed
            time.sleep(0.01)

    def read(self, name: str) -> str:
        return (self.root / name).read_text()

    def state(self) -> dict[str, str]:
        """Return all that a release changes: branches, tags, and every file outside .git."""
        files = self.run(
            find_program("git"), "ls-files", "--cached", "--others"
        ).stdout.splitlines()
        texts = {name: self.read(name) for name in files if not name.endswith(".pyc")}
        return texts | {"refs": self.git("show-ref"), "status": self.git("status", "--short")}


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def today() -> str:
    return datetime.now(ZoneInfo("Asia/Shanghai")).date().isoformat()


def stated_versions(root: Path) -> list[str]:
    """Return the version from each place that states it."""
    project = tomllib.loads((root / PROJECT).read_text())["project"]
    package, lock = (json.loads((root / name).read_text()) for name in (PACKAGE, LOCK))
    examples = [json.loads((root / name).read_text())["packages"] for name in EXAMPLES]
    kits = [packages["node_modules/groupsite"] for packages in examples]
    return [place["version"] for place in (project, package, lock, lock["packages"][""], *kits)]


# The project as it is


def test_every_place_states_the_same_version() -> None:
    assert len(set(stated_versions(ROOT))) == 1


def test_the_changelog_has_the_form_that_a_release_needs() -> None:
    lines = (ROOT / "CHANGELOG.md").read_text().splitlines()
    unreleased, *released = [line for line in lines if line.startswith("## ")]
    assert unreleased == "## Unreleased"
    found = [re.fullmatch(r"## (\d+)\.(\d+)\.(\d+) - \d{4}-\d\d-\d\d", line) for line in released]
    versions = [[int(part) for part in one.groups()] for one in found if one]
    assert len(versions) == len(released)
    assert all(newer > older for newer, older in pairwise(versions))
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert {line.removeprefix("### ") for line in lines if line.startswith("### ")} <= kinds


# A release


def test_a_release_is_a_commit_a_tag_and_a_bill_and_nothing_is_pushed(
    repository: Repository, tmp_path_factory: pytest.TempPathFactory
) -> None:
    origin = tmp_path_factory.mktemp("origin")
    repository.git("clone", "--quiet", "--bare", ".", str(origin))
    repository.git("remote", "add", "origin", str(origin))
    before, pushed, day = repository.state(), repository.git("ls-remote", "origin"), today()

    said = repository.release("1.2.3")

    assert stated_versions(repository.root) == ["1.2.3"] * 6
    dated = f"## Unreleased\n\n## 1.2.3 - {day}\n"
    assert repository.read("CHANGELOG.md") == CHANGELOG.replace("## Unreleased\n", dated)
    assert repository.git("status", "--porcelain") == ""
    assert repository.git("log", "--format=%s") == "Release 1.2.3\nWrite the changelog"
    assert set(repository.git("diff", "--name-only", "HEAD~1").splitlines()) == CHANGED
    for name in (PROJECT, PACKAGE, LOCK, *EXAMPLES):  # nothing else in them has changed
        lines = repository.git("diff", "--unified=0", "HEAD~1", "--", name).splitlines()
        assert all("version" in line for line in lines if re.match(r"[-+](?![-+])", line))
    assert repository.git("cat-file", "-t", "v1.2.3") == "tag"
    assert repository.git("rev-parse", "v1.2.3^{commit}") == repository.git("rev-parse", "main")

    bill = repository.read("dist/groupsite-1.2.3.cdx.json")
    assert json.loads(bill)["metadata"]["component"]["version"] == "1.2.3"
    digest = f"groupsite-1.2.3.cdx.json sha256:{sha256(bill.encode()).hexdigest()}"
    assert repository.git("tag", "--list", "--format=%(contents)", "v1.2.3").endswith(digest)
    assert repository.git("ls-remote", "origin") == pushed
    assert "git push --atomic origin main v1.2.3" in said
    assert "尚未推送" in said
    assert len(before) + 1 == len(repository.state())


def test_a_second_release_stands_above_the_first(repository: Repository) -> None:
    day = today()
    repository.release("0.9.0")
    released = repository.read("CHANGELOG.md")
    assert "no entry under" in repository.refused("0.10.0")
    entry = "## Unreleased\n\n### Fixed\n\n- For members: ties.\n"
    repository.commit(released.replace("## Unreleased\n", entry))
    assert "not newer than 0.9.0" in repository.refused("0.8.1")

    repository.release("0.10.0")

    assert repository.read("CHANGELOG.md") == (
        f"# Changelog\n\n## Unreleased\n\n## 0.10.0 - {day}\n\n### Fixed\n\n- For members: ties.\n"
        f"\n## 0.9.0 - {day}\n" + CHANGELOG.partition("## Unreleased\n")[2]
    )
    assert stated_versions(repository.root) == ["0.10.0"] * 6
    assert repository.git("tag").split() == ["v0.10.0", "v0.9.0"]
    assert "not newer than 0.10.0" in repository.refused("0.9.9")


def test_rows_about_the_next_release_get_its_version(repository: Repository) -> None:
    table = "| next 起 | 0.1.0 起 |\n| from next | from next |\nWhat is next.\n"
    (repository.root / VERSIONS).write_text(table)
    repository.commit(CHANGELOG)
    repository.release("1.2.3")
    assert repository.read(VERSIONS) == table.replace("next 起", "1.2.3 起").replace(
        "from next", "from 1.2.3"
    )


def test_a_dry_run_says_what_it_would_do_and_changes_nothing(repository: Repository) -> None:
    before = repository.state()
    run = repository.make("VERSION=0.1.0", "DRY=1")
    assert (run.returncode, repository.state()) == (0, before)
    for part in (*CHANGED, "dist/groupsite-0.1.0.cdx.json", "Release 0.1.0", "v0.1.0"):
        assert part in run.stdout
    assert "nothing has been written" in run.stdout
    assert "未写入任何内容" in run.stdout
    assert "git push" not in run.stdout


# What is refused


def test_a_release_without_a_version_is_refused(repository: Repository) -> None:
    assert "“” is not a version" in repository.refused("")


@pytest.mark.parametrize(
    "version",
    ["", "1", "1.2", "v1.2.3", "1.2.3.4", "01.2.3", "1.2.x", "1.2.3-rc.1", "１.2.3", "1.2.3\n"],
)
def test_only_three_numbers_are_a_version(version: str) -> None:
    with pytest.raises(
        SystemExit, match=r"is not a version 版本号应形如: make release VERSION=0\.1\.0"
    ):
        check_repository(version)


def edit(repository: Repository) -> None:
    (repository.root / "Makefile").write_text((ROOT / "Makefile").read_text() + "\n")


STATES: dict[str, tuple[Callable[[Repository], object], str]] = {
    "a file that is not committed": (
        edit,
        "Commit or remove these changes first 请先提交或移走以下改动:\n M Makefile\n",
    ),
    "a file that is staged": (
        lambda here: (edit(here), here.git("add", "Makefile"), edit(here)),
        "Commit or remove these changes first 请先提交或移走以下改动:\nM  Makefile\n",
    ),
    "a file that git does not know": (
        lambda here: (here.root / "new.py").touch(),
        "Commit or remove these changes first 请先提交或移走以下改动:\n?? new.py\n",
    ),
    "another branch": (
        lambda here: here.git("checkout", "--quiet", "-b", "topic"),
        "made on main, not on topic 请先切换到 main 分支",
    ),
    "no branch": (
        lambda here: here.git("checkout", "--quiet", "--detach"),
        "made on main, not on no branch",
    ),
    "the tag": (lambda here: here.git("tag", "v0.1.0"), "v0.1.0 exists already 标签已存在"),
    "a newer tag": (
        lambda here: [here.git("tag", tag) for tag in ("v0.2.0", "v0.10.0", "v9", "nightly")],
        "0.1.0 is not newer than 0.10.0, the last release 版本号必须大于 0.10.0",
    ),
    "nothing but headings": (
        lambda here: here.commit(NO_ENTRY),
        "no entry under “## Unreleased” 未发布一节为空",
    ),
    "only entries of another section": (
        lambda here: here.commit(CHANGELOG.replace("## Unreleased", "## Unreleased\n\n## Ideas")),
        "no entry under “## Unreleased”",
    ),
    "no such section": (
        lambda here: here.commit(CHANGELOG.replace("## Unreleased", "## Next")),
        "no entry under “## Unreleased”",
    ),
    "no one to sign it": (
        lambda here: (
            here.git("config", "--unset", "user.email"),
            here.git("config", "user.useConfigOnly", "true"),
        ),
        "git var failed, nothing is released 失败，未发布:",
    ),
    "an earlier version without its tag": (
        lambda here: here.commit(CHANGELOG + "\n## 0.0.1 - 2026-01-01\n\n- For members: 0.\n"),
        "CHANGELOG.md has 0.0.1, which has no tag 该版本没有标签:\n  git fetch --tags\nmake",
    ),
}


@pytest.mark.parametrize(("prepare", "sentence"), STATES.values(), ids=STATES)
def test_what_cannot_become_a_release_is_refused_before_the_first_write(
    repository: Repository, prepare: Callable[[Repository], object], sentence: str
) -> None:
    prepare(repository)
    assert sentence in repository.refused("0.1.0")


# What fails or is interrupted on the way


@pytest.mark.parametrize(
    ("hook", "lines"),
    {
        "the commit is refused": ("pre-commit", ["exit 1"]),
        "the tag is refused": ("reference-transaction", ["! grep -q refs/tags/"]),
        "Ctrl-C ends git": ("pre-commit", [FIND_RELEASE, "kill -INT $release $PPID", "exit 1"]),
    }.values(),
)
def test_a_step_that_fails_leaves_nothing(
    repository: Repository, hook: str, lines: list[str]
) -> None:
    repository.hook(hook, *lines)
    assert "failed, nothing is released 失败，未发布" in repository.refused("0.1.0")
    repository.forget_hooks()
    repository.release("0.1.0")


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP"])
def test_a_signal_does_not_end_a_release_half_way(repository: Repository, name: str) -> None:
    repository.hook("post-commit", FIND_RELEASE, f"kill -{name} $release")
    repository.release("0.1.0")
    assert repository.git("tag") == "v0.1.0"


@pytest.mark.parametrize(
    ("hook", "remedy"),
    [("pre-commit", "git restore --staged --worktree"), ("post-commit", "git reset --hard HEAD~1")],
)
def test_the_next_run_tells_how_to_take_back_a_release_that_was_killed(
    repository: Repository, hook: str, remedy: str
) -> None:
    before = repository.state()
    repository.hook(hook, FIND_RELEASE, "kill -KILL $release", "exit 1")
    assert repository.make("VERSION=0.1.0").returncode != 0
    repository.forget_hooks()
    assert repository.git("tag") == ""
    assert repository.read("CHANGELOG.md") != CHANGELOG

    said = repository.refused("0.1.0")
    assert "If a release was interrupted, this takes it back 若是中断的发布所留，可撤回:" in said
    [command] = [line.strip() for line in said.splitlines() if line.startswith(f"  {remedy}")]
    repository.git(*command.split()[1:])
    shutil.rmtree(repository.root / "dist")
    assert repository.state() == before
    repository.release("0.1.0")


# The bill of materials


def locked(*names: str) -> dict[tuple[str, str], int]:
    """Return every package of these files with its number of hashes."""
    found: dict[tuple[str, str], int] = {}
    for name in names:
        for line in (ROOT / name).read_text().splitlines():
            if "==" in line and not line.startswith(" "):
                requirement = line.split()[0].split("==")
                package = (requirement[0], requirement[1])
                found[package] = 0
            elif "--hash=sha256:" in line:
                found[package] += 1
    return found


@pytest.fixture(scope="module")
def bill() -> dict[str, Any]:
    text = bill_of_materials("1.2.3")
    validator = make_schemabased_validator(OutputFormat.JSON, SchemaVersion.V1_6)
    assert validator.validate_str(text) is None
    assert validator.validate_str(text.replace('"purl"', '"url"')) is not None
    return json.loads(text)  # type: ignore[no-any-return]


def test_the_bill_names_every_package_that_is_locked(bill: dict[str, Any]) -> None:
    kit, *others = sorted(bill["components"], key=lambda one: str(one["purl"]))
    assert kit["purl"] == "pkg:npm/groupsite@1.2.3"
    extras = [f"requirements/{path.name}" for path in (ROOT / "requirements").iterdir()]
    assert {
        (one["name"], one["version"]): len(one["externalReferences"][0]["hashes"]) for one in others
    } == locked("requirements.txt", *extras)
    assert all(one["purl"] == f"pkg:pypi/{one['name']}@{one['version']}" for one in others)
    required = {(one["name"], one["version"]) for one in others if one["scope"] == "required"}
    assert required == locked("requirements.txt").keys()
    assert {one["scope"] for one in others} == {"required", "optional"}


def test_the_bill_says_what_requires_what(bill: dict[str, Any]) -> None:
    children = {one["ref"]: one.get("dependsOn", []) for one in bill["dependencies"]}
    project = tomllib.loads((ROOT / PROJECT).read_text())["project"]
    extras = project["optional-dependencies"].values()
    stated = [*project["dependencies"], *(text for extra in extras for text in extra)]
    direct = {canonicalize_name(Requirement(text).name) for text in stated}
    server = "pkg:generic/groupsite@1.2.3"
    assert bill["metadata"]["component"]["bom-ref"] == server
    assert {re.split("[/@]", ref)[1] for ref in children[server]} == direct
    assert children["pkg:npm/groupsite@1.2.3"] == []

    reached, ahead = set[str](), {server}
    while ahead:
        reached |= ahead
        ahead = {ref for parent in ahead for ref in children[parent]} - reached
    packages = {one["bom-ref"] for one in bill["components"] if one["purl"].startswith("pkg:pypi")}
    assert reached == packages | {server}


def test_the_bill_has_the_licence_of_every_package_that_is_installed(bill: dict[str, Any]) -> None:
    def installed(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    licences = {
        one["name"]: [
            text.get("expression") or text["license"].get("id") or text["license"]["name"]
            for text in one["licenses"]
        ]
        for one in bill["components"]
        if "licenses" in one
    }
    packages = [one for one in bill["components"] if one["purl"].startswith("pkg:pypi/")]
    for one in packages:
        assert ("licenses" in one) == (installed(one["name"]) == one["version"]), one["purl"]
    assert licences["groupsite"] == ["MIT"]
    assert licences["django"] == ["BSD-3-Clause"]  # an identifier
    assert licences["cryptography"] == ["Apache-2.0 OR BSD-3-Clause"]  # an expression
    assert len(licences["python-dateutil"]) == 2  # classifiers only
