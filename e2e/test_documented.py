"""Execute what the documentation says to write into a mini-program, and to run in its folder.

Code runs in Node, on a phone that speaks with the real site and the sandbox; templates, styles and
configurations go through the compiler that WeChat's upload uses. tests/documented.py says which.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.utils import timezone

from groups.models import Membership, ServerKey
from tests.documented import INSTALLS, NODE, ROOT, WECHAT, Block, blocks_of
from tests.settings import APP_ID
from wechat.sandbox import Sandbox

from .phones import MINIPROGRAM, Backend, run
from .projects import NATIVE, project

SERVERS = re.compile(r"https://(?:your\.domain|(?:test\.)?你的域名|test\.example\.com)")
COPY = "e2e/test_documented.py::test_the_copy_is_made"


def every(test: str) -> Any:
    return pytest.mark.parametrize("block", blocks_of(test), ids=str)


# Scripts


@every(NODE)
def test_the_code_runs_on_a_phone(
    node: str, backend: Backend, wechat: Sandbox, settings: LazySettings, block: Block
) -> None:
    """Run the code, and see that the group is entered by what it has made."""
    result = "getApp({ allowDefault: true }).groupsite.enter()"
    for words, names in (
        ("const entry =", "entry"),
        ("const { group, reason }", "{ group, reason }"),
    ):
        if words in block.code:
            result = names
    is_chat_tool = "getChatToolInfo" in block.code
    key, _row = ServerKey.objects.issue(APP_ID, "backend", timezone.now())
    done = subprocess.run(
        [node, MINIPROGRAM / "tests/documented.mjs"],
        input=json.dumps(
            {
                "code": SERVERS.sub(backend.url, block.code),
                "result": result,
                "chat": "family" if is_chat_tool else "",
            }
        ),
        env={
            **os.environ,
            "SITE_URL": backend.url,
            "SANDBOX_URL": wechat.url,
            "APP_ID": APP_ID,
            "APP_SECRET": settings.WECHAT_APPS[APP_ID]["SECRET"],
            "SERVER_KEY": key,
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    group = seen["result"]["group"]
    assert group and Membership.objects.get().group.open_gid == group["openGId"], seen
    assert bool(seen["said"]) == ("console.log" in block.code)
    assert all(ranking["me"]["rank"] == 1 for ranking in seen["said"])
    assert bool(seen["container"]) == ("cloud:" in block.code)
    assert seen["sessions"] == ([{"renew": False}] if "myBackEnd" in block.code else [])


# Templates, styles and configurations


def app_of(blocks: list[Block], folder: Path) -> Path:
    """Write a mini-program with a page for each block, named after the block's place."""
    app = project(folder, NATIVE)
    shutil.copytree(MINIPROGRAM / "groups", app / "miniprogram_npm/groupsite")
    config = json.loads(NATIVE["app.json"])
    using = {name: f"groupsite/{name}/index" for name in ("group-ranking", "group-profile")}
    for block in blocks:
        page = re.sub(r"[^\w/]", "-", f"pages/{block.page}-{block.line}/index")
        written = {
            "wxml": "<view/>",
            "wxss": "",
            "js": "Page({})",
            "json": {"usingComponents": using},
        }
        if block.language == "json":
            values = json.loads(block.code)
            if "rendererOptions" in values:
                config |= values
            else:
                written["json"] = values
        else:
            written[{"html": "wxml", "xml": "wxml", "css": "wxss"}[block.language]] = block.code
        config["pages"].append(page)
        (app / page).parent.mkdir(parents=True)
        for extension, content in written.items():
            text = content if isinstance(content, str) else json.dumps(content)
            (app / f"{page}.{extension}").write_text(text)
    (app / "app.json").write_text(json.dumps(config))
    return app


# WeChat's compiler passes styles on without reading them.
READ_STYLES = """
import { transform } from 'esbuild'
import { readFileSync } from 'node:fs'

for (const file of process.argv.slice(2)) {
  const { warnings } = await transform(readFileSync(file, 'utf8'), { loader: 'css' })
  if (warnings.length) throw new Error(`${file}: ${warnings[0].text}`)
}
"""


def compile_app(node: str, app: Path) -> None:
    """Compile by the compiler of an upload, which reads JSON, then by that of the phones here."""
    run(node, MINIPROGRAM / "harness/check-app.mjs", app)
    run(node, MINIPROGRAM / "harness/build.mjs", app, app.parent / "out")
    styles = sorted(app.glob("pages/**/*.wxss"))
    run(node, "--input-type=module", "-e", READ_STYLES, "-", *styles)


def test_wechats_own_compiler_takes_the_block(node: str, tmp_path: Path) -> None:
    blocks = blocks_of(WECHAT)
    assert {block.language for block in blocks} == {"html", "xml", "css", "json"}
    compile_app(node, app_of(blocks, tmp_path))


@pytest.mark.parametrize(
    ("language", "right", "wrong"),
    [
        ("html", "<group-profile/>", "<group-profile>"),
        ("xml", "}}", "}"),
        ("css", "{", "{{"),
        ("json", "true", '"yes"'),
        ("json", "groupsite/group-ranking/index", "groupsite/group-rankings/index"),
    ],
)
def test_a_mistake_in_a_block_is_noticed(
    node: str, tmp_path: Path, language: str, right: str, wrong: str
) -> None:
    block = next(
        each for each in blocks_of(WECHAT) if each.language == language and right in each.code
    )
    broken = Block(block.page, block.line, language, block.code.replace(right, wrong))
    with pytest.raises(AssertionError, match=r"pages/(docs|README)"):
        compile_app(node, app_of([broken], tmp_path))


def unknown_names(code: str) -> list[str]:
    """Return the attributes of our components that they do not have, and unknown variables."""
    found = []
    for name, attributes in re.findall(r"<(group-\w+)((?:\s+[\w:-]+=\"[^\"]*\")*)", code):
        source = (MINIPROGRAM / "groups" / name / "index.js").read_text()
        source += (MINIPROGRAM / "groups/component.js").read_text()
        for attribute in re.findall(r"([\w:-]+)=\"", attributes):
            event = attribute.removeprefix("bind:")
            words = re.sub(r"-(\w)", lambda letter: letter[1].upper(), attribute)
            is_event = event != attribute and f"triggerEvent('{event}'" in source
            is_property = re.search(rf"^ +{words}: ", source, re.MULTILINE)
            found += [] if is_event or is_property else [attribute]
    styles = "".join(file.read_text() for file in MINIPROGRAM.glob("groups/*/index.wxss"))
    variables = re.findall(r"^ *(--[\w-]+):", code, re.MULTILINE)
    return found + [name for name in variables if f"var({name}" not in styles]


def test_blocks_name_properties_events_and_variables_that_exist() -> None:
    for block in blocks_of(WECHAT):
        assert unknown_names(block.code) == [], str(block)
    wrong = '<group-ranking open-gid="" open-id="" bind:entry="a" bind:exit="b"></group-ranking>'
    assert unknown_names(wrong) == ["open-id", "bind:exit"]
    assert unknown_names("page {\n  --groups-brand: 0;\n  --groups-colour: 0;\n}") == [
        "--groups-colour"
    ]


# Commands


@every(INSTALLS)
def test_the_kit_installs_as_said(node: str, tmp_path: Path, block: Block) -> None:
    app = tmp_path / "app"
    app.mkdir()
    (app / "package.json").write_text('{ "private": true }')
    (tmp_path / "groupsite").symlink_to(ROOT)
    subprocess.run(
        ["bash", "-euc", block.code],
        cwd=app,
        env=os.environ | {"npm_config_offline": "true", "npm_config_update_notifier": "false"},
        check=True,
        capture_output=True,
        timeout=120,
    )
    assert (app / "node_modules/groupsite/groups/index.js").exists()


def test_the_copy_is_made(node: str, tmp_path: Path) -> None:
    [block] = blocks_of(COPY)
    shutil.copytree(MINIPROGRAM / "groups", tmp_path / "node_modules/groupsite/groups")
    (tmp_path / "copy.mjs").write_text(block.code)
    components = tmp_path / "src/wxcomponents/groupsite"
    components.mkdir(parents=True)
    (components / "old.js").touch()
    run(node, "copy.mjs", cwd=tmp_path)
    assert (components / "group-ranking/index.wxml").exists()
    assert not (components / "old.js").exists()
