"""Test that the phones of these tests have the limits and the errors of real phones."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from wechat.sandbox import Fault, Sandbox, open_gid_of

from .phones import APP_ID, MINIPROGRAM, BrowserPhone, MakePhone, installed, run

pytestmark = pytest.mark.xdist_group("harness")

TINY = MINIPROGRAM / "harness" / "tiny"

# Call `wx[name]` and wait for a callback; `returned` is the type of what the call itself returned.
CALL = """([name, options]) => new Promise(resolve => {
  const wx = device.app().wx
  let returned
  const callback = outcome => result =>
    setTimeout(() => resolve({ outcome, result, returned: typeof returned }))
  returned = wx[name](
    Object.assign({}, options, { success: callback('ok'), fail: callback('fail') }))
})"""
STORE = """value => {
  try { device.app().wx.setStorageSync('key', value) } catch (e) { return e.message }
}"""


@pytest.fixture(scope="session")
def tiny(node: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with installed(node, TINY, tmp_path_factory.mktemp("tiny")) as url:
        yield url


@pytest.fixture
def opened(tiny: str, phone_of: MakePhone) -> Callable[..., BrowserPhone]:
    """Return a function that opens the tiny mini-program on Alice's phone, outside any chat."""

    def opened(**settings: Any) -> BrowserPhone:
        phone = phone_of(tiny, "alice", **settings)
        phone.open_outside()
        return phone

    return opened


def call(phone: BrowserPhone, name: str, /, **options: Any) -> dict[str, Any]:
    return phone.evaluate(CALL, [name, options])


def log(phone: BrowserPhone) -> list[str]:
    return phone.evaluate("device.app().log")


# What mini-programs lack


def test_modules_cannot_use_browser_globals(opened: Callable[..., BrowserPhone]) -> None:
    names = ["window", "document", "fetch", "localStorage", "URL", "XMLHttpRequest", "globalThis"]
    phone = opened()
    assert phone.evaluate("names => device.app().visibleNames(names)", names) == []
    allowed = ["wx", "getApp", "App", "require", "Promise", "setTimeout"]
    assert phone.evaluate("names => device.app().visibleNames(names)", allowed) == allowed


def test_there_is_no_patch(opened: Callable[..., BrowserPhone], wechat: Sandbox) -> None:
    called = call(opened(), "request", url=f"{wechat.url}/phone/login", method="PATCH")
    assert called["result"]["errMsg"] == "request:fail invalid method PATCH"


@pytest.mark.parametrize(
    "name",
    ["getShareInfo", "getGroupEnterInfo", "getPrivacySetting", "requirePrivacyAuthorize"],
)
def test_old_calls_return_no_promise(opened: Callable[..., BrowserPhone], name: str) -> None:
    assert opened().evaluate("name => typeof device.app().wx[name]({})", name) == "undefined"


@pytest.mark.parametrize("name", ["request", "uploadFile"])
def test_network_calls_return_a_task_and_no_promise(
    opened: Callable[..., BrowserPhone], wechat: Sandbox, name: str
) -> None:
    task = """([name, url]) => {
      const task = device.app().wx[name]({ url })
      return [typeof task.abort, typeof task.then]
    }"""
    assert opened().evaluate(task, [name, wechat.url]) == ["function", "undefined"]


def test_other_calls_return_a_promise_unless_there_are_callbacks(
    opened: Callable[..., BrowserPhone],
) -> None:
    phone = opened()
    assert phone.evaluate("device.app().wx.login().then(({ errMsg }) => errMsg)") == "login:ok"
    assert call(phone, "login")["returned"] == "undefined"


def test_the_eleventh_request_at_once_fails(
    opened: Callable[..., BrowserPhone], wechat: Sandbox
) -> None:
    eleven_requests = """url => Promise.all(Array.from({ length: 11 }, () => new Promise(resolve =>
      device.app().wx.request(
        { url, success: () => resolve('ok'), fail: e => resolve(e.errMsg) }))))"""
    outcomes = opened().evaluate(eleven_requests, f"{wechat.url}/phone/login")
    assert outcomes[:10] == ["ok"] * 10
    assert outcomes[10] == "request:fail more than 10 requests at once"


def test_only_files_that_exist_are_uploaded(
    opened: Callable[..., BrowserPhone], wechat: Sandbox
) -> None:
    called = call(opened(), "uploadFile", url=wechat.url, filePath="wxfile://tmp_no.png", name="a")
    assert called["result"]["errMsg"] == "uploadFile:fail file not found wxfile://tmp_no.png"


def test_storage_refuses_functions_and_more_than_a_megabyte(
    opened: Callable[..., BrowserPhone],
) -> None:
    phone = opened()
    assert "parameter" in phone.evaluate(f"({STORE})({{ work: () => 1 }})")
    assert "size" in phone.evaluate(f"({STORE})('x'.repeat(1024 * 1024 + 1))")
    assert phone.evaluate("device.app().wx.getStorageSync('key')") == ""


def test_storage_outlives_the_mini_program_and_is_not_shared_between_phones(
    opened: Callable[..., BrowserPhone],
) -> None:
    phone, other = opened(), opened()
    phone.evaluate(STORE, {"a": [1, "2"]})
    phone.kill()
    phone.open_outside()
    assert phone.evaluate("device.app().wx.getStorageSync('key')") == {"a": [1, "2"]}
    assert other.evaluate("device.app().wx.getStorageSync('key')") == ""


# The network


def test_responses_of_every_status_are_parsed(
    opened: Callable[..., BrowserPhone], wechat: Sandbox
) -> None:
    called = call(opened(), "request", url=f"{wechat.url}/phone/login")
    assert (called["outcome"], called["result"]["statusCode"]) == ("ok", 405)
    assert "GET" in called["result"]["data"]["error"]
    assert called["result"]["header"]["Content-Type"].startswith("application/json")


def test_the_response_to_an_upload_is_a_string(
    opened: Callable[..., BrowserPhone], wechat: Sandbox
) -> None:
    phone = opened(nextPicture="aGVsbG8=")
    phone.tap("picture")
    phone.page.wait_for_function("device.currentPage().file")
    file = phone.evaluate("device.currentPage().file")
    called = call(
        phone, "uploadFile", url=f"{wechat.url}/phone/login", filePath=file, name="avatar"
    )
    assert (called["outcome"], called["result"]["statusCode"]) == ("ok", 400)
    assert isinstance(called["result"]["data"], str)


def test_without_network_requests_fail(
    opened: Callable[..., BrowserPhone], wechat: Sandbox
) -> None:
    phone = opened()
    phone.offline()
    called = call(phone, "request", url=f"{wechat.url}/phone/login")
    assert "net::ERR_INTERNET_DISCONNECTED" in called["result"]["errMsg"]
    phone.offline(False)
    assert call(phone, "request", url=f"{wechat.url}/phone/login")["outcome"] == "ok"


def test_the_network_tells_when_it_goes_and_returns(opened: Callable[..., BrowserPhone]) -> None:
    phone = opened()
    phone.offline()
    phone.page.wait_for_function("device.app().log.at(-1) === 'connected false'")
    phone.offline(False)
    phone.page.wait_for_function("device.app().log.at(-1) === 'connected true'")


@pytest.mark.parametrize(
    ("interrupting", "message"), [(True, "request:fail interrupted"), (False, "request:ok")]
)
def test_going_to_the_background_may_interrupt_requests(
    opened: Callable[..., BrowserPhone], wechat: Sandbox, interrupting: bool, message: str
) -> None:
    phone = opened()
    slow = "/sns/jscode2session"
    wechat.state.request_fault(slow, Fault(delay=0.5))
    send = """url => {
      device.app().wx.request({ url, complete: result => { device.result = result.errMsg } })
    }"""
    phone.evaluate(send, wechat.url + slow)
    phone.home(interrupting=interrupting)
    phone.page.wait_for_function("device.result")
    assert phone.evaluate("device.result") == message


# Groups


def test_a_card_gives_encrypted_data(
    opened: Callable[..., BrowserPhone],
) -> None:
    phone = opened()
    phone.tap_card("family")
    ticket = phone.evaluate("device.app().wx.getEnterOptionsSync().shareTicket")
    called = call(phone, "getShareInfo", shareTicket=ticket)
    for result in (called["result"], call(phone, "getGroupEnterInfo")["result"]):
        assert result["encryptedData"] and len(result["iv"]) == 24
        assert result["errMsg"].endswith(":ok")


def test_the_group_call_passes_on_what_it_needs(opened: Callable[..., BrowserPhone]) -> None:
    phone = opened()
    phone.tap_card("family")
    for options, asked in [({}, None), ({"needGroupOpenID": True}, True)]:
        with phone.page.expect_request("**/phone/group-enter-info") as sent:
            call(phone, "getGroupEnterInfo", **options)
        assert sent.value.post_data_json.get("needGroupOpenID") is asked


def test_cards_carry_a_ticket_by_either_call(opened: Callable[..., BrowserPhone]) -> None:
    for name in ("showShareMenu", "updateShareMenu"):
        phone = opened()
        assert phone.share()["withShareTicket"] is False
        call(phone, name, withShareTicket=True)
        assert phone.share()["withShareTicket"] is True


@pytest.mark.parametrize("as_strings", [False, True])
def test_outside_a_chat_there_is_no_group(
    opened: Callable[..., BrowserPhone], as_strings: bool
) -> None:
    result = call(opened(codesAsStrings=as_strings), "getGroupEnterInfo")["result"]
    assert result["errCode"] == ("40097" if as_strings else 40097)


def test_a_member_who_left_the_group_gets_an_error(opened: Callable[..., BrowserPhone]) -> None:
    phone = opened()
    launch = phone.card_in("family")
    phone.wechat.leave("family")
    phone.open(launch)
    assert call(phone, "getGroupEnterInfo")["result"]["errCode"] == 65206


def test_calls_fail_as_set(opened: Callable[..., BrowserPhone]) -> None:
    phone = opened(failures={"login": {"reason": "busy", "errno": 7}})
    assert call(phone, "login")["result"] == {"errMsg": "login:fail busy", "errno": 7}


def test_old_base_libraries_lack_newer_calls(opened: Callable[..., BrowserPhone]) -> None:
    missing = "names => names.filter(name => !device.app().wx[name])"
    names = ["getAppBaseInfo", "getPrivacySetting", "getGroupEnterInfo", "login"]
    assert opened(sdk="2.17.3").evaluate(missing, names) == names[:2]
    assert opened(missingCalls=["getGroupEnterInfo"]).evaluate(missing, names) == names[2:3]


def test_open_data_shows_the_name_of_a_group(opened: Callable[..., BrowserPhone]) -> None:
    phone = opened()
    phone.see("no name")
    phone.tap_card("一家人")
    open_gid = open_gid_of(APP_ID, "一家人")
    phone.evaluate("openGId => device.currentPage().setData({ openGId })", open_gid)
    phone.see("一家人")


# Privacy


def test_consent_is_asked_once_and_may_be_refused(opened: Callable[..., BrowserPhone]) -> None:
    phone = opened(privacy="unasked")
    assert call(phone, "getPrivacySetting")["result"]["needAuthorization"] is True
    ask = """() => {
      const callback = result => { device.result = result }
      device.app().wx.requirePrivacyAuthorize({ success: callback, fail: callback })
    }"""
    for button, errno in [("拒绝", 104), ("同意", None)]:
        phone.evaluate(ask)
        phone.tap(button)
        phone.page.wait_for_function("device.result")
        assert phone.evaluate("device.result").get("errno") == errno
        phone.evaluate("() => { device.result = null }")
    assert call(phone, "getPrivacySetting")["result"]["needAuthorization"] is False


def test_undeclared_data_cannot_be_agreed_to(opened: Callable[..., BrowserPhone]) -> None:
    result = call(opened(privacy="undeclared"), "requirePrivacyAuthorize")["result"]
    assert result["errno"] == 112


@pytest.mark.parametrize(("button", "given"), [("拒绝", False), ("同意", True)])
def test_a_picture_needs_consent(
    opened: Callable[..., BrowserPhone], button: str, given: bool
) -> None:
    phone = opened(privacy="unasked", nextPicture="aGVsbG8=")
    phone.tap("picture")
    phone.tap(button)
    phone.page.wait_for_timeout(200)
    assert ("avatar" in log(phone)) is given


# Pages and components


def test_a_cold_start_runs_the_life_cycle_in_order(opened: Callable[..., BrowserPhone]) -> None:
    assert log(opened()) == [
        "launch 1053", "show 1053", "load {}", "page show", "badge show", "ready",
    ]  # fmt: skip


def test_home_and_back_hide_and_show_the_same_page(opened: Callable[..., BrowserPhone]) -> None:
    phone = opened()
    phone.home()
    phone.resume()
    assert log(phone)[6:] == [
        "page hide", "badge hide", "hide", "show 1053", "page show", "badge show",
    ]  # fmt: skip


def test_a_card_opens_its_own_page_and_closes_the_others(
    opened: Callable[..., BrowserPhone],
) -> None:
    phone = opened()
    card = phone.share()
    assert card == {"title": "by menu", "path": "/pages/second/index?x=1", "withShareTicket": False}
    phone.tap_card("family", card=card)
    phone.see("you are on the second page")
    assert log(phone)[6:] == [
        "page hide", "badge hide", "hide", "show 1008", "unload", 'second {"x":"1"}',
    ]  # fmt: skip


def test_links_open_pages_and_queries_stay_encoded(
    opened: Callable[..., BrowserPhone],
) -> None:
    phone = opened()
    phone.tap("second")
    phone.see("you are on the second page", "Second")
    assert 'second {"from":"a%20b"}' in log(phone)
    phone.back()
    phone.see("hello!", "Tiny")


def test_a_missing_page_cannot_be_opened(opened: Callable[..., BrowserPhone]) -> None:
    result = call(opened(), "navigateTo", url="/pages/third/index")["result"]
    assert result["errMsg"] == 'navigateTo:fail page "pages/third/index" is not found'


def test_pages_of_the_tab_bar_stay_and_others_close(opened: Callable[..., BrowserPhone]) -> None:
    phone = opened()
    phone.tap("second")
    assert call(phone, "switchTab", url="/pages/tab/index")["outcome"] == "ok"
    phone.see("in a list")
    phone.tap("One")
    phone.see("hello!")
    phone.tap("Two")
    own = [line for line in log(phone) if line.startswith(("load", "tab", "unload"))]
    assert own == ["load {}", "tab load", "tab show", "tab hide", "tab show"]
    for name, url in [
        ("navigateTo", "/pages/tab/index"),
        ("redirectTo", "/pages/first/index"),
        ("switchTab", "/pages/second/index"),
    ]:
        phone.evaluate("device.app().wx.navigateTo({ url: '/pages/second/index' })")
        assert call(phone, name, url=url)["outcome"] == "fail", name
        phone.back()


def test_the_tab_bar_is_below_its_own_pages(opened: Callable[..., BrowserPhone]) -> None:
    phone = opened()
    height = "document.querySelector('.frame:not(.below)').clientHeight"
    with_bar = phone.evaluate(height)
    phone.see("One", "Two")
    phone.tap("second")
    phone.not_see("Two")
    assert phone.evaluate(height) == with_bar + 56


def test_a_scroll_view_tells_of_scrolling_its_end_and_a_pull(
    opened: Callable[..., BrowserPhone],
) -> None:
    phone = opened()
    phone.tap("Two")
    phone.scroll(300)
    phone.page.wait_for_function("device.app().log.includes('scroll 300')")
    phone.scroll(9999)
    phone.page.wait_for_function("device.app().log.includes('lower')")
    phone.evaluate("device.currentPage().setData({ top: 10 })")
    phone.page.wait_for_function("device.app().log.includes('scroll 10')")
    phone.scroll(9999)
    phone.page.wait_for_function("device.app().log.filter(line => line === 'lower').length === 2")
    phone.pull_down()
    assert log(phone)[-1] == "pull"


def test_an_app_can_be_used_before_it_is_defined(opened: Callable[..., BrowserPhone]) -> None:
    app = opened().evaluate("({ ...device.app(), log: null, wx: null, visibleNames: null })")
    assert app["early"] == "set before App"
    assert app["appBefore"] is None


def test_taps_events_and_forms_reach_the_page(opened: Callable[..., BrowserPhone]) -> None:
    phone = opened()
    phone.tap("hello!")
    phone.see("tapped!")
    phone.tap("badge tapped")
    phone.see("from the badge!")
    phone.tap_selector("wx-switch")
    phone.fill_suggestion("name", "小明")
    phone.tap("send")
    assert log(phone)[-2:] == ["switch true", 'form {"name":"小明","agreed":true}']


def test_pulling_down_and_reaching_the_bottom(opened: Callable[..., BrowserPhone]) -> None:
    phone = opened()
    phone.pull_down()
    phone.evaluate("document.querySelector('.frame').scrollTo(0, 9999)")
    phone.page.wait_for_function("device.app().log.includes('bottom')")


def test_pop_ups_are_closed_by_a_tap(opened: Callable[..., BrowserPhone]) -> None:
    phone = opened()
    ask = """() => {
      device.app().wx.showModal({ title: '确定吗' }).then(result => { device.result = result })
    }"""
    for button, confirm in [("确定", True), ("取消", False)]:
        phone.evaluate(ask)
        phone.see("确定吗")
        phone.tap(button)
        confirmed = f"device.result && device.result.confirm === {str(confirm).lower()}"
        phone.page.wait_for_function(confirmed)


def test_a_package_is_found_by_its_name(opened: Callable[..., BrowserPhone]) -> None:
    assert opened().evaluate("device.app().packaged") == "from the package"


# Styles


def style(phone: BrowserPhone, selector: str, name: str) -> str:
    return phone.evaluate(
        "([selector, name]) => getComputedStyle(document.querySelector(selector))[name]",
        [selector, name],
    )


def test_styles_stay_in_their_component(opened: Callable[..., BrowserPhone]) -> None:
    phone = opened()
    assert style(phone, "page > .word", "color") == "rgb(1, 2, 3)"
    assert style(phone, "page > .word", "fontWeight") == "400"
    assert style(phone, "[class$='--word']", "fontWeight") == "700"
    assert style(phone, "[class$='--word']", "color") != "rgb(1, 2, 3)"


def test_styles_stay_on_their_page(opened: Callable[..., BrowserPhone]) -> None:
    phone = opened()
    phone.tap("Two")
    assert style(phone, ".frame:not(.below) > page", "backgroundColor") == "rgb(7, 8, 9)"
    phone.tap("One")
    assert style(phone, ".frame:not(.below) > page", "backgroundColor") == "rgb(240, 240, 240)"


@pytest.mark.parametrize(
    ("scheme", "page", "bar"),
    [
        ("light", "rgb(240, 240, 240)", "rgb(255, 255, 255)"),
        ("dark", "rgb(10, 10, 10)", "rgb(23, 25, 28)"),
    ],
)
def test_the_scheme_sets_the_colours(
    opened: Callable[..., BrowserPhone], scheme: str, page: str, bar: str
) -> None:
    phone = opened(scheme=scheme)
    assert style(phone, "page", "backgroundColor") == page
    assert style(phone, "#bar", "backgroundColor") == bar


def test_style_v2_overrides_the_width_of_a_buttons_class(
    opened: Callable[..., BrowserPhone],
) -> None:
    assert style(opened(), ".narrow", "width") == "184px"


# Errors


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("pages/second/index.wxml", "<view wx:if='{{'>", "pages/second/index.wxml:1"),
        ("pages/second/index.json", '{"usingComponents": {"x": "/no/x"}}', "no component /no/x"),
    ],
)
def test_an_app_with_a_mistake_is_not_built(
    node: str, tmp_path: Path, file: str, text: str, message: str
) -> None:
    shutil.copytree(TINY, tmp_path / "app")
    (tmp_path / "app" / file).write_text(text)
    with pytest.raises(AssertionError, match=message):
        run(node, MINIPROGRAM / "harness" / "build.mjs", tmp_path / "app", tmp_path / "out")


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("setTimeout(() => { throw new Error('oops') })", "oops"),
        ("device.app().wx.navigateBack()", "navigateBack:fail"),
        ("device.currentPage().selectComponent('#badge').triggerEvent('tapped', null)", "onBadge"),
        ("device.currentPage().setData({ picture: '/no.png' })", "404"),
    ],
)
def test_errors_are_recorded(
    opened: Callable[..., BrowserPhone], mistake: str, message: str
) -> None:
    phone = opened()
    phone.evaluate(f"() => {{ {mistake} }}")
    phone.page.wait_for_timeout(300)
    [error] = phone.errors
    phone.errors.clear()
    assert message in error
