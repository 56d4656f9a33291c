"""Check the guides and the example app against the kit and the API."""

import re
from pathlib import Path

import pytest

from groups import api

pytestmark = pytest.mark.no_service

ROOT = Path(__file__).resolve().parent.parent
KIT, EXAMPLE = ROOT / "miniprogram/groups", ROOT / "miniprogram/example"
TYPES = (KIT / "index.d.ts").read_text()
LABELS = (EXAMPLE / "pages/data/labels.js").read_text()

GUIDES = pytest.mark.parametrize("guide", ["miniprogram.md", "miniprogram.zh-CN.md"])


def typed(pattern: str, end: str) -> str:
    """Return the part of the types from `pattern` up to `end`."""
    found = re.search(rf"{pattern}(.*?){end}", TYPES, re.DOTALL)
    assert found
    return found[1]


def first_column(guide: str, header: str) -> list[str]:
    """Return the words in `code` in the first column of the table with this header."""
    text = (ROOT / "docs" / guide).read_text()
    table = re.search(rf"^\| {header} \|.*\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert table, header
    return re.findall(r"`(\w+)", " ".join(row.split("|")[1] for row in table[1].splitlines()))


@GUIDES
def test_every_reason_is_explained(guide: str) -> None:
    reasons = re.findall(r"'(\w+)'", typed("export type Reason =", "\n\n"))
    assert len(reasons) > 10
    assert first_column(guide, "reason") == reasons


@GUIDES
def test_every_method_is_in_the_table(guide: str) -> None:
    methods = re.findall(r"^  (\w+)[(<]", typed("export interface Groups {", "\n}"), re.MULTILINE)
    assert len(methods) > 10
    header = "method" if guide == "miniprogram.md" else "方法"
    assert sorted(first_column(guide, header)) == sorted(methods)


@GUIDES
def test_every_error_code_of_the_kit_is_explained(guide: str) -> None:
    codes = re.findall(r"`(\w+)`", typed("The server's \\(docs/errors.md\\), or", r"\*/"))
    assert len(codes) > 10
    assert sorted(first_column(guide, "code")) == sorted(codes)


def fields(serializer: type) -> set[str]:
    """Return the keys that a serializer writes, including nested ones."""
    found: set[str] = set()
    for name, field in serializer().get_fields().items():
        found.add(name)
        inner = getattr(field, "child", field)
        if hasattr(inner, "get_fields"):
            found |= fields(type(inner))
    return found


def test_the_example_has_a_label_for_every_key_of_my_data() -> None:
    labels = set(re.findall(r"^  (\w+): '", LABELS, re.MULTILINE))
    assert fields(api.MyDataOutput) - labels == set()


def test_the_example_with_the_kit_is_small() -> None:
    files = [*EXAMPLE.rglob("*"), *KIT.rglob("*")]
    built = {"node_modules", "miniprogram_npm"}
    size = sum(
        file.stat().st_size for file in files if file.is_file() and not built & {*file.parts}
    )
    assert size < 200_000
