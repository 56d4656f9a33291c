"""Read the files that are counted in: the texts that git tracks."""

import ast
import re
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

PACKAGES = {"core", "wechat", "audit", "accounts", "groups", "console", "groupsite"}


@dataclass(frozen=True)
class TrackedFile:
    """A tracked file of text."""

    path: str
    text: str

    @property
    def is_python(self) -> bool:
        return self.path.endswith(".py") or bool(re.match(r"#!.*\bpython", self.text))

    @property
    def is_migration(self) -> bool:
        return "/migrations/" in self.path

    @property
    def is_test(self) -> bool:
        return bool(re.search(r"(^|/)(tests|e2e)/|(^|/)(test_\w+|conftest)\.py$", self.path))

    @property
    def is_product(self) -> bool:
        """Tell whether this is code of the product's packages."""
        is_ours = self.path.partition("/")[0] in PACKAGES
        return self.is_python and is_ours and not self.is_test and not self.is_migration

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @property
    def module(self) -> str:
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    def absolute(self, name: str) -> str:
        """Return the full name of an imported module, where it is written with leading dots."""
        level = len(name) - len(name.lstrip("."))
        if not level:
            return name
        parts = self.module.split(".")
        base = parts[: len(parts) - level + self.path.endswith("/__init__.py")]
        return ".".join([*base, *filter(None, [name[level:]])])

    def imported_from(self, node: ast.ImportFrom) -> str:
        return self.absolute("." * node.level + (node.module or ""))


class Habit(NamedTuple):
    """A count and its limit, as a line of the table."""

    title: str
    value: float
    limit: float
    offenders: list[str]
    at_least: bool = False
    unit: str = ""

    @property
    def is_kept(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def __str__(self) -> str:
        value = f"{self.value:.1f}{self.unit}" if self.unit else f"{self.value:.0f}"
        limit = f"{'at least' if self.at_least else 'at most'} {self.limit}{self.unit}"
        return f"{self.title:<38}{value:>8}   {limit:<15}{'' if self.is_kept else 'BROKEN'}"


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def tracked() -> list[TrackedFile]:
    """Read the texts that git tracks, of the whole tree around the working directory."""
    root = Path(git("rev-parse", "--show-toplevel").strip())
    files = []
    for path in sorted(filter(None, git("-C", str(root), "ls-files", "-z").split("\0"))):
        if (root / path).is_file():  # not deleted since
            try:
                files.append(TrackedFile(path, (root / path).read_text(encoding="utf-8")))
            except UnicodeDecodeError:
                continue  # a picture
    return files


def share(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 0.0


def last_name(node: ast.expr) -> str:
    """Return the name that is called or tested: `b` of `a.b`."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""
