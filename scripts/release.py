"""Make a release: the version, the dated changelog, the bill of materials, a commit and a tag.

`make release VERSION=0.1.0`; with `DRY=1` it says what it would do. It never pushes. All checks
come before the first write, and the tag comes last: where there is a tag, there is all of it. What
fails on the way is taken back, and what a power cut leaves is recognised by the next run.
"""

import json
import re
import signal
import subprocess
import sys
from argparse import ArgumentParser
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from zoneinfo import ZoneInfo

from scripts.bom import ROOT, bill_of_materials

VERSION = r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)"
CHANGELOG = "CHANGELOG.md"
PROJECT = "pyproject.toml"
KIT = ("miniprogram/package.json", "miniprogram/package-lock.json")
EXAMPLES = ("examples/taro/package-lock.json", "examples/uni-app/package-lock.json")
VERSIONS = "miniprogram/README.md"
FILES = (CHANGELOG, PROJECT, *KIT, *EXAMPLES, VERSIONS)
INTERRUPTED = "If a release was interrupted, this takes it back 若是中断的发布所留，可撤回:"


def main() -> None:
    parser = ArgumentParser(prog="scripts.release", description=__doc__)
    parser.add_argument("version")
    parser.add_argument("--dry-run", action="store_true")
    options = parser.parse_args()
    version = options.version
    try:
        check_repository(version)
        check_changelog()
        files, bill = changed_files(version), bill_of_materials(version)
        path = ROOT / f"dist/groupsite-{version}.cdx.json"
        say(f"Releasing 发布 groupsite {version}:")
        say(f"  {', '.join(FILES)}")
        say(f"  {path.relative_to(ROOT)} ({len(json.loads(bill)['components'])} components 个组件)")
        say(f"  commit 提交 “Release {version}”, tag 标签 v{version}")
        if options.dry_run:
            say("Tried only, nothing has been written. 仅试运行，未写入任何内容。")
            return
        release(version, files, path, bill)
    except subprocess.CalledProcessError as error:
        command = " ".join(error.cmd[:2])
        sys.exit(f"{command} failed, nothing is released 失败，未发布:\n{error.stderr.strip()}")
    say("Done on this machine, not pushed. What remains 已在本机完成，尚未推送，接下来:")
    say(f"  git push --atomic origin main v{version}")
    say(f"  attach {path.relative_to(ROOT)} to the release 将其附到发布页面")


def check_repository(version: str) -> None:
    """Refuse a version or a state of the repository that cannot become a release."""
    if not re.fullmatch(VERSION, version):
        sys.exit(f"“{version}” is not a version 版本号应形如: make release VERSION=0.1.0")
    if (branch := git("branch", "--show-current")) != "main":
        sys.exit(f"Releases are made on main, not on {branch or 'no branch'} 请先切换到 main 分支")
    if changes := git("status", "--porcelain"):
        if {line[3:] for line in changes.splitlines()} <= set(FILES):
            changes += f"\n{INTERRUPTED}\n  git restore --staged --worktree {' '.join(FILES)}"
        sys.exit(f"Commit or remove these changes first 请先提交或移走以下改动:\n{changes}")
    git("var", "GIT_COMMITTER_IDENT")
    if git("tag", "--list", f"v{version}"):
        sys.exit(f"The tag v{version} exists already 标签已存在: v{version}")
    last = max(released_versions(), key=numbers, default=None)
    if last and numbers(version) <= numbers(last):
        sys.exit(f"{version} is not newer than {last}, the last release 版本号必须大于 {last}")


def check_changelog() -> None:
    """Refuse a changelog with nothing to release, or with a version that has no tag."""
    changelog = read(CHANGELOG)
    versions = re.findall(r"(?m)^## ([0-9.]+) ", changelog)
    if untagged := [version for version in versions if version not in released_versions()]:
        remedy = "\n  git fetch --tags"
        if git("log", "-1", "--format=%s") == f"Release {untagged[0]}":
            remedy += f"\n{INTERRUPTED}\n  git reset --hard HEAD~1"
        sys.exit(f"{CHANGELOG} has {untagged[0]}, which has no tag 该版本没有标签:{remedy}")
    unreleased = re.search(r"(?ms)^## Unreleased\n(.*?)(?=^## |\Z)", changelog)
    if not unreleased or not re.search(r"(?m)^- ", unreleased[1]):
        sys.exit(f"{CHANGELOG} has no entry under “## Unreleased” 未发布一节为空，请先写明改动")


def changed_files(version: str) -> dict[str, str]:
    """Return every file that a release changes, with its new text."""
    today = datetime.now(ZoneInfo("Asia/Shanghai")).date()
    heading = f"## Unreleased\n\n## {version} - {today}"
    files = {
        CHANGELOG: re.sub(r"(?m)^## Unreleased$", heading, read(CHANGELOG), count=1),
        PROJECT: re.sub(r'(?m)^version = ".*"$', f'version = "{version}"', read(PROJECT), count=1),
        # Rows of the tables of versions that are about this release, in both languages.
        VERSIONS: re.sub(
            r"(?m)^\| (from )?next .*$", lambda row: row[0].replace("next", version), read(VERSIONS)
        ),
    }
    for name in (*KIT, *EXAMPLES):
        package = json.loads(read(name))
        kit = package if name in KIT else package["packages"]["node_modules/groupsite"]
        kit["version"] = version
        if name in KIT and "packages" in package:
            package["packages"][""]["version"] = version
        files[name] = json.dumps(package, ensure_ascii=False, indent=2) + "\n"
    return files


def release(version: str, files: dict[str, str], path: Path, bill: str) -> None:
    """Write, commit and tag, and take all of it back where a step fails."""
    before = git("rev-parse", "HEAD")
    message = f"groupsite {version}\n\n{path.name} sha256:{sha256(bill.encode()).hexdigest()}"
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    try:
        path.parent.mkdir(exist_ok=True)
        path.write_text(bill, encoding="utf-8")
        for name, text in files.items():
            (ROOT / name).write_text(text, encoding="utf-8")
        git("commit", "--message", f"Release {version}", "--", *FILES)
        git("tag", "--annotate", f"v{version}", "--message", message)
    except BaseException:
        git("reset", "--soft", before)
        git("restore", "--source", before, "--staged", "--worktree", "--", *FILES)
        path.unlink(missing_ok=True)
        raise


def git(*arguments: str) -> str:
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.rstrip()


def released_versions() -> list[str]:
    return [tag[1:] for tag in git("tag").split() if re.fullmatch(f"v{VERSION}", tag)]


def numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    main()
