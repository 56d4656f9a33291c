"""Translations: every sentence has one, and the compiled catalogue is the written one."""

import ast
import os
import runpy
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import polib
import pytest
from django.utils import timezone
from django.utils.translation import gettext, override

from console.review import waiting_time
from console.translations import WORDS
from tests.servers import find_program

pytestmark = [pytest.mark.no_service, pytest.mark.xdist_group("translations")]

ROOT = Path(__file__).resolve().parent.parent
PATH = Path("locale/zh_Hans/LC_MESSAGES/django.po")
CATALOGUE = ROOT / PATH
SCRIPT = ROOT / "scripts/translations.py"
unfinished = runpy.run_path(str(SCRIPT))["unfinished"]

SETTINGS = """
from pathlib import Path
SECRET_KEY = "x"
LOCALE_PATHS = [Path(__file__).parent.parent / "locale"]
"""
MANAGE = """
import sys
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""
HEADER = r"""
msgid ""
msgstr ""
"Content-Type: text/plain; charset=UTF-8\n"
"Plural-Forms: nplurals=1; plural=0;\n"
"""


def test_every_sentence_is_translated_and_compiled():
    assert unfinished(CATALOGUE) == []


PACKAGES = ("accounts", "audit", "console", "core", "groups", "groupsite", "wechat")
TRANSLATING = {"gettext", "ngettext", "pgettext", "npgettext", "_"}


def in_fstrings(code: str) -> list[int]:
    """Return the lines of f-strings that translate: xgettext does not look into them."""
    return [
        node.lineno
        for text in ast.walk(ast.parse(code))
        if isinstance(text, ast.JoinedStr)
        for node in ast.walk(text)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in TRANSLATING
    ]


def test_no_sentence_stands_in_an_fstring() -> None:
    assert in_fstrings("x = 1\ny = f\"{gettext('Rank')} {x}\"") == [2]
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    assert len(files) > 100
    found = {str(path): in_fstrings(path.read_text()) for path in files}
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Set up a small project whose translations are in step."""
    find_program("xgettext")
    root = tmp_path_factory.mktemp("project")
    write(root / "tests/__init__.py", "")
    write(root / "tests/settings.py", SETTINGS)
    write(root / "manage.py", MANAGE)
    write(root / ".gitignore", "var/\n")
    write(root / "app/views.py", '_("Hello"); pgettext("verb", "Open"); ngettext("a", "%d b", 2)')
    write(root / "templates/page.html", '{% load i18n %}{% translate "Group" %}')
    write(root / "scripts/translations.py", SCRIPT.read_text())
    write(root / PATH, HEADER)
    assert run("git", "init", "--quiet", cwd=root).returncode == 0
    in_step(root)
    return root


@pytest.fixture
def tree(project, tmp_path):
    return shutil.copytree(project, tmp_path / "tree")


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def run(*command, cwd, **environment):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment = kept | environment
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def translations(tree, *options, **environment):
    return run(sys.executable, "-B", "scripts/translations.py", *options, cwd=tree, **environment)


def in_step(tree):
    """Do as the check asks: collect, translate what is new, collect again."""
    assert translations(tree).stderr == ""
    catalogue = polib.pofile(str(tree / PATH))
    for entry in catalogue:
        if entry.msgid_plural:
            entry.msgstr_plural = {0: "%d 几"}
        else:
            entry.msgstr = "字"
        entry.flags = [flag for flag in entry.flags if flag != "fuzzy"]
    catalogue.save()
    assert translations(tree).stderr == ""


def faults(tree):
    """Return what the check says, having made sure that it wrote nothing."""
    before = {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    checked = translations(tree, "--check", CI="true")
    assert before == {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    assert checked.returncode == (1 if checked.stdout else 0), checked.stderr
    return [line.removeprefix(f"{PATH}: ") for line in checked.stdout.splitlines()]


def test_translations_in_step_pass(tree):
    assert faults(tree) == []


def test_a_new_sentence_is_missing(tree):
    write(tree / "app/new.py", '_("Not translated")')
    write(
        tree / "templates/new.html",
        "{% load i18n %}{% blocktranslate %}Nor this{% endblocktranslate %}",
    )
    write(tree / "var/draft.py", '_("Git ignores this")')
    assert sorted(faults(tree)) == ["missing: Nor this", "missing: Not translated"]
    in_step(tree)
    assert faults(tree) == []


def test_a_sentence_that_differs_by_its_context_or_plural_is_another(tree):
    write(tree / "app/views.py", '_("Hello"); pgettext("noun", "Open"); ngettext("a", "%d c", 2)')
    assert sorted(faults(tree)) == [
        *("missing: Open", "missing: a"),
        *("no longer in the code: Open", "no longer in the code: a"),
    ]


def test_a_sentence_that_is_not_used_any_more_is_named(tree):
    (tree / "templates/page.html").unlink()
    assert faults(tree) == ["no longer in the code: Group"]
    assert translations(tree).returncode == 0
    assert "Group" not in (tree / PATH).read_text()


def test_a_collected_sentence_still_needs_its_translation(tree):
    write(tree / "app/new.py", '_("Not translated")')
    assert translations(tree).returncode == 0
    assert faults(tree) == ["not translated: Not translated"]


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('msgid "Hello"\nmsgstr "字"', 'msgid "Hello"\nmsgstr ""', "not translated: Hello"),
        ('msgstr[0] "%d 几"', 'msgstr[0] ""', "not translated: a"),
        ('msgid "Hello"', '#, fuzzy\nmsgid "Hello"', "fuzzy: Hello"),
        ('msgid "Hello"', '#~ msgid "Bye"\n#~ msgstr "字"\n\nmsgid "Hello"', "obsolete: Bye"),
        ('"字"', '"文"', "django.mo is not compiled from the present django.po"),
    ],
)
def test_faults_of_the_catalogue_are_named(tree, old, new, fault):
    text = (tree / PATH).read_text()
    assert old in text
    (tree / PATH).write_text(text.replace(old, new))
    assert fault in faults(tree)


def test_a_catalogue_that_is_not_compiled_is_named(tree):
    (tree / PATH).with_suffix(".mo").unlink()
    assert faults(tree) == ["django.mo is not compiled from the present django.po"]


def test_without_gettext_ci_fails_and_a_developer_is_asked_for_it(tree, tmp_path_factory):
    """Check all the same what needs no gettext."""
    tools = tmp_path_factory.mktemp("tools")
    (tools / "git").symlink_to(find_program("git"))
    for options, ci, code in [
        ([], "false", 1),
        (["--check"], "true", 1),
        (["--check"], "false", 0),
    ]:
        checked = translations(tree, *options, PATH=str(tools), CI=ci)
        assert "apt install gettext 请先安装 gettext" in checked.stderr
        assert checked.returncode == code
    (tree / PATH).with_suffix(".mo").unlink()
    assert translations(tree, "--check", PATH=str(tools), CI="false").returncode == 1


def test_members_and_operators_are_never_both_called_yonghu():
    allowed = {"WeChat user"}  # WeChat's own words for a user without a name
    assert [
        entry.msgid
        for entry in polib.pofile(str(CATALOGUE))
        if "用户" in entry.msgstr and entry.msgid not in allowed
    ] == []


def test_each_thing_has_one_name():
    others = ("别名", "成绩", "理由", "撤销")  # 群内昵称, 得分, 原因, 吊销
    undo = {"Undo", "Undone at once"}  # an action; a key is 吊销
    assert [
        entry.msgid
        for entry in polib.pofile(str(CATALOGUE))
        if any(other in entry.msgstr for other in others) and entry.msgid not in undo
    ] == []


def test_our_translations_of_djangos_words_are_used():
    with override("zh-hans"):
        assert gettext("Log out") == "退出登录"
        assert not any(gettext(word).isascii() for word in WORDS if isinstance(word, str))
        now = timezone.now()
        assert waiting_time(now - timedelta(days=1, hours=2), now) == "1\xa0天"
