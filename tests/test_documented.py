"""Every block of code in the documentation is executed by a test, or says why it cannot be."""

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import time_machine
from django.utils import timezone
from jsonschema import Draft202012Validator

from accounts.models import WeChatUser
from benchmarks import crowd
from groups import ranking
from groups.models import Board, Group, Membership, Score, ServerKey
from tests.documented import (
    CALLS,
    EXECUTED,
    ROOT,
    Block,
    Executed,
    all_blocks,
    blocks_in,
    blocks_of,
    executed,
)
from tests.servers import find_program
from tests.settings import APP_ID

# The list itself


def functions_of(path: str) -> set[str]:
    body = ast.parse((ROOT / path).read_text()).body
    return {node.name for node in body if isinstance(node, ast.FunctionDef)}


@pytest.mark.no_service
def test_every_block_has_a_test_or_a_reason() -> None:
    without = [str(block) for block in all_blocks() if executed(block) is None]
    assert without == [], "name the test that executes them in tests/documented.py"
    assert len(all_blocks()) > 100


@pytest.mark.no_service
@pytest.mark.parametrize("entry", EXECUTED, ids=lambda each: f"{each.pages} {each.language}")
def test_an_entry_has_blocks_and_a_test_that_takes_them(entry: Executed) -> None:
    blocks = [block for block in all_blocks() if executed(block) is entry]
    assert blocks
    assert bool(entry.test) != bool(entry.reason)
    if entry.test:
        path, name = entry.test.split("::")
        assert name in functions_of(path)
        text = (ROOT / path).read_text()
        takes = re.search(r"\b(?:blocks_of|steps_of)\(", text)
        assert takes or all(Path(block.page).name in text for block in blocks)


@pytest.mark.no_service
def test_a_new_block_is_noticed() -> None:
    for language in ("sh", "python", "json", "js", "xml", "css", "vue", "tsx", "go", ""):
        [block] = blocks_in("docs/new.md", f"Text\n\n```{language}\nfirst\n```\n")
        assert (block.page, block.line, block.code) == ("docs/new.md", 3, "first\n")
        assert executed(block) is None


@pytest.mark.no_service
def test_blocks_are_read_as_a_browser_shows_them() -> None:
    text = "1. a\n\n   ```sh\n   one\n     two\n   ```\n\n````md\n```sh\n```\n````\n"
    assert [(block.language, block.code) for block in blocks_in("a.md", text)] == [
        ("sh", "one\n  two\n"),
        ("md", "```sh\n```\n"),
    ]
    with pytest.raises(AssertionError, match=r"a\.md:2"):
        list(blocks_in("a.md", "\n```sh\nno end"))


@pytest.mark.no_service
def test_what_blocks_of_commands_call_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = paths = 0
    for block in all_blocks():
        if block.language != "sh":
            continue
        for target in re.findall(r"^make (\w+)", block.code, re.MULTILINE):
            assert f"\n{target}: " in makefile, block
            targets += 1
        for path in re.findall(r"-m pytest (\S+)", block.code):
            assert (ROOT / path).exists(), block
            paths += 1
    assert targets >= 6 and paths >= 2


@pytest.mark.no_service
@pytest.mark.parametrize("readme", ["README.md", "README.zh-CN.md"])
def test_the_first_command_is_on_the_first_screen(readme: str) -> None:
    first = next(block for block in all_blocks() if block.page == readme)
    assert first.code.startswith("make demo ") and first.line < 24


# Calls of the API

CURL = """
import json, subprocess, sys
called = subprocess.run([{curl!r}, *sys.argv[1:]], capture_output=True, text=True)
with open({log!r}, "a") as log:
    print(json.dumps([sys.argv[1:], called.stdout]), file=log)
sys.stdout.write(called.stdout)
sys.exit(called.returncode)
"""
SHOWN_ON = datetime(2026, 11, 25, 4, tzinfo=UTC)  # the day of the examples, noon in Shanghai


def fits(shown: Any, answer: Any) -> bool:
    """Tell whether an answer is as a page shows it; "…" stands for any text, or for more items."""
    if shown == "…":
        return isinstance(answer, str)
    if isinstance(shown, dict) and isinstance(answer, dict):
        return shown.keys() == answer.keys() and all(fits(shown[key], answer[key]) for key in shown)
    if isinstance(shown, list) and isinstance(answer, list):
        if shown[-1:] == ["…"] and len(answer) >= len(shown):
            shown, answer = shown[:-1], answer[: len(shown) - 1]
        return len(shown) == len(answer) and all(map(fits, shown, answer))
    return bool(shown == answer)


@pytest.mark.no_service
@pytest.mark.parametrize(
    ("shown", "answer", "is_so"),
    [
        ({"a": "…", "b": 1}, {"a": "x", "b": 1}, True),
        ({"a": "…"}, {"a": 1}, False),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ([1, "…"], [1, {}, {}], True),
        ([1, "…"], [1], False),
        ([1], [1, 2], False),
        ([{"a": 1}], [{"a": 2}], False),
    ],
)
def test_an_answer_is_compared_with_what_is_shown(shown: Any, answer: Any, is_so: bool) -> None:
    assert fits(shown, answer) is is_so


@pytest.fixture
def schema(client: Any) -> Any:
    return client.get("/api/schema/", headers={"Accept": "application/json"}).json()


def validate(schema: Any, method: str, url: str, status: str, answer: Any) -> None:
    """Validate the answer of a call by what the schema says of this call."""
    path = urlsplit(url).path
    [operations] = [
        operations
        for pattern, operations in schema["paths"].items()
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", pattern), path)
    ]
    content = operations[method]["responses"][status]["content"]["application/json"]
    root = {**content["schema"], "components": schema["components"]}
    Draft202012Validator(root).validate(answer)


@pytest.mark.parametrize("page", sorted({block.page for block in blocks_of(CALLS)}))
def test_the_calls_of_the_page_work_in_its_order(
    page: str, live_server: Any, make_person: Any, schema: Any, tmp_path: Path
) -> None:
    curl, log = tmp_path / "curl", tmp_path / "log"
    curl.write_text(f"#!{sys.executable}\n" + CURL.format(curl=find_program("curl"), log=str(log)))
    curl.chmod(0o700)
    with time_machine.travel(SHOWN_ON, tick=True):
        make_person("demo-alice").enter("family")
        write_a_finished_week()
        key, _row = ServerKey.objects.issue(APP_ID, "backend", timezone.now())
        script = "".join(block.code for block in blocks_of(CALLS, page) if block.language == "sh")
        for shown, ours in (
            ("http://127.0.0.1:8000", live_server.url),
            ("https://api.example.com", live_server.url),
            ("KEY=…", f"KEY={key}"),
        ):
            script = script.replace(shown, ours)
        subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "NO_PROXY": "*"},
            check=True,
            timeout=60,
        )
    calls = [json.loads(line) for line in log.read_text().splitlines()]
    answers = [json.loads(answer) for _arguments, answer in calls]
    for (arguments, _text), answer in zip(calls, answers, strict=True):
        [url] = [each for each in arguments if each.startswith("http")]
        validate(schema, "post" if "-d" in arguments else "get", url, "200", answer)
        rows = next(value for value in answer.values() if isinstance(value, list | str))
        assert rows and "code" not in rows[0], f"{url}: {answer}"
    done = 0
    for block in blocks_of(CALLS, page):
        if block.language == "json":
            assert fits(json.loads(block.code), answers[done - 1]), (str(block), answers[done - 1])
        done += len(re.findall(r"\bcurl ", block.code))
    assert done == len(answers) >= 2


def write_a_finished_week() -> None:
    """Write the group, the member and the week that the examples ask for."""
    board = Board.objects.create(app_id=APP_ID, key="steps", scope=Board.Scope.APP)
    group = Group.objects.create(app_id=APP_ID, open_gid="tGXXXX")
    user = WeChatUser.objects.create(app_id=APP_ID, openid="oXXXX")
    now = timezone.now()
    Membership.objects.create(group=group, user=user, joined_at=now, verified_at=now)
    Score.objects.create(board=board, user=user, period="2026-W47", value=1, achieved_at=now)
    ranking.recent.clear()


@pytest.mark.parametrize(
    "block", blocks_of("tests/test_documented.py::test_an_error_looks_as_said"), ids=str
)
def test_an_error_looks_as_said(db: None, client: Any, schema: Any, block: Block) -> None:
    answer = client.get("/api/v1/me").json()
    validate(schema, "get", "/api/v1/me", "default", answer)
    assert fits(json.loads(block.code), answer)


# Others


@pytest.mark.no_service
def test_a_crowd_takes_the_options_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    [block] = blocks_of("tests/test_documented.py::test_a_crowd_takes_the_options_of_the_page")
    lines = block.code.replace("\\\n", " ").splitlines()
    assert len(lines) == 3
    for line in lines:
        python, option, module, *options = shlex.split(line, comments=True)
        assert (python, option, module) == (".venv/bin/python", "-m", "benchmarks.crowd")
        monkeypatch.setattr("sys.argv", [module, *options])
        crowd.read_options()


@pytest.mark.no_service
def test_the_first_change_works(tmp_path: Path) -> None:
    """Do in a copy of the tree what CONTRIBUTING.md says: the test fails, then passes."""
    written, change = blocks_of("tests/test_documented.py::test_the_first_change_works")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).suffix in {".py", ".toml", ".html", ".mo", ".md"}:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)

    def run() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pytest", "tests/test_exports.py", "-k", "session"]
        return subprocess.run(
            [*command, "-p", "no:cacheprovider"],
            cwd=tmp_path,
            env={key: os.environ[key] for key in os.environ if not key.startswith("PYTEST_")},
            capture_output=True,
            text=True,
            timeout=300,
        )

    with (tmp_path / "tests/test_exports.py").open("a") as file:
        file.write(f"\n\n{written.code}")
    before = run()
    assert before.returncode == 1 and "2 failed" in before.stdout, before.stdout
    old, new = change.code.splitlines(keepends=True)
    path = tmp_path / "console/exports.py"
    text = path.read_text()
    assert text.count(old[1:]) == 1 and (old[0], new[0]) == (" ", "+")
    path.write_text(text.replace(old[1:], old[1:] + new[1:]))
    after = run()
    assert after.returncode == 0 and "2 passed" in after.stdout, after.stdout
