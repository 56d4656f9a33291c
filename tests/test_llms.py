"""/llms.txt, and the documentation as Markdown."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from django.test import Client as Browser

from groupsite.documents import Document, documents

pytestmark = pytest.mark.no_service

ROOT = Path(__file__).resolve().parent.parent
SITE = "http://testserver"
LINE = re.compile(r"^- \[(.+)\]\((\S+)\)(?:: (.+))?$")


@pytest.fixture
def elsewhere(tmp_path: Path, settings: Any) -> Path:
    """Serve the files of a folder of this test's own."""
    settings.BASE_DIR = tmp_path
    return tmp_path


def listed() -> dict[str, str]:
    """Return the description of each file that /llms.txt lists, by its address."""
    text = Browser().get("/llms.txt").content.decode()
    lines = [LINE.match(line) for line in text.splitlines() if line.startswith("- ")]
    assert all(lines), "every line of a list is a link"
    return {line[2].removeprefix(SITE): line[3] or "" for line in lines if line}


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


# The list


def test_the_list_has_the_format_of_llmstxt_org() -> None:
    answer = Browser().get("/llms.txt")
    assert (answer.status_code, answer["Content-Type"]) == (200, "text/plain; charset=utf-8")
    first, _blank, second, *rest = answer.content.decode().splitlines()
    assert re.match(r"# \w", first) and second.startswith("> ")
    assert all(re.match(r"$|## \w|- \[", line) for line in rest)
    assert next(line for line in rest if line.startswith("## ")) == "## Start here"


def test_every_doc_is_listed_with_its_title_and_first_sentence() -> None:
    found = listed()
    names = {f"/docs/{path.name}" for path in ROOT.glob("docs/*.md")}
    assert len(names) > 8 and names | {"/README.md"} <= found.keys()
    assert found["/docs/settings.md"] == (
        "Settings are read from the environment, or from the file `.env` in the root folder; the "
        "environment takes precedence."
    )
    assert found["/docs/architecture.md"] == "Where things are, and how data moves through them."
    assert all(found.values()), "each has a sentence"


def test_every_address_of_the_list_answers(db: None) -> None:
    for address in listed():
        assert Browser().get(address).status_code == 200, address


@pytest.mark.parametrize(
    ("text", "title", "description"),
    [
        ("# A\n\nOne. Two.\n", "A", "One."),
        ("---\nname: a\n---\n\n# 标题\n\n第一句。第二句。\n", "标题", "第一句。"),
        (
            "<!-- made\n\n# not this -->\n# B\n\n[中文](b.md)\n\n> quoted\n\nText\nof two",
            "B",
            "Text of two",
        ),
        ("# C\n\n```\ncode\n```\n\n**See** [this](x.md) at 1.5 s.", "C", "See this at 1.5 s."),
        ("# D\n\n| a |\n|---|\n\n- item\n\n1. item\n\n<p>x</p>\n", "D", ""),
        ("no heading\n", "docs/x.md", "no heading"),
        ("", "docs/x.md", ""),
    ],
)
def test_title_and_description_are_the_first_ones(text: str, title: str, description: str) -> None:
    document = Document("docs/x.md", text)
    assert (document.title, document.description) == (title, description)


def test_a_new_file_is_listed_and_served_by_itself(elsewhere: Path) -> None:
    skill = "miniprogram/skills/wechat-group-ranking"
    write(elsewhere, "docs/new.md", "# New\n\nWhat is new. And more.\n")
    write(elsewhere, f"{skill}/SKILL.md", "# Skill\n\nDo it.\n")
    write(elsewhere, f"{skill}/references/taro.md", "# Taro\n\nIn Taro.\n")
    write(elsewhere, f"{skill}/scripts/check.mjs", "secret")
    write(elsewhere, "docs/deep/inner.md", "# Inner\n")
    write(elsewhere, "CONTRIBUTING.md", "# Other\n")
    found = listed()
    assert found.pop("/api/schema/") and found.pop("/api/docs/")
    assert found == {
        "/docs/new.md": "What is new.",
        f"/{skill}/SKILL.md": "Do it.",
        f"/{skill}/references/taro.md": "In Taro.",
    }
    for address in found:
        assert Browser().get(address).content == (elsewhere / address[1:]).read_bytes()


def test_an_installed_server_without_the_files_lists_the_api_alone(elsewhere: Path) -> None:
    assert list(listed()) == ["/api/schema/", "/api/docs/"]
    for name in ("/README.md", "/docs/settings.md"):
        assert Browser().get(name).status_code == 404


# The files


def test_a_file_comes_as_it_is_and_as_markdown() -> None:
    for name, path in documents():
        answer = Browser().get(f"/{name}")
        assert answer.status_code == 200, name
        assert answer["Content-Type"] == "text/markdown; charset=utf-8"
        assert answer.content == path.read_bytes()


@pytest.mark.parametrize(
    "path",
    [
        "/docs/../CONTRIBUTING.md",
        "/docs/%2e%2e/CONTRIBUTING.md",
        "/docs/..%2fCONTRIBUTING.md",
        "/../CONTRIBUTING.md",
        "//etc/x.md",
        "/docs//settings.md",
        "/./README.md",
        "/docs/settings.MD",
        "/docs/*.md",
        "/docs/.md",
        "/.md",
        "/docs/settings%00.md",
        "/CONTRIBUTING.md",
        "/miniprogram/node_modules/x/README.md",
        "/docs/settings.md/",
        "/docs/ranking.png",
        "/docs/",
    ],
)
def test_what_is_not_listed_is_not_found(db: None, path: str) -> None:
    assert Browser().get(path).status_code == 404


def test_a_link_to_another_listed_file_works_where_it_is_served() -> None:
    served = {f"/{name}" for name, _path in documents()}
    checked = 0
    for name, path in documents():
        for target in re.findall(r"\]\(([^)#\s]+\.md)(?:#[^)]*)?\)", path.read_text()):
            if (
                "://" not in target
                and (path.parent / target).resolve() in dict(documents()).values()
            ):
                assert urljoin(f"/{name}", target) in served, f"{name}: {target}"
                checked += 1
    assert checked > 20


@pytest.mark.parametrize("path", ["/llms.txt", "/README.md", "/docs/settings.md"])
def test_caches_may_keep_it_and_ask_whether_it_has_changed(path: str) -> None:
    answer = Browser().get(path)
    assert set(answer["Cache-Control"].split(", ")) == {"public", "max-age=3600"}
    assert answer["X-Robots-Tag"] == "noindex" and "Cookie" not in answer.get("Vary", "")
    again = Browser().get(path, headers={"If-None-Match": answer["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert Browser().head(path).status_code == 200
    assert Browser().post(path).status_code == 405


@pytest.mark.parametrize("path", ["/llms.txt", "/README.md", "/docs/none.md"])
def test_it_asks_the_database_nothing_also_for_operators(
    olga: Browser, django_assert_num_queries: Any, path: str
) -> None:
    with django_assert_num_queries(0):
        olga.get(path)
