"""Build the examples for Taro and uni-app, and use the results: on phones, in Node, in a browser.

The kit is packed as for npm. WeChat's own compilers take every file of the mini-programs; WeChat is
the sandbox, and the site is the real one.
"""

import json
import os
import re
import shlex
import shutil
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.documented import TYPES, blocks_of
from tests.settings import APP_ID
from wechat.sandbox import Sandbox

from .phones import MINIPROGRAM, TIMEOUT, Backend, MakePhone, _Files, installed, run

EXAMPLES = MINIPROGRAM.parent / "examples"
FAMILY = "一家人"
# Taro's templates give each tag every property that WeChat has, empty ones as null.
TOO_MUCH = re.compile(r"is not a valid property|received type-incompatible value: .* null value")
# What stands around a part of a page.
PAGES = {
    "tsx": """
import { Slot, View } from '@tarojs/components'
import { useState } from 'react'
import type { Entry } from 'groupsite'

export default function Documented () {
  const openGId = ''
  const [entry, setEntry] = useState<Entry>()
  if (entry) setEntry(undefined);
%s
}
""",
    "vue": """
<script setup lang="ts">
import type { ComponentEvent, GroupRankingEvents } from 'groupsite/components'

const openGId = 'tG'
function onEntry ({ detail }: ComponentEvent<GroupRankingEvents['entry']>) {
  return detail.group
}
</script>

<template>
%s
</template>
""",
}
SENTENCE = "请用最新版微信打开小程序，这里看不到群排行"


class Example:
    """An example with its packages installed, and the scripts that build it."""

    def __init__(self, name: str, scripts: tuple[str, str], results: tuple[str, str]) -> None:
        self.folder = EXAMPLES / name
        self.scripts = scripts
        self.is_built = False
        self.program, self.web = (self.folder / result for result in results)

    @property
    def project(self) -> Path:
        """Return the folder that WeChat's developer tools open."""
        is_root = (self.folder / "project.config.json").exists()
        return self.folder if is_root else self.program

    def require_packages(self) -> None:
        if (self.folder / "node_modules").is_dir():
            return
        missing = f"examples/{self.folder.name}/node_modules is missing (npm ci)"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)

    def install_kit(self, folder: Path) -> None:
        """Put the kit, packed as it is now, where `npm ci` put the one of that time."""
        tarball = folder / run("npm", "pack", "--silent", "--pack-destination", folder).strip()
        target = self.folder / "node_modules/groupsite"
        shutil.rmtree(target, ignore_errors=True)
        with tarfile.open(tarball) as packed:
            packed.extractall(folder, filter="data")
        shutil.copytree(folder / "package", target)


TARO = Example("taro", ("build:weapp", "build:h5"), ("dist/weapp", "dist/h5"))
UNI_APP = Example(
    "uni-app", ("build:mp-weixin", "build:h5"), ("dist/build/mp-weixin", "dist/build/h5")
)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(TARO, marks=pytest.mark.xdist_group("taro"), id="taro"),
        pytest.param(UNI_APP, marks=pytest.mark.xdist_group("uni-app"), id="uni-app"),
    ],
)
def example(
    node: str, port: int, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Example:
    """Return an example whose mini-program has just been built, for the tests' own site."""
    example: Example = request.param
    if example.is_built:  # tests in another order make this fixture anew
        return example
    example.require_packages()
    example.install_kit(tmp_path_factory.mktemp("kit"))
    shutil.rmtree(example.folder / "dist", ignore_errors=True)
    run(
        *("npm", "run", example.scripts[0]),
        cwd=example.folder,
        timeout=300,
        GROUPSITE_URL=f"http://127.0.0.1:{port}",
    )
    example.is_built = True
    return example


@pytest.fixture(scope="module")
def app_url(node: str, example: Example, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with installed(node, example.program, tmp_path_factory.mktemp("phone")) as url:
        yield url


def test_wechats_own_compiler_takes_every_file(node: str, example: Example) -> None:
    report = run(node, MINIPROGRAM / "harness/check-app.mjs", example.project)
    compiled = json.loads(report.splitlines()[-1])
    assert compiled["pages"] == ["pages/ranking/index", "pages/profile/index"]
    app = json.loads((example.program / "app.json").read_text())
    assert app["__usePrivacyCheck__"] is True
    for component in ("group-ranking", "group-profile"):
        for extension in ("js", "json", "wxml", "wxss"):
            ending = f"/{component}/index.{extension}"
            assert [name for name in compiled["files"] if name.endswith(ending)], ending


def test_a_component_that_was_not_copied_is_noticed(
    node: str, example: Example, tmp_path: Path
) -> None:
    program = tmp_path / example.program.relative_to(example.project)
    shutil.copytree(example.program, program, dirs_exist_ok=True)
    shutil.copy(example.project / "project.config.json", tmp_path)
    [component] = program.glob("**/group-ranking")
    shutil.rmtree(component)
    with pytest.raises(AssertionError, match=f"component not found in the path: .*{tmp_path}"):
        run(node, MINIPROGRAM / "harness/check-app.mjs", tmp_path)


def test_in_node_the_built_code_enters_the_group_and_reads_its_ranking(
    node: str, example: Example, backend: Backend, wechat: Sandbox
) -> None:
    said = run(
        *(node, MINIPROGRAM / "tests/shim.mjs", example.program),
        SANDBOX_URL=wechat.url,
        APP_ID=APP_ID,
        PERSON="alice",
        CHAT=FAMILY,
    )
    read: dict[str, Any] = json.loads(said.splitlines()[-1])
    assert read["entry"].get("created") is True, read
    me = read["ranking"]["me"]
    assert (me["rank"], me["score"], me["isMe"]) == (1, 1, True)
    assert read["ranking"]["entries"] == [me]


def test_on_a_phone_the_page_shows_the_ranking_and_shares_it(
    example: Example, app_url: str, backend: Backend, phone_of: MakePhone
) -> None:
    alice, bob = (phone_of(app_url, person) for person in ("alice", "bob"))
    alice.tap_card(FAMILY)
    alice.see(FAMILY, "1 人参与", "分享到群")
    alice.photograph(f"{example.folder.name}-ranking")
    card = alice.share()
    assert card["path"].startswith("/pages/ranking/index")
    assert (card["title"], card["withShareTicket"]) == ("我在群里排第 1 名", True)
    alice.tap("头像与昵称")
    alice.wait_for_responses("/me", 200)
    alice.see("昵称")
    bob.tap_card(FAMILY, card=card)
    bob.see("2 人参与")
    for phone in (alice, bob):
        phone.errors[:] = [error for error in phone.errors if not TOO_MUCH.search(error)]


def test_the_types_of_the_kit_and_its_components_fit(example: Example) -> None:
    """Check the example, and in its place what the documentation says to write."""
    written = example.folder / "src/documented"
    try:
        for path, text in documented(example):
            target = written / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        run("npm", "run", "types", cwd=example.folder)
    finally:
        shutil.rmtree(written, ignore_errors=True)


def documented(example: Example) -> Iterator[tuple[str, str]]:
    """Yield a file for each block of the guide; it begins with its path, or is a part of a page."""
    name = example.folder.name
    pages = json.loads((UNI_APP.folder / "src/pages.json").read_text())["pages"]
    for block in blocks_of(TYPES, f"docs/{name}.md"):
        path = re.match(r"// src/(\S+)\n", block.code)
        if path:
            yield path[1], block.code
        elif block.language == "json":
            ours = json.loads(block.code)["style"]["mp-weixin"]
            assert ours in [page["style"]["mp-weixin"] for page in pages]
        else:
            yield f"line{block.line}.{block.language}", PAGES[block.language] % block.code
        for used in re.findall(r"'(groupsite/groups/[\w/-]+)'", block.code):
            assert (example.folder / "node_modules" / f"{used}.wxml").exists(), block
    [references] = blocks_of(TYPES, "miniprogram/README.md")
    own = {"taro": "jsx", "uni-app": "vue"}[name]
    yield "kit.d.ts", "\n".join(line for line in references.code.splitlines() if own in line)


MISTAKES = {
    "taro": [("baseUrl:", "baseURL:"), ("openGid=", "openId="), ("detail)", "details)")],
    "uni-app": [("baseUrl:", "baseURL:"), ('"openGId"', '"openGID"')],
}


def test_a_mistake_in_the_guide_is_noticed(
    example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = list(documented(example))
    for right, wrong in MISTAKES[example.folder.name]:
        broken = [(path, text.replace(right, wrong)) for path, text in files]
        assert broken != files
        monkeypatch.setattr(f"{__name__}.documented", lambda _example, broken=broken: broken)
        with pytest.raises(AssertionError, match="src/documented/"):
            test_the_types_of_the_kit_and_its_components_fit(example)


def test_the_readme_names_the_script_that_is_run() -> None:
    test = "e2e/test_frameworks.py::test_the_readme_names_the_script_that_is_run"
    blocks = blocks_of(test)
    assert len(blocks) == 2
    for block in blocks:
        [example] = [each for each in (TARO, UNI_APP) if f"/{each.folder.name}/" in block.page]
        assert shlex.split(block.code, comments=True) == [
            *("npm", "ci", "&&"),
            *("npm", "run", example.scripts[0]),
        ]


def test_as_a_web_page_it_says_that_there_are_no_groups(
    example: Example, chromium: Browser
) -> None:
    run("npm", "run", example.scripts[1], cwd=example.folder, timeout=300)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(example.web)))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    page = chromium.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"http://127.0.0.1:{server.server_port}/")
    expect(page.get_by_text(SENTENCE)).to_be_visible(timeout=TIMEOUT)
    page.close()
    server.shutdown()
    server.server_close()
    assert errors == []


@pytest.mark.parametrize("name", ["taro", "uni-app"])
def test_the_lock_file_names_no_host(name: str) -> None:
    lock = json.loads((EXAMPLES / name / "package-lock.json").read_text())
    resolved = [package.get("resolved") for package in lock["packages"].values()]
    assert {one for one in resolved if one} == {"file:../../miniprogram"}
    assert all(
        "integrity" in package or package.get("inBundle")
        for path, package in lock["packages"].items()
        if path not in ("", "node_modules/groupsite")
    )
