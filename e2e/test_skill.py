"""Follow the skill "put a group ranking into this mini-program", and the guide, word by word.

The code and the commands come from the skill's own pages: nothing here knows what they do. With
`-s` it prints each step.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from groups.models import Membership

from .phones import (
    FROM_SEARCH,
    MINIPROGRAM,
    Backend,
    BrowserPhone,
    MakePhone,
    installed,
    run,
)
from .projects import NATIVE, TARO, UNI_APP, framework_project, project

pytestmark = pytest.mark.xdist_group("skill")

ROOT = MINIPROGRAM.parent
SKILL = MINIPROGRAM / "skills" / "wechat-group-ranking"
CHECK = SKILL / "scripts" / "check.mjs"
FAMILY = "一家人"
PAGE = "/pages/group-ranking/index"
# Taro's templates give each tag every property that WeChat has, empty ones as null.
TOO_MUCH = re.compile(r"is not a valid property|received type-incompatible value: .* null value")
DEMO_SERVER = "http://127.0.0.1:8000"
TOKENS = 5_000  # what SKILL.md may cost an agent that opens it

BUILD_NPM = "In the developer tools: 工具 → 构建 npm"
DO_THE_REFERENCE = "Do the steps of the reference"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"(Create|Add to|Put at the top of) `([^`]+)`(, if there is none)?:$")
INSERT = re.compile(r"Put into `([^`]+)`, right after `([^`]+)`:$")
COMMAND = "Run in the mini-program's folder:"
ROW = re.compile(r"^\| (.+) \| .+ \| \[(references/[\w-]+\.md)\]", re.MULTILINE)


@dataclass
class Step:
    verb: str
    """Create, Add to, Put at the top of, Put after, Run, Build npm, or Do the reference"""
    text: str
    """What is written or run."""
    path: str = ""
    after: str = ""
    """The words that the text goes below."""
    once: bool = False
    """Whether the step is for projects that lack the file."""


def steps_of(page: Path) -> Iterator[Step]:
    """Yield what a page of the skill says to do, in its order."""
    text = page.read_text()
    begin = 0
    for fence in FENCE.finditer(text):
        yield from spoken(text[begin : fence.start()], page)
        yield step_of(text[begin : fence.start()].rstrip(), fence[1], fence[2])
        begin = fence.end()
    yield from spoken(text[begin:], page)


def spoken(words: str, page: Path) -> Iterator[Step]:
    """Yield the steps that words alone describe."""
    if BUILD_NPM in words:
        yield Step("Build npm", "")
    if DO_THE_REFERENCE in words:
        yield Step("Do the reference", "")


def step_of(words: str, language: str, code: str) -> Step:
    """Return the step of a fenced block, from the words that end before it."""
    if found := FILE.search(words):
        assert (found[1] == "Add to") == (language == "json" and found[1] != "Create"), words
        return Step(found[1], code, path=found[2], once=bool(found[3]))
    if found := INSERT.search(words):
        return Step("Put after", code, path=found[1], after=found[2])
    is_command = words.endswith(COMMAND) and language == "sh"
    assert is_command, f"nothing says what to do with this block: {code}"
    return Step("Run", code)


@dataclass
class Apprentice:
    """Someone in a hurry, who does what the skill says and nothing else."""

    app: Path
    port: int
    skill: Path = SKILL
    """May be a copy, to see what a mistake in it does."""

    def __post_init__(self) -> None:
        (self.app.parent / "groupsite").symlink_to(ROOT)

    def follow(self) -> None:
        for step in list(steps_of(self.skill / "SKILL.md")):
            if step.verb == "Do the reference":
                say(f"[{self.reference().name}]")
                for inner in steps_of(self.reference()):
                    self.do(inner)
                say("[SKILL.md]")
            else:
                self.do(step)

    def reference(self) -> Path:
        """Return the page for this project's framework, by the table of what one sees."""
        package = self.app / "package.json"
        packages = package.read_text() if package.exists() else ""
        for sights, page in ROW.findall((self.skill / "SKILL.md").read_text()):
            for sight in re.findall(r"`([^`]+)`", sights):
                here = sight != "package.json" and (self.app / sight).exists()
                if here or f'"{sight}"' in packages:
                    return self.skill / page
        raise AssertionError("the skill has no reference for this project")

    def do(self, step: Step) -> None:
        if step.once and (self.app / step.path).exists():
            return
        if step.verb == "Run":
            for command in step.text.splitlines():
                say(f"$ {command}")
                self.run(command)
        elif step.verb == "Build npm":
            say("工具 → 构建 npm")
            run("node", MINIPROGRAM / "harness" / "pack-npm.mjs", self.app)
        else:
            say(f"{step.verb} {step.path}")
            self.write(step)

    def run(self, command: str) -> None:
        done = subprocess.run(
            command,
            shell=True,
            cwd=self.app,
            env=os.environ | {"npm_config_offline": "true", "npm_config_update_notifier": "false"},
            capture_output=True,
            text=True,
            timeout=300,
        )
        if "check.mjs" in command:
            say(done.stdout)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"

    def write(self, step: Step) -> None:
        target = self.app / step.path
        text = step.text.replace(DEMO_SERVER, f"http://127.0.0.1:{self.port}")
        if step.verb in {"Create", "Replace"}:
            assert step.verb == "Replace" or not target.exists(), f"{step.path} is there already"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        elif step.verb == "Put at the top of":
            target.write_text(text + target.read_text())
        elif step.verb == "Put after":
            before, line, rest = re.split(
                rf"(.*{re.escape(step.after)}.*\n)", target.read_text(), maxsplit=1
            )
            target.write_text(before + line + text + rest)
        else:
            merged = merge(json.loads(target.read_text()), json.loads(text))
            target.write_text(json.dumps(merged, ensure_ascii=False, indent=2))


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def merge(old: Any, new: Any) -> Any:
    """Return JSON with the keys and list items of both."""
    if isinstance(old, dict) and isinstance(new, dict):
        return old | {key: merge(old.get(key), value) for key, value in new.items()}
    if isinstance(old, list) and isinstance(new, list):
        return old + [item for item in new if item not in old]
    return new


# From an empty project to rank 1


@pytest.fixture(scope="session")
def native_app(node: str, port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    app = project(tmp_path_factory.mktemp("native"), NATIVE)
    say("\nAn empty native project")
    Apprentice(app, port).follow()
    shutil.rmtree(app / "node_modules")
    with installed(node, app, app.parent / "out") as url:
        yield url


def test_an_empty_native_project_ends_at_rank_1(
    native_app: str, backend: Backend, phone_of: MakePhone
) -> None:
    alice = phone_of(native_app, "demo-alice")
    see_rank_1(alice, PAGE)
    alice.photograph("skill-native")
    assert alice.share() == {"title": "看看我们群的排行", "path": PAGE, "withShareTicket": True}
    see_my_groups(alice, PAGE)


@pytest.mark.parametrize(
    ("files", "example", "built"),
    [(TARO, "taro", "dist"), (UNI_APP, "uni-app", "dist/build/mp-weixin")],
    ids=["taro", "uni-app"],
)
def test_an_empty_project_of_a_framework_ends_at_rank_1(
    files: dict[str, str],
    example: str,
    built: str,
    node: str,
    port: int,
    backend: Backend,
    phone_of: MakePhone,
    tmp_path: Path,
) -> None:
    app = framework_project(tmp_path, files, example)
    say(f"\nAn empty {example} project")
    Apprentice(app, port).follow()
    shutil.rmtree(app / "node_modules")
    with installed(node, app / built, tmp_path / "out") as url:
        alice = phone_of(url, "demo-alice")
        see_rank_1(alice, PAGE)
        alice.photograph(f"skill-{example}")
        card = {"title": "看看我们群的排行", "path": PAGE, "withShareTicket": True}
        assert alice.share() == card
        see_my_groups(alice, PAGE)
        alice.errors[:] = [error for error in alice.errors if not TOO_MUCH.search(error)]


def see_rank_1(phone: BrowserPhone, page: str) -> None:
    """Open a page from a card in the family's group, and see oneself at rank 1."""
    with phone.page.expect_response(re.compile(r"/ranking(\?|$)")) as response:
        phone.open(phone.card_in(FAMILY) | {"path": page.lstrip("/")})
    me = response.value.json()["me"]
    phone.see(FAMILY, "活跃天数 · 本周")
    expect(phone.page.locator("[aria-label^='第 1 名']")).to_be_visible()
    assert (me["rank"], Membership.objects.count()) == (1, 1)
    say(f"  {FAMILY}: rank {me['rank']}")


def see_my_groups(phone: BrowserPhone, page: str) -> None:
    """Open a page as in the developer tools, outside a group, and go to a group from the list."""
    phone.kill()
    phone.open({"scene": FROM_SEARCH, "query": {}, "path": page.lstrip("/")})
    phone.page.locator("wx-navigator").locator("visible=true").click()
    phone.see(FAMILY, "活跃天数 · 本周")


# The guide "in ten minutes"

GUIDES = {"miniprogram.zh-CN.md": "十分钟接入", "miniprogram.md": "In ten minutes"}


def steps_of_the_guide(page: str) -> list[Step]:
    """Return the commands and files of a guide's first section, up to the demo's ranking."""
    text = (ROOT / "docs" / page).read_text()
    section = re.search(rf"^## {GUIDES[page]}(.*?)^\*\*5\.", text, re.MULTILINE | re.DOTALL)
    assert section
    steps = []
    for fence in FENCE.finditer(section[1]):
        file = re.search(r"`([^`]+)`[:：]\s*$", section[1][: fence.start()])
        assert bool(file) == (fence[1] != "sh")
        steps.append(Step("Replace", fence[2], path=file[1]) if file else Step("Run", fence[2]))
    return steps


def test_the_guide_ends_at_rank_1(
    node: str, port: int, backend: Backend, phone_of: MakePhone, tmp_path: Path
) -> None:
    app = project(tmp_path, NATIVE)
    apprentice = Apprentice(app, port)
    package, commands, *files = steps_of_the_guide("miniprogram.zh-CN.md")
    for step in [package, commands, Step("Build npm", ""), *files]:
        apprentice.do(step)
    assert len((app / "app.js").read_text().splitlines()) == 6
    shutil.rmtree(app / "node_modules")
    with installed(node, app, tmp_path / "out") as url:
        alice = phone_of(url, "demo-alice")
        see_rank_1(alice, "/pages/index/index")
        see_my_groups(alice, "/pages/index/index")


def test_both_guides_have_the_same_code() -> None:
    code = [
        [(step.path, re.sub(r"^ *//.*", "", step.text, flags=re.MULTILINE)) for step in steps]
        for steps in map(steps_of_the_guide, GUIDES)
    ]
    assert code[0] == code[1]
    assert len(code[0]) == 6


# The skill's own form


def test_the_skill_has_the_form_that_agents_read() -> None:
    text = (SKILL / "SKILL.md").read_text()
    _, front, body = text.split("---\n", 2)
    values = dict(
        re.findall(r"^(\w+): (?:>-\n)?((?:.+\n(?:  .+\n)*)+?)(?=^\w|\Z)", front, re.MULTILINE)
    )
    assert values["name"].strip() == SKILL.name
    assert 100 < len(values["description"]) <= 1024
    assert "给小程序加群排行" in values["description"]
    assert tokens(text) < TOKENS
    assert {page for _, page in ROW.findall(body)} == {
        f"references/{page.name}" for page in SKILL.glob("references/*.md")
    }


def tokens(text: str) -> int:
    """Estimate how many tokens a text costs: more than common tokenizers count."""
    wide = len(re.findall(r"[^\x00-\x7f]", text))
    return round(1.3 * wide + (len(text) - wide) / 3.5)


def test_the_package_holds_the_skill(node: str) -> None:
    [package] = json.loads(run("npm", "pack", "--dry-run", "--json"))
    packed = {file["path"] for file in package["files"]}
    skill = {str(file.relative_to(MINIPROGRAM)) for file in SKILL.rglob("*") if file.is_file()}
    assert skill <= packed


@pytest.mark.parametrize(
    ("page", "right", "wrong"),
    [
        ("SKILL.md", "npm pack", "npm run nothing\nnpm pack"),
        ("SKILL.md", "Run in the mini-program's folder:\n\n```sh\nnpm", "And then\n\n```sh\nnpm"),
        ("references/native.md", BUILD_NPM, "Have a look"),
        ("references/native.md", "  onShareAppMessage ()", "  onShared ()"),
        ("references/native.md", '"pages": ["pages/group-ranking/index"],', ""),
    ],
)
def test_a_mistake_in_the_skill_is_noticed(
    node: str, port: int, tmp_path: Path, page: str, right: str, wrong: str
) -> None:
    skill = tmp_path / "skill"
    shutil.copytree(SKILL, skill)
    text = (skill / page).read_text()
    assert right in text
    (skill / page).write_text(text.replace(right, wrong))
    with pytest.raises(AssertionError):
        Apprentice(project(tmp_path, NATIVE), port, skill).follow()


# The check


@pytest.fixture
def finished(port: int, tmp_path: Path) -> Path:
    """Return a native project as the skill leaves it, without npm."""
    return finish(project(tmp_path, NATIVE), port, "miniprogram_npm/groupsite")


def finish(app: Path, port: int, kit: str) -> Path:
    """Write the files that the skill names, and put the kit where the framework has it."""
    apprentice = Apprentice(app, port)
    for step in steps_of(apprentice.reference()):
        if step.path:
            apprentice.do(step)
    shutil.copytree(MINIPROGRAM / "groups", app / kit)
    return app


IN_TARO = TARO, "@tarojs/taro", "node_modules/groupsite/groups"
IN_UNI_APP = UNI_APP, "@dcloudio/uni-app", "src/wxcomponents/groupsite"


@pytest.mark.parametrize(
    ("framework", "file", "right", "wrong", "rules"),
    [
        (IN_TARO, "package.json", "", "", []),
        (IN_TARO, f"src{PAGE}.tsx", "useShareAppMessage(() =>", "useNothing(() =>", ["share"]),
        (IN_TARO, "src/app.config.ts", "'pages/group-ranking/index',", "", ["page", "page"]),
        (IN_TARO, f"src{PAGE}.config.ts", "groupsite/groups/", "groupsite/", ["component"]),
        (IN_TARO, "src/app.config.ts", "Check__: true", "Check__: false", ["privacy"]),
        (IN_TARO, "src/services/groups.ts", "release: 'https:", "release: 'http:", ["http"]),
        (IN_UNI_APP, "package.json", "", "", []),
        (IN_UNI_APP, f"src{PAGE}.vue", "onShareAppMessage", "onNothing", ["share"]),
        (IN_UNI_APP, "src/pages.json", "pages/group-ranking", "pages/index", ["page", "page"]),
        (IN_UNI_APP, "src/pages.json", "/wxcomponents/", "/components/", ["component"]),
        (IN_UNI_APP, "src/manifest.json", 'Check__": true', 'Check__": false', ["privacy"]),
        (
            IN_UNI_APP,
            f"src{PAGE}.vue",
            "const page",
            "const key = 'gsk_0123456789'\nconst page",
            ["secret"],
        ),
    ],
)
def test_the_check_knows_the_frameworks(
    node: str,
    port: int,
    tmp_path: Path,
    framework: tuple[dict[str, str], str, str],
    file: str,
    right: str,
    wrong: str,
    rules: list[str],
) -> None:
    files, package, kit = framework
    files = files | {"package.json": json.dumps({"dependencies": {package: "1"}})}
    app = finish(project(tmp_path, files), port, kit)
    text = (app / file).read_text()
    assert right in text
    (app / file).write_text(text.replace(right, wrong) if right else text)
    assert errors_in(app) == rules


def errors_in(app: Path) -> list[str]:
    """Return the rules of the errors that the check finds, and assert its exit code."""
    done = subprocess.run(["node", str(CHECK), str(app)], capture_output=True, text=True)
    errors = re.findall(r"^error +(\w+)", done.stdout, re.MULTILINE)
    assert done.stderr == ""
    assert done.returncode == bool(errors), done.stdout
    return errors


def test_the_check_finds_no_error_in_a_finished_project(node: str, finished: Path) -> None:
    assert errors_in(finished) == []


def test_the_check_finds_no_error_in_the_example(node: str, tmp_path: Path) -> None:
    app = tmp_path / "example"
    ignored = shutil.ignore_patterns("node_modules", "miniprogram_npm")
    shutil.copytree(MINIPROGRAM / "example", app, ignore=ignored)
    shutil.copytree(MINIPROGRAM / "groups", app / "miniprogram_npm" / "groupsite")
    assert errors_in(app) == []


UNIT, CLIENT = PAGE.lstrip("/"), "utils/groups.js"


@pytest.mark.parametrize(
    ("file", "right", "wrong", "rules"),
    [
        ("app.json", f'"{UNIT}"', '"pages/index/index"', ["page", "page"]),
        ("app.json", '"pages"', "pages", ["app"]),
        ("app.json", '"__usePrivacyCheck__": true', '"__usePrivacyCheck__": false', ["privacy"]),
        (f"{UNIT}.json", "groupsite/group-ranking", "groupsite/group-rankings", ["component"]),
        (f"{UNIT}.json", "groupsite/group-ranking", "gruopsite/group-ranking", ["component"]),
        (f"{UNIT}.js", "onShareAppMessage", "onShare", ["share"]),
        (f"{UNIT}.js", "  onShareAppMessage", "  // onShareAppMessage\n  onShare", ["share"]),
        (CLIENT, "{ baseUrl,", "{", ["client"]),
        (CLIENT, "createGroups({", "makeGroups({", ["client"]),
        (CLIENT, "release: 'https:", "release: 'http:", ["http"]),
        (CLIENT, "// 各版本", "const key = 'gsk_0123456789abcdef' //", ["secret"]),
        (CLIENT, "// 各版本", "const header = `Key ${key}` //", ["secret"]),
        (
            CLIENT,
            "// 各版本",
            "const appSecret = '0123456789abcdef0123456789abcdef' //",
            ["secret"],
        ),
        (CLIENT, "// 各版本", "const url = '/api/v1/server/scores' //", ["secret"]),
        (CLIENT, "// 各版本", "const url = 'https://api.weixin.qq.com/sns' //", ["secret"]),
        (CLIENT, "// 各版本", "// gsk_0123456789abcdef was here", []),
    ],
)
def test_the_check_finds(
    node: str, finished: Path, file: str, right: str, wrong: str, rules: list[str]
) -> None:
    text = (finished / file).read_text()
    assert right in text
    (finished / file).write_text(text.replace(right, wrong))
    assert errors_in(finished) == rules


def test_the_check_finds_a_key_for_uploading(node: str, finished: Path) -> None:
    (finished / "private.wx0123456789abcdef.key").write_text("")
    assert errors_in(finished) == ["secret"]


def test_the_check_says_when_npm_was_not_built(node: str, finished: Path) -> None:
    (finished / "miniprogram_npm").rename(finished / "node_modules")
    done = subprocess.run(["node", str(CHECK), str(finished)], capture_output=True, text=True)
    assert "choose 工具 → 构建 npm" in done.stdout
