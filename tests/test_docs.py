"""The documentation names files and functions that exist, its links lead somewhere, and what it
says to run can be run."""

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

pytestmark = pytest.mark.no_service

ROOT = Path(__file__).resolve().parent.parent
# The pages whose code is looked up, and how many names each has at least.
PAGES = {
    "CONTRIBUTING.md": 50,
    "docs/architecture.md": 150,
    "docs/design.md": 6,
    "docs/keys.md": 40,
    "docs/security.md": 400,
}
PACKAGES = "core|wechat|audit|accounts|groups|console|groupsite|tests"
SUFFIXES = "py|md|html|css|js|mjs|po|mo|txt|toml|yaml|svg"
CODE = re.compile(r"`([^`]+)`")
FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
PATH = re.compile(rf"(?!/)[\w./-]+/|(?!/)[\w.-]+(?:/[\w.-]+)+|[\w.-]+\.(?:{SUFFIXES})")
DOTTED = re.compile(rf"(?:{PACKAGES})(?:\.\w+)+")
# `groups/services.py`: `bind`, `leave`, up to where something else is spoken of
DEFINED_IN = re.compile(r"`([\w/]+\.py)`: ((?:(?!;|\||→|\. |`[\w/]+\.py`).)*)")
NAME = re.compile(r"[A-Za-z_]\w*(?:\.\w+)*")
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)")


@cache
def tracked() -> frozenset[str]:
    """Return every file that git tracks, and every folder with one in it."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    files = [Path(name) for name in listed.stdout.decode().split("\0") if name]
    return frozenset(str(path) for file in files for path in (file, *file.parents))


@cache
def makefile() -> str:
    return (ROOT / "Makefile").read_text()


def names_in(body: list[ast.stmt]) -> Iterator[str]:
    """Yield the functions, classes, members of classes and values that statements define."""
    for node in body:
        match node:
            case ast.FunctionDef(name=name):
                yield name
            case ast.ClassDef(name=name):
                yield name
                yield from (f"{name}.{member}" for member in names_in(node.body))
            case ast.Assign(targets=targets):
                parts = [part for target in targets for part in ast.walk(target)]
                yield from (part.id for part in parts if isinstance(part, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name


@cache
def names_of(path: str) -> frozenset[str]:
    return frozenset(names_in(ast.parse((ROOT / path).read_text()).body))


def is_path(text: str) -> bool:
    """Tell whether a file or folder of that path is tracked, or a file of that bare name."""
    path = text.rstrip("/")
    return path in tracked() or any(
        each.endswith(f"/{path}") for each in tracked() if "/" not in path
    )


def is_defined(dotted: str) -> bool:
    """Tell whether `package.module.name` is a module, or a name that one defines."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        module, name = "/".join(parts[:length]), ".".join(parts[length:])
        for path in (f"{module}.py", f"{module}/__init__.py"):
            if path in tracked() and (not name or name in names_of(path)):
                return True
    return False


def paragraphs(text: str) -> Iterator[str]:
    """Yield each paragraph, and each row of a table, in one line; fenced code is left out."""
    for part in re.split(r"\n\s*\n", FENCE.sub("\n\n", text)):
        rows = part.splitlines() if part.lstrip().startswith("|") else [part]
        yield from (" ".join(row.split()) for row in rows)


def references(text: str) -> Iterator[tuple[str, bool]]:
    """Yield what a page says of the code, and whether it is so."""
    for paragraph in paragraphs(text):
        for code in CODE.findall(paragraph):
            if DOTTED.fullmatch(code):
                yield code, is_defined(code)
            elif PATH.fullmatch(code):
                yield code, is_path(code)
            elif target := re.fullmatch(r"make (\w+)(?: .*)?", code):
                yield code, f"\n{target[1]}: " in makefile()
        for path, words in DEFINED_IN.findall(paragraph):
            for name in filter(NAME.fullmatch, CODE.findall(words)):
                yield f"{path}: {name}", path in tracked() and name in names_of(path)


def missing(text: str) -> list[str]:
    return [name for name, is_so in references(text) if not is_so]


@pytest.mark.parametrize("page", PAGES)
def test_every_file_and_name_of_the_page_exists(page: str) -> None:
    text = (ROOT / page).read_text()
    assert missing(text) == []
    assert len(list(references(text))) >= PAGES[page]


@pytest.mark.parametrize(
    ("text", "found"),
    {
        "See `groups/nowhere.py`.": ["groups/nowhere.py"],
        "See `nowhere.py`, `services.py`.": ["nowhere.py"],
        "In `groups/nothing/`.": ["groups/nothing/"],
        "`groups/services.py`: `bind` and\n`unbind`": ["groups/services.py: unbind"],
        "`groups/services.py`: `bind` → `no_name`": [],
        "`accounts/models.py`: `WeChatUser.lock`": ["accounts/models.py: WeChatUser.lock"],
        "`accounts/models.py`: `WeChatUserManager.lock`": [],
        "| `core/vault.py`: `seal` | `openGId` |": ["core/vault.py: seal"],
        "`groups.services.bind`, `groups.services.unbind`": ["groups.services.unbind"],
        "`make lint`, `make nothing`, `POST groups/bind`, `/admin/`": ["make nothing"],
        "```\n`groups/nowhere.py`\n```": [],
    }.items(),
)
def test_what_does_not_exist_is_found(text: str, found: list[str]) -> None:
    assert missing(text) == found


# Links


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def broken_links(page: str, text: str) -> list[str]:
    found = []
    for target, anchor in LINK.findall(FENCE.sub("", text)):
        if "://" in target:
            continue
        path = (ROOT / page).parent / target if target else ROOT / page
        known = path.exists() and (not anchor or anchor in anchors(path.read_text()))
        found += [] if known else [f"{target}#{anchor}" if anchor else target]
    return found


@pytest.mark.parametrize("page", sorted(name for name in tracked() if name.endswith(".md")))
def test_every_link_of_the_page_leads_somewhere(page: str) -> None:
    assert broken_links(page, (ROOT / page).read_text()) == []


def test_a_link_that_leads_nowhere_is_found() -> None:
    text = "[a](nowhere.md) [b](settings.md#nothing) [c](settings.md#rotating-keys) [d](#no)"
    assert broken_links("docs/deploy.md", text) == ["nowhere.md", "settings.md#nothing", "#no"]


# Settings


def test_every_setting_is_explained() -> None:
    read = r"(?:env\.(?:str|bool|list)|whole_number)\(\s*['\"]([A-Z0-9_]+)"
    names = set(re.findall(read, (ROOT / "groupsite/settings.py").read_text()))
    rows = re.findall(r"^\| (`[A-Z].*?) \|", (ROOT / "docs/settings.md").read_text(), re.MULTILINE)
    assert len(names) > 25
    assert names == {name for row in rows for name in CODE.findall(row)}
