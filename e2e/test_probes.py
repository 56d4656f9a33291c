"""Probe the client on two phones without shared code: the harness in a browser, a shim in Node."""

import json
import shutil
from collections.abc import Iterator

import pytest

from tests.settings import APP_ID
from wechat.sandbox import Sandbox, open_gid_of

from .phones import MINIPROGRAM, Backend, MakePhone, installed, run

pytestmark = pytest.mark.xdist_group("kit")

TESTS = MINIPROGRAM / "tests"
CHATS = {open_gid_of(APP_ID, chat): chat for chat in ("family", "work")}
APP = {
    "app.json": '{"pages": ["page/index"]}',
    "app.js": "App({ wx, createGroups: require('./groups/index').createGroups })",
    "page/index.json": "{}",
    "page/index.js": "Page({})",
    "page/index.wxml": "<view>probes</view>",
}
RUN = """async ([baseUrl, sandbox, person, appid, chats]) => {
  const { wx, createGroups } = device.app()
  const call = async (name, more) => (await fetch(`${sandbox}/phone/${name}`, {
    method: 'POST', body: JSON.stringify({ person, appid, ...more }) })).json()
  const open = launch => { device.hide(); device.show({ path: 'page/index', ...launch }) }
  return runProbes({
    wx,
    chats,
    tapCard: async (chat, card = {}) => open(await call('open-card', { chat, ...card })),
    openOutside: async () => open({ scene: 1001, query: {} }),
    openSingle: async () => open(await call('open-single')),
    start () {
      localStorage.clear()
      return createGroups({ baseUrl, wx, diagnostics: 0 })
    }
  })
}"""

Results = dict[str, tuple[str, str]]


@pytest.fixture(scope="module")
def app_url(node: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("probes")
    shutil.copytree(MINIPROGRAM / "groups", folder / "app/groups")
    for name, text in APP.items():
        file = folder / "app" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    with installed(node, folder / "app", folder / "out") as url:
        yield url


def in_browser(app_url: str, backend: Backend, wechat: Sandbox, phone_of: MakePhone) -> Results:
    phone = phone_of(app_url, "alice")
    phone.open_outside()
    source = (TESTS / "probes.mjs").read_text().replace("export async", "async")
    phone.page.add_script_tag(content=f"{source}; window.runProbes = runProbes")
    results: Results = phone.evaluate(RUN, [backend.url, wechat.url, "alice", APP_ID, CHATS])
    phone.errors.clear()  # of the page that a gateway sent
    return results


def in_node(node: str, backend: Backend, wechat: Sandbox) -> Results:
    said = run(
        *(node, TESTS / "probe-shim.mjs"),
        SITE_URL=backend.url,
        SANDBOX_URL=wechat.url,
        APP_ID=APP_ID,
        PERSON="bob",
        CHATS=json.dumps(CHATS),
    )
    results: Results = json.loads(said.splitlines()[-1])
    return results


def test_both_phones_give_what_the_probes_expect(
    node: str, app_url: str, backend: Backend, wechat: Sandbox, phone_of: MakePhone
) -> None:
    for results in (
        in_browser(app_url, backend, wechat, phone_of),
        in_node(node, backend, wechat),
    ):
        assert len(results) > 15
        assert {name: given for name, (_expected, given) in results.items()} == {
            name: expected for name, (expected, _given) in results.items()
        }
