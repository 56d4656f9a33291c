"""The phones of these tests are honest: they lack what real ones lack, and fail as those fail."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from wechat.sandbox import Sandbox, open_gid_of
from wechat.sandbox.world import Fault

from .phones import APP_ID, MINIPROGRAM, MakePhone, Phone, installed, run

TINY = MINIPROGRAM / "harness" / "tiny"

# Calls `wx[name]` and waits for its callbacks; `returned` is what the call itself gave.
CALL = """([name, options]) => new Promise(resolve => {
  const wx = device.app().wx
  let returned
  const answer = (how, result) => resolve({ how, result, returned: typeof returned })
  const ending = how => result => setTimeout(() => answer(how, result))
  returned = wx[name](Object.assign({}, options, { success: ending('ok'), fail: ending('fail') }))
})"""
STORE = """value => {
  try { device.app().wx.setStorageSync('key', value) } catch (e) { return e.message }
}"""


@pytest.fixture(scope="session")
def tiny(node: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with installed(node, TINY, tmp_path_factory.mktemp("tiny")) as url:
        yield url


@pytest.fixture
def opened(tiny: str, phone_of: MakePhone) -> Callable[..., Phone]:
    """Alice's phone with the tiny mini-program open, from outside of any chat."""

    def opened(**settings: Any) -> Phone:
        phone = phone_of(tiny, "alice", **settings)
        phone.open_outside()
        return phone

    return opened


def call(phone: Phone, name: str, /, **options: Any) -> dict[str, Any]:
    return phone.evaluate(CALL, [name, options])


def log(phone: Phone) -> list[str]:
    return phone.evaluate("device.app().log")


# What mini-programs lack


def test_modules_see_none_of_the_browser(opened: Callable[..., Phone]) -> None:
    names = ["window", "document", "fetch", "localStorage", "URL", "XMLHttpRequest", "globalThis"]
    phone = opened()
    assert phone.evaluate("names => device.app().visibleNames(names)", names) == []
    mine = ["wx", "getApp", "App", "require", "Promise", "setTimeout"]
    assert phone.evaluate("names => device.app().visibleNames(names)", mine) == mine


def test_there_is_no_patch(opened: Callable[..., Phone], wechat: Sandbox) -> None:
    answer = call(opened(), "request", url=f"{wechat.url}/phone/login", method="PATCH")
    assert answer["result"]["errMsg"] == "request:fail invalid method PATCH"


@pytest.mark.parametrize(
    "name",
    ["getShareInfo", "getGroupEnterInfo", "getPrivacySetting", "requirePrivacyAuthorize"],
)
def test_old_calls_give_no_promise(opened: Callable[..., Phone], name: str) -> None:
    assert opened().evaluate("name => typeof device.app().wx[name]({})", name) == "undefined"


@pytest.mark.parametrize("name", ["request", "uploadFile"])
def test_network_calls_give_a_task_and_no_promise(
    opened: Callable[..., Phone], wechat: Sandbox, name: str
) -> None:
    task = """([name, url]) => {
      const task = device.app().wx[name]({ url })
      return [typeof task.abort, typeof task.then]
    }"""
    assert opened().evaluate(task, [name, wechat.url]) == ["function", "undefined"]


def test_other_calls_give_one_unless_there_are_callbacks(opened: Callable[..., Phone]) -> None:
    phone = opened()
    assert phone.evaluate("device.app().wx.login().then(({ errMsg }) => errMsg)") == "login:ok"
    assert call(phone, "login")["returned"] == "undefined"


def test_the_eleventh_request_at_once_fails(opened: Callable[..., Phone], wechat: Sandbox) -> None:
    endings = """url => Promise.all(Array.from({ length: 11 }, () => new Promise(resolve =>
      device.app().wx.request(
        { url, success: () => resolve('ok'), fail: e => resolve(e.errMsg) }))))"""
    answers = opened().evaluate(endings, f"{wechat.url}/phone/login")
    assert answers[:10] == ["ok"] * 10
    assert answers[10] == "request:fail more than 10 requests at once"


def test_only_files_that_exist_are_uploaded(opened: Callable[..., Phone], wechat: Sandbox) -> None:
    answer = call(opened(), "uploadFile", url=wechat.url, filePath="wxfile://tmp_no.png", name="a")
    assert answer["result"]["errMsg"] == "uploadFile:fail file not found wxfile://tmp_no.png"


def test_storage_takes_no_functions_and_no_megabytes(opened: Callable[..., Phone]) -> None:
    phone = opened()
    assert "parameter" in phone.evaluate(f"({STORE})({{ work: () => 1 }})")
    assert "size" in phone.evaluate(f"({STORE})('x'.repeat(1024 * 1024 + 1))")
    assert phone.evaluate("device.app().wx.getStorageSync('key')") == ""


def test_what_is_stored_outlives_the_mini_program_and_stays_on_its_phone(
    opened: Callable[..., Phone],
) -> None:
    phone, other = opened(), opened()
    phone.evaluate(STORE, {"a": [1, "2"]})
    phone.kill()
    phone.open_outside()
    assert phone.evaluate("device.app().wx.getStorageSync('key')") == {"a": [1, "2"]}
    assert other.evaluate("device.app().wx.getStorageSync('key')") == ""


# The network


def test_answers_are_parsed_whatever_their_status(
    opened: Callable[..., Phone], wechat: Sandbox
) -> None:
    answer = call(opened(), "request", url=f"{wechat.url}/phone/login")
    assert (answer["how"], answer["result"]["statusCode"]) == ("ok", 405)
    assert "GET" in answer["result"]["data"]["error"]
    assert answer["result"]["header"]["Content-Type"].startswith("application/json")


def test_an_upload_is_answered_with_a_string(opened: Callable[..., Phone], wechat: Sandbox) -> None:
    phone = opened(nextPicture="aGVsbG8=")
    phone.tap("picture")
    phone.page.wait_for_function("device.currentPage().file")
    file = phone.evaluate("device.currentPage().file")
    answer = call(
        phone, "uploadFile", url=f"{wechat.url}/phone/login", filePath=file, name="avatar"
    )
    assert (answer["how"], answer["result"]["statusCode"]) == ("ok", 400)
    assert isinstance(answer["result"]["data"], str)


def test_without_network_requests_fail(opened: Callable[..., Phone], wechat: Sandbox) -> None:
    phone = opened()
    phone.offline()
    answer = call(phone, "request", url=f"{wechat.url}/phone/login")
    assert "net::ERR_INTERNET_DISCONNECTED" in answer["result"]["errMsg"]
    phone.offline(False)
    assert call(phone, "request", url=f"{wechat.url}/phone/login")["how"] == "ok"


@pytest.mark.parametrize(
    ("interrupting", "ending"), [(True, "request:fail interrupted"), (False, "request:ok")]
)
def test_going_to_the_background_may_interrupt_requests(
    opened: Callable[..., Phone], wechat: Sandbox, interrupting: bool, ending: str
) -> None:
    phone = opened()
    slow = "/sns/jscode2session"
    wechat.world.request_fault(slow, Fault(delay=0.5))
    ask = """url => {
      device.app().wx.request({ url, complete: result => { device.r = result.errMsg } })
    }"""
    phone.evaluate(ask, wechat.url + slow)
    phone.home(interrupting=interrupting)
    phone.page.wait_for_function("device.r")
    assert phone.evaluate("device.r") == ending


# Groups


def test_a_card_gives_what_only_the_server_can_open(
    opened: Callable[..., Phone],
) -> None:
    phone = opened()
    phone.tap_card("family")
    ticket = phone.evaluate("device.app().wx.getEnterOptionsSync().shareTicket")
    answer = call(phone, "getShareInfo", shareTicket=ticket)
    for result in (answer["result"], call(phone, "getGroupEnterInfo")["result"]):
        assert result["encryptedData"] and len(result["iv"]) == 24
        assert result["errMsg"].endswith(":ok")


@pytest.mark.parametrize("as_strings", [False, True])
def test_from_outside_a_chat_there_is_no_group(
    opened: Callable[..., Phone], as_strings: bool
) -> None:
    result = call(opened(codesAsStrings=as_strings), "getGroupEnterInfo")["result"]
    assert result["errCode"] == ("40097" if as_strings else 40097)


def test_who_left_the_group_is_told_so(opened: Callable[..., Phone]) -> None:
    phone = opened()
    launch = phone.card_in("family")
    phone.wechat.leave("family")
    phone.open(launch)
    assert call(phone, "getGroupEnterInfo")["result"]["errCode"] == 65206


def test_what_is_asked_for_fails_as_asked(opened: Callable[..., Phone]) -> None:
    phone = opened(failures={"login": {"reason": "busy", "errno": 7}})
    assert call(phone, "login")["result"] == {"errMsg": "login:fail busy", "errno": 7}


def test_old_base_libraries_lack_what_came_later(opened: Callable[..., Phone]) -> None:
    lacking = "names => names.filter(name => !device.app().wx[name])"
    names = ["getAppBaseInfo", "getPrivacySetting", "getGroupEnterInfo", "login"]
    assert opened(sdk="2.17.3").evaluate(lacking, names) == names[:2]
    assert opened(missingCalls=["getGroupEnterInfo"]).evaluate(lacking, names) == names[2:3]


def test_only_wechat_knows_the_name_of_a_group(opened: Callable[..., Phone]) -> None:
    phone = opened()
    phone.see("no name")
    phone.tap_card("一家人")
    open_gid = open_gid_of(APP_ID, "一家人")
    phone.evaluate("openGId => device.currentPage().setData({ openGId })", open_gid)
    phone.see("一家人")


# Privacy


def test_consent_is_asked_once_and_may_be_refused(opened: Callable[..., Phone]) -> None:
    phone = opened(privacy="unasked")
    assert call(phone, "getPrivacySetting")["result"]["needAuthorization"] is True
    ask = """() => {
      const told = result => { device.r = result }
      device.app().wx.requirePrivacyAuthorize({ success: told, fail: told })
    }"""
    for button, errno in [("拒绝", 104), ("同意", None)]:
        phone.evaluate(ask)
        phone.tap(button)
        phone.page.wait_for_function("device.r")
        assert phone.evaluate("device.r").get("errno") == errno
        phone.evaluate("() => { device.r = null }")
    assert call(phone, "getPrivacySetting")["result"]["needAuthorization"] is False


def test_what_is_not_declared_cannot_be_agreed_to(opened: Callable[..., Phone]) -> None:
    result = call(opened(privacy="undeclared"), "requirePrivacyAuthorize")["result"]
    assert result["errno"] == 112


@pytest.mark.parametrize(("button", "given"), [("拒绝", False), ("同意", True)])
def test_a_picture_is_given_with_consent_only(
    opened: Callable[..., Phone], button: str, given: bool
) -> None:
    phone = opened(privacy="unasked", nextPicture="aGVsbG8=")
    phone.tap("picture")
    phone.tap(button)
    phone.page.wait_for_timeout(200)
    assert ("avatar" in log(phone)) is given


# Pages and components


def test_a_cold_start_runs_the_life_cycle_in_order(opened: Callable[..., Phone]) -> None:
    assert log(opened()) == [
        "launch 1053", "show 1053", "load {}", "page show", "badge show", "ready",
    ]  # fmt: skip


def test_home_and_back_hide_and_show_the_same_page(opened: Callable[..., Phone]) -> None:
    phone = opened()
    phone.home()
    phone.resume()
    assert log(phone)[6:] == [
        "page hide", "badge hide", "hide", "show 1053", "page show", "badge show",
    ]  # fmt: skip


def test_a_card_opens_its_own_page_and_closes_the_others(opened: Callable[..., Phone]) -> None:
    phone = opened()
    card = phone.share()
    assert card == {"title": "by menu", "path": "/pages/second/index?x=1", "withShareTicket": False}
    phone.tap_card("family", card=card)
    phone.see("you are on the second page")
    assert log(phone)[6:] == [
        "page hide", "badge hide", "hide", "show 1008", "unload", 'second {"x":"1"}',
    ]  # fmt: skip


def test_links_lead_to_pages_and_back_and_queries_stay_encoded(
    opened: Callable[..., Phone],
) -> None:
    phone = opened()
    phone.tap("second")
    phone.see("you are on the second page", "Second")
    assert 'second {"from":"a%20b"}' in log(phone)
    phone.back()
    phone.see("hello!", "Tiny")


def test_a_page_that_is_not_there_cannot_be_opened(opened: Callable[..., Phone]) -> None:
    result = call(opened(), "navigateTo", url="/pages/third/index")["result"]
    assert result["errMsg"] == 'navigateTo:fail page "pages/third/index" is not found'


def test_taps_events_and_forms_arrive(opened: Callable[..., Phone]) -> None:
    phone = opened()
    phone.tap("hello!")
    phone.see("tapped!")
    phone.tap("badge tapped")
    phone.see("from the badge!")
    phone.tap_on("wx-switch")
    phone.suggest("name", "小明")
    phone.tap("send")
    assert log(phone)[-2:] == ["switch true", 'form {"name":"小明","agreed":true}']


def test_pulling_down_and_reaching_the_bottom(opened: Callable[..., Phone]) -> None:
    phone = opened()
    phone.pull_down()
    phone.evaluate("document.querySelector('.page').scrollTo(0, 9999)")
    phone.page.wait_for_function("device.app().log.includes('bottom')")


def test_pop_ups_are_answered_by_tapping(opened: Callable[..., Phone]) -> None:
    phone = opened()
    ask = "() => { device.app().wx.showModal({ title: '确定吗' }).then(r => { device.r = r }) }"
    for button, confirm in [("确定", True), ("取消", False)]:
        phone.evaluate(ask)
        phone.see("确定吗")
        phone.tap(button)
        phone.page.wait_for_function(f"device.r && device.r.confirm === {str(confirm).lower()}")


def test_a_package_is_found_by_its_name(opened: Callable[..., Phone]) -> None:
    assert opened().evaluate("device.app().packaged") == "from the package"


# Looks


def style(phone: Phone, selector: str, name: str) -> str:
    return phone.evaluate(
        "([selector, name]) => getComputedStyle(document.querySelector(selector))[name]",
        [selector, name],
    )


def test_styles_stay_in_their_component(opened: Callable[..., Phone]) -> None:
    phone = opened()
    assert style(phone, "page > .word", "color") == "rgb(1, 2, 3)"
    assert style(phone, "page > .word", "fontWeight") == "400"
    assert style(phone, "[class$='--word']", "fontWeight") == "700"
    assert style(phone, "[class$='--word']", "color") != "rgb(1, 2, 3)"


@pytest.mark.parametrize(
    ("scheme", "page", "bar"),
    [
        ("light", "rgb(240, 240, 240)", "rgb(255, 255, 255)"),
        ("dark", "rgb(10, 10, 10)", "rgb(23, 25, 28)"),
    ],
)
def test_dark_is_dark(opened: Callable[..., Phone], scheme: str, page: str, bar: str) -> None:
    phone = opened(scheme=scheme)
    assert style(phone, "page", "backgroundColor") == page
    assert style(phone, "#bar", "backgroundColor") == bar


def test_the_second_style_outweighs_a_class_on_buttons(opened: Callable[..., Phone]) -> None:
    assert style(opened(), ".narrow", "width") == "184px"


# Mistakes are loud


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("pages/second/index.wxml", "<view wx:if='{{'>", "pages/second/index.wxml:1"),
        ("pages/second/index.json", '{"usingComponents": {"x": "/no/x"}}', "no component /no/x"),
    ],
)
def test_an_app_with_a_mistake_is_not_built(
    node: str, tmp_path: Path, file: str, text: str, said: str
) -> None:
    shutil.copytree(TINY, tmp_path / "app")
    (tmp_path / "app" / file).write_text(text)
    with pytest.raises(AssertionError, match=said):
        run(node, MINIPROGRAM / "harness" / "build.mjs", tmp_path / "app", tmp_path / "out")


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ("setTimeout(() => { throw new Error('oops') })", "oops"),
        ("device.app().wx.navigateBack()", "navigateBack:fail"),
        ("device.currentPage().selectComponent('#badge').triggerEvent('tapped', null)", "onBadge"),
        ("device.currentPage().setData({ picture: '/no.png' })", "404"),
    ],
)
def test_what_goes_wrong_is_noticed(opened: Callable[..., Phone], mistake: str, said: str) -> None:
    phone = opened()
    phone.evaluate(f"() => {{ {mistake} }}")
    phone.page.wait_for_timeout(300)
    [error] = phone.errors
    phone.errors.clear()
    assert said in error
