"""The counts that lint keeps: each counts, and is not evaded by another spelling of the same."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.counts.__main__ import count_all
from scripts.counts.files import TrackedFile

pytestmark = pytest.mark.no_service

ROOT = Path(__file__).resolve().parent.parent

WORDS = "words of the dialect"
DOCSTRINGS = "docstrings that begin with a verb"
CLASSES = "class names in more than one file"
FUNCTIONS = "short functions with one caller"
CIRCLES = "circles of imports"

CLEAN = {"groups/__init__.py": ""}
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
ENVIRONMENT["PYTHONPATH"] = str(ROOT)


def row(title: str, files: dict[str, str]) -> Any:
    """Return one line of the table over these files."""
    sources = [TrackedFile(path, text) for path, text in sorted((CLEAN | files).items())]
    [found] = [count for count in count_all(sources) if count.title == title]
    return found


def run(tree: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=tree, env=ENVIRONMENT, capture_output=True, text=True)


def count(tree: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return run(tree, sys.executable, "-B", "-m", "scripts.counts", *options)


def track(tree: Path, files: dict[str, str]) -> None:
    for name, text in (CLEAN | files).items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    run(tree, "git", "init", "--quiet")
    assert run(tree, "git", "add", ".").returncode == 0


def test_a_tree_within_the_limits_passes(tmp_path):
    track(tmp_path, {"groups/a.py": 'def f():\n    """Return nothing."""\n'})
    counted = count(tmp_path)
    assert counted.returncode == 0
    assert counted.stderr == ""
    assert len(counted.stdout.splitlines()) == 5
    assert "BROKEN" not in counted.stdout


def test_a_broken_limit_fails_and_its_offenders_are_listed_on_demand(tmp_path):
    track(tmp_path, {"docs/a.md": "\n\nMend it.\n", "b.md": "told " * 20})
    assert count(tmp_path).returncode == count(tmp_path, "--list").returncode == 1
    assert re.search(rf"^{WORDS} +21 .*BROKEN$", count(tmp_path).stdout, re.MULTILINE)
    assert "docs/a.md" not in count(tmp_path).stdout
    assert "docs/a.md:3: Mend\n" in count(tmp_path, "--list").stdout


def test_all_that_git_tracks_is_counted_and_nothing_else(tmp_path):
    files = {".gitignore": "var/\n", "var/a.md": "told", "a.md": "told", "b.md": "told"}
    track(tmp_path, files)
    (tmp_path / "new.md").write_text("told")
    (tmp_path / "b.md").unlink()
    (tmp_path / "picture.png").write_bytes(b"\x89PNG told")
    run(tmp_path, "git", "add", "picture.png")
    for folder in (tmp_path, tmp_path / "groups"):
        assert count(folder, "--list").stdout.startswith(f"a.md:1: told\n{WORDS} ")


def test_nothing_counted_is_no_pass(tmp_path):
    assert "not a git repository" in count(tmp_path).stderr
    assert count(tmp_path).returncode != 0
    run(tmp_path, "git", "init", "--quiet")
    assert count(tmp_path).stderr == "No code of the product stands here.\n"
    assert count(tmp_path).returncode != 0


@pytest.mark.parametrize(
    ("title", "files"),
    [
        (WORDS, {"a.md": "told " * 21}),
        (DOCSTRINGS, {"groups/a.py": 'def f():\n    """The row."""\n'}),
        (CLASSES, {f"groups/{x}.py": "".join(f"class {y}: 1\n" for y in "ABCD") for x in "ab"}),
        (FUNCTIONS, {"groups/a.py": "def _f():\n    return 1\n\ndef g():\n    return _f()\n"}),
        (CIRCLES, {"groups/a.py": "import groups.b\n", "groups/b.py": "import groups.a\n"}),
    ],
)
def test_each_limit_is_broken_alone(title, files):
    sources = [TrackedFile(path, text) for path, text in (CLEAN | files).items()]
    counts = count_all(sources)
    assert [count.title for count in counts if not count.is_kept] == [title]
    assert [count.title for count in counts if "BROKEN" in str(count)] == [title]


def test_the_limits_are_those_agreed_upon():
    counts = count_all([TrackedFile("groups/a.py", "")])
    assert {count.title: count.limit for count in counts} == {
        WORDS: 20,
        DOCSTRINGS: 60,
        CLASSES: 3,
        FUNCTIONS: 8,
        CIRCLES: 0,
    }


@pytest.mark.parametrize(
    "text",
    [
        *("whoever", "whom", "whomever", "told", "somebody", "nobody", "everybody", "lest"),
        *("mend", "mends", "mended", "mending", "for good"),
        *("Told", "TOLD", "told_age", "told_", "retold = told", "toldAge", "isTold", "TOLD_AGE"),
        *("nobody's", "nobodys_host", "EVERYBODYS", "“told”", "全部told的", "told1", "**told**"),
        *("for\ngood", "for\n    # good", "For Good", "for  good", "for_good", "for-good"),
    ],
)
def test_a_word_counts_however_it_is_written(text):
    assert row(WORDS, {"a.md": f"x {text} y"}).value == 1


@pytest.mark.parametrize(
    "text",
    ["recommend", "amend", "toldo", "celesta", "molest", "for goods", "forgood", "who", "bold"],
)
def test_other_words_do_not_count(text):
    assert row(WORDS, {"a.md": f"x {text} y"}).value == 0


def test_words_count_in_every_kind_of_text():
    names = [
        *("groups/a.py", "scripts/run", "README.md", "a.zh-CN.md", "Makefile", "templates/a.html"),
        *("miniprogram/a.js", "miniprogram/a.mjs", "miniprogram/a.d.ts", "miniprogram/a.wxml"),
        *("static/a.css", "miniprogram/a.wxss", "pyproject.toml", "docs/a.svg", "a.json", "a.yaml"),
    ]
    counted = row(WORDS, dict.fromkeys(names, "# told"))
    assert sorted(counted.offenders) == sorted(f"{name}:1: told" for name in names)


def test_translations_locks_and_recorded_data_do_not_count():
    names = [
        *("locale/zh_Hans/LC_MESSAGES/django.po", "requirements.txt", "requirements-dev.txt"),
        *("requirements/redis.txt", "miniprogram/package-lock.json", "tests/vectors.json"),
        *("tests/recorded/calls.jsonl", "LICENSE", "scripts/counts/words.py"),
    ]
    assert row(WORDS, dict.fromkeys(names, "told")).value == 0


def test_each_time_counts():
    assert row(WORDS, {"a.md": "told told\ntold"}).value == 3


def docstring(text: str) -> str:
    return f"def f():\n    '''{text}'''\n"


@pytest.mark.parametrize(
    "text",
    [
        "Return it.",
        "return it.",
        "\n    Return it.\n    ",
        "Record the change.",
        "Leave.",
        "Let it be.",
    ],
)
def test_a_verb_is_known(text):
    assert row(DOCSTRINGS, {"groups/a.py": docstring(text)}).value == 100


@pytest.mark.parametrize(
    "text",
    [
        *(
            "Returns it.",
            "Returning it.",
            "Returned.",
            "The row.",
            "Whether it is.",
            "What to return.",
        ),
        *(
            "`delete` is a verb.",
            "Record of a change.",
            "Set-up.",
            "Delete's caller.",
            "返回",
            "12",
        ),
    ],
)
def test_what_is_no_imperative_is_none(text):
    counted = row(DOCSTRINGS, {"groups/a.py": docstring(text)})
    assert counted.value == 0
    assert not counted.is_kept
    assert counted.offenders == [f"groups/a.py:1: f: {text}"]


def test_docstrings_of_functions_methods_and_tests_count():
    nested = 'class A:\n    """A thing."""\n    async def f(self):\n        """The row."""\n'
    files = {
        "groups/a.py": f'"""A module."""\n{nested}\ndef g():\n    pass\n',
        "tests/test_a.py": docstring("Return."),
        "scripts/run": f"#!/usr/bin/env python3\n{docstring('Return.')}",
        "groups/migrations/0001_initial.py": docstring("A migration."),
    }
    counted = row(DOCSTRINGS, files)
    assert counted.offenders == ["groups/a.py:4: f: The row."]
    assert round(counted.value, 1) == 66.7
    assert counted.is_kept


def test_verbs_are_written_in_the_imperative():
    verbs = (ROOT / "scripts/counts/verbs.txt").read_text().split()
    assert verbs == sorted(set(verbs))
    known = set(verbs)
    endings = {f"{verb}{ending}" for verb in known for ending in ("s", "es", "d", "ed", "ing")}
    assert known & endings == {"seed"}  # of "see", not its past
    assert not {"whether", "what", "who", "the", "a", "one", "every"} & known


@pytest.mark.parametrize(
    "text",
    [
        "class Row:\n    pass\n",
        "class A:\n    class Row:\n        pass\n",
        "def f():\n    class Row:\n        pass\n",
        "if True:\n    class Row:\n        pass\n",
        'Row = namedtuple("Row", "a b")\n',
        'Row = typing.NamedTuple("Row", [])\n',
        'Other = type("Row", (), {})\n',
    ],
)
def test_a_name_in_two_files_is_found(text):
    files = {"groups/a.py": "class Row:\n    pass\n", "fuzz/b.py": text}
    counted = row(CLASSES, files)
    assert counted.value == 1
    assert [re.sub(r":\d+", "", line) for line in counted.offenders] == [
        "fuzz/b.py: Row",
        "groups/a.py: Row",
    ]


@pytest.mark.parametrize(
    "files",
    [
        {"groups/a.py": "class A:\n    class Row: 1\nclass B:\n    class Row: 1\n"},
        {
            "groups/a.py": "class Meta: 1\nclass Command: 1\n",
            "groups/b.py": "class Meta: 1\nclass Command: 1\n",
        },
        {"groups/a.py": "class Row: 1\n", "tests/test_a.py": "class Row: 1\n"},
        {"groups/a.py": "class Row: 1\n", "e2e/conftest.py": "class Row: 1\n"},
        {"groups/a.py": "class Row: 1\n", "groups/migrations/0001_initial.py": "class Row: 1\n"},
        {"groups/a.py": "class Row: 1\n", "groups/b.py": "from .a import Row\nkind = type(Row)\n"},
    ],
)
def test_these_names_are_not_shared(files):
    assert row(CLASSES, files).value == 0


def caller(*lines: str) -> str:
    return "\n".join(["def caller(value):", *(f"    {line}" for line in lines), ""])


ONE = "def one():\n    return 1\n"


@pytest.mark.parametrize(
    "files",
    [
        {"groups/a.py": f"{ONE}{caller('return one()')}"},
        {"groups/a.py": f"{ONE}{caller('return one() + one()')}"},
        {"groups/a.py": f"{ONE}{caller('one()', 'return [lambda: one()]')}"},
        {"groups/a.py": f"{ONE}{caller('def inner():', '    return one()', 'return 1', '2', '3')}"},
        {"groups/a.py": f"{ONE}value = one()\n"},
        {"groups/a.py": f"{ONE}value = one()\ndef other():\n    one = 2\n"},
        {"groups/a.py": f"async {ONE}{caller('return one()')}"},
        {"groups/a.py": "def one():\n    '''Return.'''\n    1\n    2\n    return 3\nx = one()\n"},
        {"groups/a.py": "def one():\n    # why\n\n    return (\n        2,\n    )\none()"},
        {"groups/a.py": "def one():\n    return one()\nx = one()\n"},
        {"groups/a.py": ONE, "accounts/b.py": f"from groups.a import one\n{caller('one()')}"},
        {"groups/a.py": ONE, "groups/b.py": f"from .a import one as two\n{caller('two()')}"},
        {"groups/a.py": ONE, "groups/b.py": f"from . import a\n{caller('a.one()')}"},
        {"groups/a.py": ONE, "groups/b.py": f"import groups.a\n{caller('groups.a.one()')}"},
        {"groups/a.py": ONE, "groups/b.py": f"import groups.a as c\n{caller('c.one()')}"},
        {
            "groups/__init__.py": "from .a import one",
            "groups/a.py": ONE,
            "groups/b.py": "import groups\ngroups.one()\n",
        },
        {
            "groups/a.py": f"{ONE}one()\n",
            "tests/test_a.py": "from groups.a import one\none()\none()\n",
        },
        {"groups/a.py": f"{ONE}one()\n", "groups/b.py": "one = 1\nprint(one, x.one)\n"},
        {"groups/a.py": f"{ONE}one()\n", "groups/b.py": f"{ONE}one()\none()\nf(one)\n"},
    ],
)
def test_a_short_function_with_one_caller_is_found(files):
    found = row(FUNCTIONS, files).offenders
    assert [line.split(",")[0] for line in found] == ["groups/a.py:1: one"]


METHOD = "class A:\n    def _one(self):\n        return 1\n"


@pytest.mark.parametrize(
    "text",
    [
        f"{METHOD}    def two(self):\n        return self._one()\n",
        f"{METHOD}def caller(a):\n    return a._one()\n",
        f"{METHOD}def caller():\n    return A()._one()\n",
        f"{METHOD}class B(A):\n    def two(self):\n        return self._one()\n",
        METHOD.replace("    def", "    @property\n    def") + "def caller(a):\n    return a._one\n",
        METHOD.replace("    def", "    @staticmethod\n    def")
        + "def caller(a):\n    return a._one()\n",
        f"{METHOD}    def two(self):\n        return self._one()\n"
        "class B:\n    def _one(self):\n        a\n        b\n        c\n        d\n"
        "    def two(self):\n        return self._one()\n",
    ],
)
def test_a_short_private_method_with_one_caller_is_found(text):
    found = row(FUNCTIONS, {"groups/a.py": text}).offenders
    assert [re.sub(r":\d+", "", line.split(",")[0]) for line in found] == ["groups/a.py: _one"]


@pytest.mark.parametrize(
    "text",
    [
        ONE,  # nothing calls it: a framework does
        f"{ONE}a = one()\n{caller('return one()')}",
        f"{ONE}TABLE = [one]\n{caller('return one()')}",
        f"{ONE}{caller('return map(one, value)')}",
        f"{ONE}NAME = 'groups.a.one'\none()\n",
        f"@register\n{ONE}one()\n",
        f"@register('x')\n{ONE}one()\n",
        "def one():\n    1\n    2\n    3\n    return 4\none()\n",
        "def one():\n    return (\n        1,\n        2,\n    )\none()\n",
        "class A:\n    def one(self):\n        return 1\nA().one()\n",
        "class A:\n    def __one__(self):\n        return 1\nA().__one__()\n",
        f"{METHOD}    def two(self):\n        return super()._one()\n",
        f"{METHOD}getattr(a, '_one')\na._one()\n",
    ],
)
def test_these_functions_may_stay(text):
    assert row(FUNCTIONS, {"groups/a.py": text}).offenders == []


def test_the_share_is_that_of_all_functions():
    others = "\n".join(f"def f{n}():\n    1\n    2\n    3\n    4\n" for n in range(9))
    counted = row(FUNCTIONS, {"groups/a.py": f"{ONE}{others}one()\n"})
    assert (counted.value, counted.is_kept) == (10, False)


def test_the_share_is_that_of_the_product():
    others = dict.fromkeys(["fuzz/a.py", "scripts/b.py", "tests/c.py"], f"{ONE}one()\n")
    assert row(FUNCTIONS, others).value == 0
    assert row(FUNCTIONS, others | {"groups/a.py": f"{ONE}one()\n"}).value == 100


@pytest.mark.parametrize(
    "text",
    [
        "import groups.b\n",
        "import groups.b as b\n",
        "from groups import b\n",
        "from groups.b import name\n",
        "from . import b\n",
        "from .b import name\n",
        "from .b import *\n",
        "def f():\n    from .b import name\n",
        "class A:\n    def f(self):\n        import groups.b\n",
        "try:\n    import groups.b\nexcept ImportError:\n    pass\n",
        "if TYPE_CHECKING:\n    pass\nelse:\n    import groups.b\n",
        "if not TYPE_CHECKING:\n    import groups.b\n",
        "importlib.import_module('groups.b')\n",
        "import_module('.b', __package__)\n",
        "__import__('groups.b')\n",
        "import_string('groups.b.name')\n",
    ],
)
def test_a_circle_is_found_however_it_is_imported(text):
    counted = row(CIRCLES, {"groups/a.py": text, "groups/b.py": "from .a import name\n"})
    assert counted.value == 1
    assert [line.split(": ")[1] for line in counted.offenders] == ["groups.a → groups.b → groups.a"]


def test_longer_circles_through_packages_are_found():
    files = {
        "groups/__init__.py": "from accounts import b\n",
        "accounts/__init__.py": "",
        "accounts/b.py": "from .deep.c import name\n",
        "accounts/deep/__init__.py": "",
        "accounts/deep/c.py": "import groups\nfrom ..d import name\n",
        "accounts/d.py": "from .d import name\n",
    }
    counted = row(CIRCLES, files)
    assert [line.split(": ")[1] for line in counted.offenders] == [
        "accounts.b → accounts.deep.c → groups → accounts.b",
        "accounts.d → accounts.d",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "if TYPE_CHECKING:\n    from .b import name\n",
        "if typing.TYPE_CHECKING:\n    from .b import name\n",
        "from groups import name\n",
        "user = models.ForeignKey('groups.b')\n",
    ],
)
def test_these_imports_are_no_circle(text):
    assert row(CIRCLES, {"groups/a.py": text, "groups/b.py": "import groups.a\n"}).value == 0


def test_circles_of_tests_are_their_own_matter():
    files = {"tests/a.py": "import tests.b\n", "tests/b.py": "import tests.a\n"}
    assert row(CIRCLES, files).value == 0
