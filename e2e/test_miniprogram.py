"""Test the example mini-program on phones, with the kit as an npm package and as a copied folder.

WeChat's own component framework renders it; the site is the real one, and WeChat is the sandbox.
"""

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from accounts.models import Consent, WeChatUser
from groups.models import Board, Group, Membership, Report
from tests.cast import GREEN, RED, YELLOW, picture
from tests.settings import APP_ID
from wechat.sandbox import open_gid_of

from .accessibility import assert_accessible, assert_readable
from .phones import (
    CARD_WITHOUT_TICKET,
    MINIPROGRAM,
    Backend,
    BrowserPhone,
    MakePhone,
    installed,
    run,
)

pytestmark = pytest.mark.xdist_group("miniprogram")

FAMILY, WORK = "一家人", "同事"
NICKNAMES = ["李雷", "韩梅梅", "查理", "大卫", "伊芙", "方糖", "格子", "海蓝", "艾文", "金橘"]
SPURIOUS = {"errCode": 40097, "reason": "invalid scene"}
DEMO_ADDRESS = "http://127.0.0.1:8000"
END = 10**6  # pixels, below every list


# The app


def copy_app(target: Path, port: int) -> Path:
    """Copy the example app, and set the tests' own site as its server."""
    ignored = shutil.ignore_patterns("node_modules", "miniprogram_npm")
    shutil.copytree(MINIPROGRAM / "example", target, ignore=ignored)
    for file in target.rglob("*.js"):
        text = file.read_text()
        file.write_text(text.replace(DEMO_ADDRESS, f"http://127.0.0.1:{port}"))
    return target


@pytest.fixture(scope="session")
def npm_app(node: str, port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Pack the kit, install the tarball, and run WeChat's 构建 npm; all without network."""
    folder = tmp_path_factory.mktemp("npm")
    app = copy_app(folder / "app", port)
    tarball = run("npm", "pack", "--silent", "--pack-destination", folder).strip()
    run("npm", "install", "--offline", "--no-save", "--silent", folder / tarball, cwd=app)
    run(node, MINIPROGRAM / "harness" / "pack-npm.mjs", app)
    shutil.rmtree(app / "node_modules")
    with installed(node, app, folder / "out") as url:
        yield url


def copy_with_kit(target: Path, port: int) -> Path:
    """Copy the app and the kit's folder into it, and replace the package's name by the path."""
    app = copy_app(target, port)
    shutil.copytree(MINIPROGRAM / "groups", app / "groups")
    for file in [*app.rglob("*.js"), *app.rglob("*.json")]:
        text = file.read_text().replace("require('groupsite')", "require('./groups/index')")
        file.write_text(text.replace('"groupsite/group-', '"/groups/group-'))
    (app / "package.json").unlink()
    return app


@pytest.fixture(scope="session")
def copied_app(node: str, port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("copied")
    with installed(node, copy_with_kit(folder / "app", port), folder / "out") as url:
        yield url


@pytest.fixture
def example(npm_app: str, backend: Backend, phone_of: MakePhone) -> Callable[..., BrowserPhone]:
    """Return a function that creates a person's phone with the example on it."""

    def example(person: str = "alice", **settings: Any) -> BrowserPhone:
        return phone_of(npm_app, person, **settings)

    return example


@pytest.fixture
def taps(transactional_db: None) -> Board:
    """Return the board of a game that phones may write."""
    return Board.objects.create(
        app_id=APP_ID, key="taps", title_zh="手速", title_en="Taps", unit_zh="下", unit_en="taps",
        scope=Board.Scope.GROUP, writer=Board.Writer.CLIENT,
    )  # fmt: skip


CALL_KIT = "([name, ...args]) => device.app().groups[name](...args)"


def call_kit(phone: BrowserPhone, *call: Any) -> Any:
    """Call a method of the client in app.js, as a page does."""
    return phone.evaluate(CALL_KIT, list(call))


def open_profile(phone: BrowserPhone) -> None:
    """Open the profile, and agree to what it asks for at the first time."""
    phone.tap("我的资料")
    phone.tap("同意并设置")
    phone.see("点击更换头像")


def members_of(chat: str) -> set[str]:
    group = Group.objects.get(open_gid=open_gid_of(APP_ID, chat))
    return {user.nickname for user in WeChatUser.objects.filter(memberships__group=group)}


def bind_statuses(phone: BrowserPhone) -> list[int | None]:
    return [status for _method, _path, status in phone.requests("/groups/bind")]


# The whole flow


@pytest.mark.parametrize("build", ["npm_app", "copied_app"])
def test_eleven_people_and_two_groups(
    build: str,
    request: pytest.FixtureRequest,
    backend: Backend,
    phone_of: MakePhone,
    taps: Board,
) -> None:
    app = request.getfixturevalue(build)
    alice = phone_of(app, "alice")

    # Alice opens the mini-program outside a group, and shares it.
    alice.open_outside()
    alice.see("从微信群里打开", "示例数据")
    card = alice.share()
    assert card["withShareTicket"]

    # Opened from a card, it knows the group.
    alice.tap_card(FAMILY, card=card)
    alice.see(FAMILY, "活跃天数 · 本周", "群里还没有其他人")
    assert bind_statuses(alice) == [201]

    # She sets up her profile: the avatar is uploaded at once, the nickname sent with the form.
    open_profile(alice)
    alice.set_next_picture(picture(GREEN))
    alice.tap("点击更换头像")
    alice.wait_for_responses("/me/avatar", 200)
    alice.fill_suggestion("请输入昵称", "小明")
    alice.tap("保存")
    alice.see("已保存")
    alice.back()
    alice.see("小明")

    # Ten more open the card she shared, each for the first time.
    others = [phone_of(app, f"person-{number}") for number in range(len(NICKNAMES))]
    for number, (phone, nickname) in enumerate(zip(others, NICKNAMES, strict=True)):
        phone.tap_card(FAMILY, card=card)
        phone.see(f"{number + 2} 人参与")
        call_kit(phone, "setNickname", nickname)
        score = {"board": "taps", "value": number + 1, "openGId": open_gid_of(APP_ID, FAMILY)}
        call_kit(phone, "submitScore", score)
    assert members_of(FAMILY) == {"小明", *NICKNAMES}
    lei, mei, charlie, *_rest = others

    # The second group has its own ranking.
    for phone in (alice, lei):
        phone.tap_card(WORK, card=card)
        phone.see(WORK)
    lei.see("2 人参与")
    lei.not_see("韩梅梅")
    assert members_of(WORK) == {"小明", "李雷"}

    # In the first group there is a game, in which she goes from last place to first.
    alice.tap_card(FAMILY, card=card)
    alice.see("11 人参与")
    alice.tap("十秒点点")
    alice.see("金橘")
    alice.scroll(END)
    alice.not_see("加载更多", "加载中")
    alice.scroll(0)
    alice.tap("开始")
    alice.tap_fast(".disc.running", len(NICKNAMES) + 5)
    alice.see("已计入“手速”")
    ranking = call_kit(alice, "ranking", open_gid_of(APP_ID, FAMILY), {"board": "taps"})
    assert [entry["member"]["nickname"] for entry in ranking["entries"][:2]] == ["小明", "金橘"]
    alice.see("再来")
    first_place = alice.page.locator("[class*='step-0']").locator("visible=true")
    expect(first_place).to_contain_text("小明")
    if build == "npm_app":
        alice.photograph("miniprogram-play")

    # 韩梅梅 hides: she still sees herself, the others do not see her.
    mei.tap("群设置")
    mei.tap_selector("wx-switch")
    mei.wait_for_responses("/membership", 200)
    mei.back()
    mei.see("你已隐藏自己")
    charlie.pull_down()
    charlie.see("10 人参与")
    charlie.not_see("韩梅梅")

    # 查理 leaves, and the next ranking is without him.
    charlie.tap("群设置")
    charlie.tap("退出这个群的排行")
    charlie.see("退出这个群的排行？")
    charlie.tap("退出")
    charlie.not_see("退出这个群的排行？")
    charlie.see("你已不在这个群的排行里")
    lei.tap_card(FAMILY, card=card)
    lei.see("9 人参与")
    lei.not_see("查理")

    # Opening the card again brings him back.
    charlie.tap_card(FAMILY, card=card)
    charlie.see("10 人参与", "查理")


# Entries without a group


def test_a_one_to_one_chat_is_not_a_group(example: Callable[..., BrowserPhone]) -> None:
    alice = example()
    alice.open_single()
    alice.see("这里是单聊")
    assert bind_statuses(alice) == []
    alice.photograph("miniprogram-single")


def test_a_member_who_left_the_group_cannot_enter(example: Callable[..., BrowserPhone]) -> None:
    alice = example()
    launch = alice.card_in(FAMILY)
    alice.wechat.leave(FAMILY)
    alice.open(launch)
    alice.see("你已不在这个群的排行里")
    assert bind_statuses(alice) == []
    alice.photograph("miniprogram-left")


@pytest.mark.parametrize(
    ("errno", "reason", "message"),
    [
        (104, "privacy permission is not authorized", "你没有同意隐私保护指引"),
        (112, "api scope is not declared in the privacy agreement", "没有声明群信息"),
    ],
)
def test_without_consent_there_is_a_reason_and_no_group(
    example: Callable[..., BrowserPhone], errno: int, reason: str, message: str
) -> None:
    failure = {"errno": errno, "reason": reason}
    alice = example(failures={"getGroupEnterInfo": failure, "getShareInfo": failure})
    alice.tap_card(FAMILY)
    alice.see(message)
    alice.set(failures={})
    alice.tap("重试")
    alice.see("1 人参与")


def test_an_old_base_library_shows_a_message(example: Callable[..., BrowserPhone]) -> None:
    alice = example(sdk="2.16.0")
    alice.tap_card(FAMILY)
    alice.see("微信版本过低")


@pytest.mark.parametrize(
    "older",
    [
        {"missingCalls": ["getGroupEnterInfo"]},
        {"failures": {"getGroupEnterInfo": SPURIOUS}, "codesAsStrings": True},
        {"sdk": "2.17.3"},
    ],
    ids=["without the newer call", "with its spurious error", "oldest version"],
)  # fmt: skip
def test_older_phones_enter_with_the_ticket(
    example: Callable[..., BrowserPhone], older: dict[str, Any]
) -> None:
    alice = example(**older)
    alice.tap_card(FAMILY)
    alice.see("1 人参与")
    assert bind_statuses(alice) == [201]


# Entering again


def test_two_groups_by_the_same_path_without_a_ticket(example: Callable[..., BrowserPhone]) -> None:
    alice = example()
    for chat in (FAMILY, WORK, FAMILY):
        alice.tap_card(chat, scene=CARD_WITHOUT_TICKET)
        alice.see(chat, "1 人参与")
    assert bind_statuses(alice) == [201, 201, 200]
    assert Membership.objects.count() == 2


def test_home_and_back_on_android_does_not_bind_again(example: Callable[..., BrowserPhone]) -> None:
    alice = example()
    alice.tap_card(FAMILY)
    alice.see("1 人参与")
    alice.home()
    alice.resume()
    alice.wait_for_responses("/ranking", 304)
    assert bind_statuses(alice) == [201]


def test_a_stale_session_is_renewed_together_with_the_envelope(
    example: Callable[..., BrowserPhone],
) -> None:
    alice = example()
    alice.tap_card(FAMILY)
    alice.see("1 人参与")
    alice.wechat.login()  # the server does not get these codes: its key is stale now
    alice.wechat.login()
    alice.tap_card(WORK)
    alice.see(WORK, "1 人参与")
    assert bind_statuses(alice) == [201, 409, 201]
    assert [status for _method, _path, status in alice.requests("/login")] == [200, 200]


def test_the_token_is_kept_for_the_next_start(example: Callable[..., BrowserPhone]) -> None:
    alice = example()
    alice.tap_card(FAMILY)
    alice.see("1 人参与")
    alice.kill()
    alice.tap_card(FAMILY)
    alice.see("1 人参与")
    assert alice.requests("/login") == []
    assert bind_statuses(alice) == [200]


def test_a_revoked_token_is_replaced(example: Callable[..., BrowserPhone]) -> None:
    alice = example()
    alice.tap_card(FAMILY)
    alice.see("1 人参与")
    call_kit(alice, "request", "/logout", {"method": "POST"})
    alice.pull_down()
    alice.see("1 人参与")
    assert len(alice.requests("/login")) == 2


# Outages


def test_the_site_goes_down_and_comes_back(
    example: Callable[..., BrowserPhone], backend: Backend
) -> None:
    alice, bob = example("alice"), example("bob")
    alice.tap_card(FAMILY)
    alice.see("1 人参与")
    backend.stop()
    alice.pull_down()
    alice.see("刷新失败，显示的是之前的排行", "1 人参与")
    bob.tap_card(FAMILY)
    bob.see("网络连接失败")
    bob.photograph("miniprogram-offline")
    backend.start()
    bob.tap("重试")
    bob.see("2 人参与")
    alice.pull_down()
    alice.see("2 人参与")
    alice.not_see("刷新失败")


def test_a_phone_without_network_shows_a_message_until_it_is_back(
    example: Callable[..., BrowserPhone],
) -> None:
    alice = example()
    alice.open_outside()
    alice.see("从微信群里打开")
    launch = alice.card_in(FAMILY)
    alice.offline()
    alice.open(launch)
    alice.see("网络连接失败")
    alice.tap("重试")
    alice.see("网络连接失败")
    alice.offline(False)
    alice.see("1 人参与")


def test_requests_interrupted_in_the_background_are_sent_again(
    example: Callable[..., BrowserPhone],
) -> None:
    alice = example()
    alice.tap_card(FAMILY)
    alice.home(interrupting=True)
    alice.resume()
    alice.see("1 人参与")


# Profile and settings


def test_consent_is_refused_and_then_given(example: Callable[..., BrowserPhone]) -> None:
    alice = example(privacy="unasked")
    alice.tap_card(FAMILY)
    alice.tap("我的资料")
    alice.see("设置头像和昵称")
    alice.photograph("miniprogram-ask")
    alice.tap("同意并设置")
    alice.tap("拒绝")
    alice.see("你没有同意隐私保护指引")
    assert not Consent.objects.exists()
    alice.photograph("miniprogram-refused")
    alice.tap("重新选择")
    alice.tap("同意")
    alice.see("点击更换头像", "我的同意")
    assert set(Consent.objects.values_list("purpose", "version")) == {
        ("nickname", "1"),
        ("avatar", "1"),
    }


def test_consent_is_withdrawn_and_what_it_was_for_is_deleted(
    example: Callable[..., BrowserPhone],
) -> None:
    alice = example()
    alice.tap_card(FAMILY)
    open_profile(alice)
    alice.type_in("请输入昵称", "小明")
    alice.tap("保存")
    alice.see("已保存")
    alice.tap("撤回同意")
    alice.see("你的昵称和群内名称会立即删除")
    alice.page.locator(".popup footer span").last.click()
    alice.wait_for_responses("/me/consent/nickname", 200)
    alice.see("没有记录", "点击更换头像")
    assert call_kit(alice, "me")["nickname"] == ""
    assert list(Consent.objects.values_list("purpose", flat=True)) == ["avatar"]


@pytest.mark.parametrize(
    ("nickname", "message"),
    [("违规的名字", "昵称"), ("存疑的名字", "新昵称审核中，通过前只有你能看到")],
)
def test_nicknames_are_reviewed(
    example: Callable[..., BrowserPhone], nickname: str, message: str
) -> None:
    alice, bob = example("alice"), example("bob")
    for phone in (alice, bob):
        phone.tap_card(FAMILY)
    open_profile(alice)
    alice.type_in("请输入昵称", nickname)
    alice.tap("保存")
    alice.see(message)
    bob.pull_down()
    bob.see("2 人参与")
    bob.not_see(nickname)


def test_avatars_are_reviewed(example: Callable[..., BrowserPhone], wechat: Any) -> None:
    alice = example()
    alice.tap_card(FAMILY)
    open_profile(alice)
    verdicts = [(YELLOW, "pending"), (RED, "refused"), (GREEN, "approved")]
    for uploads, (colour, state) in enumerate(verdicts, start=1):
        alice.set_next_picture(picture(colour))
        with wechat.held:  # it is shown before it is refused, which deletes it
            alice.tap("点击更换头像")
            alice.wait_for_responses("/me/avatar", 200, times=uploads)
            alice.page.wait_for_function(
                "url => [...document.images].some(image => image.src === url && image.complete)",
                arg=call_kit(alice, "me")["avatar"],
            )
        wechat.settle()
        assert call_kit(alice, "me")["avatarState"] == state


def test_a_failed_upload_can_be_retried(
    example: Callable[..., BrowserPhone], backend: Backend
) -> None:
    alice = example()
    alice.tap_card(FAMILY)
    open_profile(alice)
    alice.set_next_picture(picture(GREEN))
    backend.stop()
    alice.tap("点击更换头像")
    alice.see("重新上传")
    backend.start()
    alice.tap("重新上传")
    alice.not_see("重新上传", "上传中")
    assert alice.requests("/me/avatar")[-1] == ("POST", "/api/v1/me/avatar", 200)


def test_all_data_of_a_member_is_shown_and_deleted(example: Callable[..., BrowserPhone]) -> None:
    alice = example()
    alice.tap_card(FAMILY)
    alice.see("1 人参与")
    call_kit(alice, "setNickname", "小明")
    alice.tap("我的")
    alice.tap("查看已保存的数据")
    alice.see("入群记录", "小明")
    alice.photograph("miniprogram-data")
    alice.tap("复制全部")
    data = json.loads(alice.evaluate("device.clipboard"))
    assert data["user"]["nickname"] == "小明"
    alice.back()
    alice.tap("删除我的数据")
    alice.tap("继续")
    alice.tap("全部删除")
    alice.see("你的数据已删除")
    assert not WeChatUser.objects.exists()
    alice.photograph("miniprogram-deleted")
    alice.tap("重新开始")
    alice.see("你已不在这个群的排行里")


def test_the_copied_link_opens_the_web_page(example: Callable[..., BrowserPhone]) -> None:
    alice = example()
    alice.tap_card(FAMILY)
    alice.see("1 人参与")
    alice.tap("群设置")
    alice.tap("复制网页版链接")
    alice.page.wait_for_function("device.clipboard")
    link = alice.evaluate("device.clipboard")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/g/[^/]+/", link)
    assert "微信用户" in alice.evaluate("url => fetch(url).then(answer => answer.text())", link)


def test_on_an_english_phone_the_kit_is_in_english(example: Callable[..., BrowserPhone]) -> None:
    alice = example(language="en")
    alice.tap_card(FAMILY)
    alice.see("This week", "1 taking part")


# One group, and one member of it


def test_a_member_is_reported(example: Callable[..., BrowserPhone]) -> None:
    alice, bob = example("alice"), example("bob")
    for phone, nickname in ((alice, "小明"), (bob, "李雷")):
        phone.tap_card(FAMILY)
        phone.see("人参与")
        call_kit(phone, "setNickname", nickname)
    alice.pull_down()
    alice.tap("小明")  # my own row offers nothing
    alice.tap("李雷")
    alice.see("第 1 名 · 1 天")
    alice.not_see("举报小明")
    alice.photograph("miniprogram-sheet")
    alice.tap("举报")
    alice.photograph("miniprogram-reasons")
    alice.tap("冒充他人")
    alice.see("已收到举报")
    alice.tap("关闭")
    alice.not_see("已收到举报")
    [report] = Report.objects.all()
    assert report.membership.user.nickname == "李雷"
    assert report.reason == Report.Reason.IMPERSONATION


def test_newcomers_are_distinguished(example: Callable[..., BrowserPhone]) -> None:
    alice, bob = example("alice"), example("bob")
    for phone in (alice, bob):
        phone.tap_card(FAMILY)
        phone.see("人参与")
    suffixes = bob.page.locator("[class*='suffix']").locator("visible=true")
    expect(suffixes).to_have_text([str(user.pk)[-4:] for user in WeChatUser.objects.order_by("pk")])


def test_a_name_within_a_group_is_set(example: Callable[..., BrowserPhone]) -> None:
    alice = example()
    alice.tap_card(FAMILY)
    alice.tap("群设置")
    alice.type_in("未设置", "组长")
    alice.tap("保存")
    alice.wait_for_responses("/membership", 200)
    alice.back()
    alice.see("组长")


def test_my_groups_are_a_tab_from_which_each_opens(example: Callable[..., BrowserPhone]) -> None:
    alice = example()
    for chat in (FAMILY, WORK):
        alice.tap_card(chat)
        alice.see(chat)
    alice.tap("我的群")
    alice.tap(FAMILY)
    alice.see("群设置", "1 人参与")
    alice.back()
    alice.see("你的群，最近打开的在前")


def test_logging_out_ends_the_session_and_keeps_the_rest(
    example: Callable[..., BrowserPhone],
) -> None:
    alice = example()
    alice.tap_card(FAMILY)
    alice.see("1 人参与")
    alice.tap("我的")
    alice.tap("退出登录")
    alice.see("下次使用时自动登录")
    alice.page.locator(".popup footer span").last.click()
    alice.see("已退出登录")
    alice.wait_for_responses("/logout", 204)
    alice.tap("重新开始")
    alice.see("1 人参与")
    assert WeChatUser.objects.count() == 1


def test_outside_a_group_the_game_is_for_fun(
    example: Callable[..., BrowserPhone], taps: Board
) -> None:
    alice = example()
    alice.open_outside()
    alice.tap("十秒点点")
    alice.tap("开始")
    alice.tap_fast(".disc.running", 3)
    alice.see("这次 3 下。从微信群里打开")
    assert alice.requests("/scores") == []


# Big groups

COUNT_NODES = """() => {
  const page = document.querySelector('.frame:not(.below)')
  // The browser's own elements inside WeChat's components are no nodes.
  const nodes = [...page.querySelectorAll('*')].filter(node => !/^(IMG|INPUT)$/.test(node.tagName))
  return { nodes: nodes.length, children: Math.max(...nodes.map(node => node.children.length)) }
}"""

# Scroll down by less than a screen at a time, and note which rows are in sight, and gaps.
WALK = """async () => {
  const list = [...document.querySelectorAll('wx-scroll-view[refresher]')]
    .find(each => each.offsetParent)
  const all = name => [...list.querySelectorAll(`[class*="--${name}"]`)]
  const label = node => node.getAttribute('aria-label')
  const rank = node => parseInt(label(node).slice(2))
  const walk = { seen: [], gaps: [], nodes: 0, children: 0 }
  const look = () => {
    const screen = list.getBoundingClientRect()
    const isInSight = node => {
      const { top, bottom, height } = node.getBoundingClientRect()
      return height && bottom > screen.top + 1 && top < screen.bottom - 1
    }
    for (const row of all('row').filter(isInSight)) {
      if (!walk.seen.includes(label(row))) walk.seen.push(label(row))
    }
    if ([...all('above'), ...all('below')].some(isInSight)) walk.gaps.push(list.scrollTop)
    const { nodes, children } = (COUNT_NODES)()
    walk.nodes = Math.max(walk.nodes, nodes)
    walk.children = Math.max(walk.children, children)
  }
  walk.seen = all('step ').sort((one, other) => rank(one) - rank(other)).map(label)
  for (let last = -1; last !== list.scrollTop || all('more').length;) {
    last = list.scrollTop
    await new Promise(resolve => setTimeout(resolve, 100))
    look()
    list.scrollTop += 0.8 * list.clientHeight
  }
  return walk
}""".replace("(COUNT_NODES)", f"({COUNT_NODES})")


@pytest.mark.parametrize("size", [10, 100, 500])
def test_a_big_group_stays_within_the_limits_that_wechat_advises(
    example: Callable[..., BrowserPhone],
    crowd: Any,
    points: Board,
    size: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    people = crowd(board=points)
    Group.objects.update(open_gid=open_gid_of(APP_ID, FAMILY))
    for place in range(size - 1):
        people.add(f"群友{place:03}", 9000 - 10 * place)
    Board.objects.filter(pk=points.pk).update(default_for=APP_ID)
    alice = example("alice")
    alice.tap_card(FAMILY)
    alice.see("群友000")
    at_start = alice.evaluate(COUNT_NODES)
    walk = alice.evaluate(WALK)
    with capsys.disabled():
        sys.stdout.write(
            f"\n{size} rows: {at_start['nodes']} nodes and {at_start['children']} children at the"
            f" start, at most {walk['nodes']} and {walk['children']} on the way to the end\n"
        )
    names = [label.split(", ")[1] for label in walk["seen"]]
    assert names[: size - 1] == [f"群友{place:03}" for place in range(size - 1)]
    assert len(names) == size
    assert walk["gaps"] == []
    assert walk["nodes"] <= 1000
    assert walk["children"] <= 60


def test_my_row_is_pinned_while_it_is_out_of_sight(
    example: Callable[..., BrowserPhone], crowd: Any, points: Board
) -> None:
    people = crowd(board=points)
    Group.objects.update(open_gid=open_gid_of(APP_ID, FAMILY))
    for place in range(60):
        people.add(f"群友{place:03}", 9000 - 10 * place)
    Board.objects.filter(pk=points.pk).update(default_for=APP_ID)
    alice = example("alice")
    alice.tap_card(FAMILY)
    pinned = alice.page.locator("[class*='--pinned']")
    expect(pinned).to_contain_text("我")
    alice.scroll(END)
    alice.not_see("加载更多", "加载中")
    alice.scroll(END)
    expect(pinned).to_have_count(0)
    alice.scroll(0)
    expect(pinned).to_have_count(1)


# A page's own colours and words

OWN_STYLE = """
page { --groups-brand: rgb(1, 2, 3); --groups-card: rgb(4, 5, 6); }
"""


@pytest.fixture(scope="session")
def themed_app(node: str, port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Copy the kit's folder into the app, whose page sets two variables and two texts."""
    folder = tmp_path_factory.mktemp("themed")
    app = copy_with_kit(folder / "app", port)
    view = app / "components" / "group-view"
    (app / "app.wxss").write_text((app / "app.wxss").read_text() + OWN_STYLE)
    wxml = (view / "index.wxml").read_text()
    (view / "index.wxml").write_text(
        wxml.replace("<group-ranking", '<group-ranking texts="{{texts}}"')
    )
    texts = "texts: { people: '{} 位群友', error: { title: '稍等一下' } }, outside: false"
    script = (view / "index.js").read_text()
    (view / "index.js").write_text(script.replace("outside: false", texts, 1))
    with installed(node, app, folder / "out") as url:
        yield url


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_sets_colours_and_texts(
    themed_app: str, backend: Backend, phone_of: MakePhone, scheme: str
) -> None:
    alice = phone_of(themed_app, "alice", scheme=scheme)
    failure = {"errno": 1, "reason": "unknown"}
    alice.set(failures={"login": failure})
    alice.tap_card(FAMILY)
    alice.see("稍等一下")
    colour = "element => getComputedStyle(element).backgroundColor"
    assert alice.find("重试", exact=True).evaluate(colour) == "rgb(1, 2, 3)"
    alice.set(failures={})
    alice.tap("重试")
    alice.see("1 位群友", "群里还没有其他人")
    assert alice.find("群里还没有其他人").evaluate(colour) == "rgb(4, 5, 6)"


# The probe page

PROBES = 9


def test_every_probe_says_what_it_saw(example: Callable[..., BrowserPhone]) -> None:
    alice = example()
    alice.tap_card(FAMILY)
    alice.see("1 人参与")
    report = probe_everything(alice)
    assert "微信版本" in report
    assert "有水印" in report
    assert "两者相同" in report
    assert "cloudID：getGroupEnterInfo：有" in report
    assert "没有配置云托管" in report
    assert "第二次状态 304" in report
    assert "昵称键盘" in report
    alice.photograph("miniprogram-probe")
    openid, open_gid = WeChatUser.objects.get().openid, open_gid_of(APP_ID, FAMILY)
    for secret in (openid, open_gid, open_gid[:6]):
        assert secret not in report


def test_outside_a_group_the_probes_say_so(example: Callable[..., BrowserPhone]) -> None:
    alice = example(missingCalls=["getShareInfo"])
    alice.open_outside()
    alice.see("从微信群里打开")
    report = probe_everything(alice)
    assert "请从微信群里的卡片打开小程序" in report
    assert "40097" in report
    assert "没有 getShareInfo" in report


def probe_everything(phone: BrowserPhone) -> str:
    """Run every probe, and return the report that is copied."""
    phone.tap("我的")
    phone.tap("真机检测")
    buttons = phone.page.locator("[aria-label^=运行]")
    expect(buttons).to_have_count(PROBES)
    for button in buttons.all():
        button.click()
        expect(button).to_have_text("运行", timeout=30_000)
    phone.type_in("昵称", "小明")
    phone.tap("提交")
    phone.tap("复制报告")
    phone.page.wait_for_function("device.clipboard")
    report = phone.evaluate("device.clipboard")
    assert "没有完成" not in report, report
    return str(report)


# Screenshots


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_screenshots_of_every_page(
    example: Callable[..., BrowserPhone], scheme: str, crowd: Any, points: Board
) -> None:
    alice = example("alice", scheme=scheme, width=360)
    alice.open_outside()
    alice.see("示例数据")
    alice.photograph(f"miniprogram-outside-{scheme}")
    people = crowd(board=points)
    Group.objects.update(open_gid=open_gid_of(APP_ID, FAMILY))
    for place in range(60):
        people.add(
            f"群友{place:02}" if place % 3 else f"名字特别特别长的群友{place:02}",
            9000 - 111 * place,
        )
    Board.objects.filter(pk=points.pk).update(default_for=APP_ID, writer=Board.Writer.CLIENT)
    alice.tap_card(FAMILY)
    alice.see("群友01")
    alice.photograph(f"miniprogram-ranking-{scheme}")
    assert_accessible(alice.page)
    assert_readable(alice.page)
    alice.tap("群友05")
    alice.see("举报")
    alice.photograph(f"miniprogram-sheet-{scheme}")
    assert_accessible(alice.page)
    alice.tap("关闭")
    alice.scroll(END)
    alice.not_see("加载更多", "加载中")
    alice.scroll(END)
    alice.see("群友59")
    alice.photograph(f"miniprogram-ranking-end-{scheme}")
    alice.scroll(0)
    alice.tap("我的资料")
    alice.see("同意并设置")
    alice.photograph(f"miniprogram-ask-{scheme}")
    alice.tap("同意并设置")
    alice.see("点击更换头像", "我的同意")
    alice.photograph(f"miniprogram-profile-{scheme}")
    assert_accessible(alice.page)
    assert_readable(alice.page)
    alice.back()
    alice.tap("群设置")
    alice.see("隐藏我")
    alice.photograph(f"miniprogram-group-settings-{scheme}")
    alice.back()
    for tab, seen, name in [
        ("我的群", "61 人", "groups"),
        ("十秒点点", "开始", "play"),
        ("我的", "退出登录", "mine"),
    ]:
        alice.tap(tab)
        alice.see(seen)
        alice.page.wait_for_timeout(300)
        alice.photograph(f"miniprogram-{name}-{scheme}")
    alice.tap("真机检测")
    alice.tap_selector("[aria-label='运行，客户端']")
    alice.see("微信版本")
    alice.photograph(f"miniprogram-probe-{scheme}")
