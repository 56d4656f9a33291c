"""The example mini-program on people's phones: the kit as an npm package, and as a copied folder.

WeChat's own component framework renders it, the site behind it is the real one, and WeChat is the
sandbox.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from accounts.models import WeChatUser
from groups.models import Board, Group, Membership
from tests.cast import GREEN, RED, YELLOW, picture
from tests.settings import APP_ID
from wechat.sandbox import open_gid_of

from .phones import CARD_WITHOUT_TICKET, MINIPROGRAM, Backend, MakePhone, Phone, installed, run

FAMILY, WORK = "一家人", "同事"
NICKNAMES = ["李雷", "韩梅梅", "查理", "大卫", "伊芙", "方糖", "格子", "海蓝", "艾文", "金橘"]
SPURIOUS = {"errCode": 40097, "reason": "invalid scene"}
DEMO_ADDRESS = "http://127.0.0.1:8000"


# The app, as a team would have it


def checkout(folder: str, target: Path, port: int) -> Path:
    """A copy of `miniprogram/<folder>`, set to the tests' own site."""
    ignored = shutil.ignore_patterns("node_modules", "miniprogram_npm")
    shutil.copytree(MINIPROGRAM / folder, target, ignore=ignored)
    for file in target.rglob("*.js"):
        text = file.read_text()
        file.write_text(text.replace(DEMO_ADDRESS, f"http://127.0.0.1:{port}"))
    return target


@pytest.fixture(scope="session")
def npm_app(node: str, port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Packed, installed from the tarball, and built by WeChat's 构建 npm; all without network."""
    folder = tmp_path_factory.mktemp("npm")
    app = checkout("example", folder / "app", port)
    tarball = run("npm", "pack", "--silent", "--pack-destination", folder).strip()
    run("npm", "install", "--offline", "--no-save", "--silent", folder / tarball, cwd=app)
    run(node, MINIPROGRAM / "harness" / "pack-npm.mjs", app)
    shutil.rmtree(app / "node_modules")
    with installed(node, app, folder / "out") as url:
        yield url


@pytest.fixture(scope="session")
def copied_app(node: str, port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The kit's one folder copied in, and the package's name replaced by its path."""
    folder = tmp_path_factory.mktemp("copied")
    app = checkout("example", folder / "app", port)
    shutil.copytree(MINIPROGRAM / "groups", app / "groups")
    for file in [*app.rglob("*.js"), *app.rglob("*.json")]:
        text = file.read_text().replace("require('groupsite')", "require('./groups/index')")
        file.write_text(text.replace('"groupsite/group-', '"/groups/group-'))
    (app / "package.json").unlink()
    with installed(node, app, folder / "out") as url:
        yield url


@pytest.fixture
def somebody(npm_app: str, backend: Backend, phone_of: MakePhone) -> Callable[..., Phone]:
    """Makes somebody's phone with the example on it."""

    def somebody(person: str = "alice", **settings: Any) -> Phone:
        return phone_of(npm_app, person, **settings)

    return somebody


@pytest.fixture
def taps(transactional_db: None) -> Board:
    """A game's board that phones may write."""
    return Board.objects.create(
        app_id=APP_ID, key="taps", title_zh="手速", title_en="Taps", unit_zh="下", unit_en="taps",
        scope=Board.Scope.GROUP, writer=Board.Writer.CLIENT,
    )  # fmt: skip


KIT = "([name, ...given]) => device.app().groups[name](...given)"


def kit(phone: Phone, *call: Any) -> Any:
    """A call of the client in app.js, as a page would make it."""
    return phone.evaluate(KIT, list(call))


def members_of(chat: str) -> set[str]:
    group = Group.objects.get(open_gid=open_gid_of(APP_ID, chat))
    return {user.nickname for user in WeChatUser.objects.filter(memberships__group=group)}


def bound(phone: Phone) -> list[int | None]:
    return [status for _method, _path, status in phone.requests("/groups/bind")]


# The whole story


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

    # Alice finds the mini-program by herself, and shares it.
    alice.open_outside()
    alice.see("从微信群里打开", "示例数据")
    card = alice.share()
    assert card["withShareTicket"]

    # From the group, it knows the group.
    alice.tap_card(FAMILY, card=card)
    alice.see(FAMILY, "活跃天数 · 本周", "群里还没有其他人")
    assert bound(alice) == [201]

    # She shows herself: the picture is sent at once, the nickname with the form.
    alice.tap("资料")
    alice.offer_picture(picture(GREEN))
    alice.tap("点击更换头像")
    alice.wait_for_answers("/me/avatar", 200)
    alice.suggest("请输入昵称", "小明")
    alice.tap("保存")
    alice.see("已保存")
    alice.back()
    alice.see("小明")

    # Ten more open the card she shared, each for the first time.
    others = [phone_of(app, f"person-{number}") for number in range(len(NICKNAMES))]
    for number, (phone, nickname) in enumerate(zip(others, NICKNAMES, strict=True)):
        phone.tap_card(FAMILY, card=card)
        phone.see(f"{number + 2} 人参与")
        kit(phone, "setNickname", nickname)
        score = {"board": "taps", "value": number + 1, "openGId": open_gid_of(APP_ID, FAMILY)}
        kit(phone, "submitScore", score)
    assert members_of(FAMILY) == {"小明", *NICKNAMES}
    lei, mei, charlie, *_rest = others

    # The second group is another ranking.
    for phone in (alice, lei):
        phone.tap_card(WORK, card=card)
        phone.see(WORK)
    lei.see("2 人参与")
    lei.miss("韩梅梅")
    assert members_of(WORK) == {"小明", "李雷"}

    # Back in the first, there is a game: last, then first.
    alice.tap_card(FAMILY, card=card)
    alice.see("11 人参与")
    alice.tap("数数看")
    alice.see("金橘")
    alice.tap("加载更多")
    alice.miss("加载更多")
    alice.tap("开始")
    alice.tap_fast(".disc.running", len(NICKNAMES) + 5)
    alice.see("已计入“手速”")
    ranking = kit(alice, "ranking", open_gid_of(APP_ID, FAMILY), {"board": "taps"})
    assert [entry["member"]["nickname"] for entry in ranking["entries"][:2]] == ["小明", "金橘"]
    alice.see("再来")
    first = alice.page.locator("[class*='step-0']").locator("visible=true")
    expect(first).to_contain_text("小明")
    if build == "npm_app":
        alice.photograph("miniprogram-play")

    # 韩梅梅 hides: she sees herself, the others do not.
    mei.tap("设置")
    mei.tap_on("wx-switch")
    mei.wait_for_answers("/membership", 200)
    mei.back()
    mei.see("你已隐藏自己")
    charlie.pull_down()
    charlie.see("10 人参与")
    charlie.miss("韩梅梅")

    # 查理 leaves, and the next look at the ranking is without him.
    charlie.tap("设置")
    charlie.tap("退出这个群的排行")
    charlie.see("退出这个群的排行？")
    charlie.tap("退出")
    charlie.miss("退出这个群的排行？")
    charlie.see("从微信群里打开")
    lei.tap_card(FAMILY, card=card)
    lei.see("9 人参与")
    lei.miss("查理")

    # Whoever opens the card again is back.
    charlie.tap_card(FAMILY, card=card)
    charlie.see("10 人参与", "查理")


# Entries without a group


def test_a_chat_of_two_is_no_group(somebody: Callable[..., Phone]) -> None:
    alice = somebody()
    alice.open_single()
    alice.see("这里是单聊")
    assert bound(alice) == []
    alice.photograph("miniprogram-single")


def test_who_has_left_the_group_cannot_enter(somebody: Callable[..., Phone]) -> None:
    alice = somebody()
    launch = alice.card_in(FAMILY)
    alice.wechat.leave(FAMILY)
    alice.open(launch)
    alice.see("你已不在这个群里")
    assert bound(alice) == []
    alice.photograph("miniprogram-left")


@pytest.mark.parametrize(
    ("errno", "reason", "sentence"),
    [
        (104, "privacy permission is not authorized", "你没有同意隐私保护指引"),
        (112, "api scope is not declared in the privacy agreement", "没有声明群信息"),
    ],
)
def test_without_consent_there_is_no_group_and_a_reason(
    somebody: Callable[..., Phone], errno: int, reason: str, sentence: str
) -> None:
    failure = {"errno": errno, "reason": reason}
    alice = somebody(failures={"getGroupEnterInfo": failure, "getShareInfo": failure})
    alice.tap_card(FAMILY)
    alice.see(sentence)
    alice.set(failures={})
    alice.tap("重试")
    alice.see("1 人参与")


def test_a_base_library_too_old_says_so(somebody: Callable[..., Phone]) -> None:
    alice = somebody(sdk="2.16.0")
    alice.tap_card(FAMILY)
    alice.see("微信版本过低")


@pytest.mark.parametrize(
    "older",
    [
        {"lacks": ["getGroupEnterInfo"]},
        {"failures": {"getGroupEnterInfo": SPURIOUS}, "codesAsStrings": True},
        {"sdk": "2.17.3"},
    ],
    ids=["without the newer call", "with its spurious error", "oldest"],
)  # fmt: skip
def test_older_phones_enter_by_the_ticket(
    somebody: Callable[..., Phone], older: dict[str, Any]
) -> None:
    alice = somebody(**older)
    alice.tap_card(FAMILY)
    alice.see("1 人参与")
    assert bound(alice) == [201]


# Entering again


def test_two_groups_by_the_same_path_without_a_ticket(somebody: Callable[..., Phone]) -> None:
    alice = somebody()
    for chat in (FAMILY, WORK, FAMILY):
        alice.tap_card(chat, scene=CARD_WITHOUT_TICKET)
        alice.see(chat, "1 人参与")
    assert bound(alice) == [201, 201, 200]
    assert Membership.objects.count() == 2


def test_home_and_back_on_android_asks_nothing_anew(somebody: Callable[..., Phone]) -> None:
    alice = somebody()
    alice.tap_card(FAMILY)
    alice.see("1 人参与")
    alice.home()
    alice.resume()
    alice.wait_for_answers("/ranking", 200, times=2)
    assert bound(alice) == [201]


def test_a_session_rotated_underneath_is_renewed_and_the_envelope_with_it(
    somebody: Callable[..., Phone],
) -> None:
    alice = somebody()
    alice.tap_card(FAMILY)
    alice.see("1 人参与")
    alice.wechat.login()  # somebody else's code: the server's key is now an old one
    alice.wechat.login()
    alice.tap_card(WORK)
    alice.see(WORK, "1 人参与")
    assert bound(alice) == [201, 409, 201]
    assert [status for _method, _path, status in alice.requests("/login")] == [200, 200]


def test_the_token_is_kept_for_the_next_start(somebody: Callable[..., Phone]) -> None:
    alice = somebody()
    alice.tap_card(FAMILY)
    alice.see("1 人参与")
    alice.kill()
    alice.tap_card(FAMILY)
    alice.see("1 人参与")
    assert alice.requests("/login") == []
    assert bound(alice) == [200]


def test_a_token_that_ended_is_replaced_unnoticed(somebody: Callable[..., Phone]) -> None:
    alice = somebody()
    alice.tap_card(FAMILY)
    alice.see("1 人参与")
    kit(alice, "request", "/logout", {"method": "POST"})
    alice.pull_down()
    alice.see("1 人参与")
    assert len(alice.requests("/login")) == 2


# Bad moments


def test_the_site_goes_down_and_comes_back(
    somebody: Callable[..., Phone], backend: Backend
) -> None:
    alice, bob = somebody("alice"), somebody("bob")
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
    alice.miss("刷新失败")


def test_a_phone_without_network_says_so_and_goes_on_later(
    somebody: Callable[..., Phone],
) -> None:
    alice = somebody()
    alice.open_outside()
    alice.see("从微信群里打开")
    launch = alice.card_in(FAMILY)
    alice.offline()
    alice.open(launch)
    alice.see("网络连接失败")
    alice.offline(False)
    alice.tap("重试")
    alice.see("1 人参与")


def test_what_the_background_interrupted_is_there_after_coming_back(
    somebody: Callable[..., Phone],
) -> None:
    alice = somebody()
    alice.tap_card(FAMILY)
    alice.home(interrupting=True)
    alice.resume()
    alice.see("1 人参与")


# Oneself


def test_consent_refused_and_then_given(somebody: Callable[..., Phone]) -> None:
    alice = somebody(privacy="unasked")
    alice.tap_card(FAMILY)
    alice.tap("资料")
    alice.see("设置头像和昵称")
    alice.tap("开始设置")
    alice.tap("拒绝")
    alice.see("你没有同意隐私保护指引")
    alice.photograph("miniprogram-refused")
    alice.tap("重新选择")
    alice.tap("同意")
    alice.see("点击更换头像")


@pytest.mark.parametrize(
    ("nickname", "sentence"),
    [("违规的名字", "昵称"), ("存疑的名字", "新昵称审核中，通过前只有你能看到")],
)
def test_nicknames_are_judged(somebody: Callable[..., Phone], nickname: str, sentence: str) -> None:
    alice, bob = somebody("alice"), somebody("bob")
    for phone in (alice, bob):
        phone.tap_card(FAMILY)
    alice.tap("资料")
    alice.type_in("请输入昵称", nickname)
    alice.tap("保存")
    alice.see(sentence)
    bob.pull_down()
    bob.see("2 人参与")
    bob.miss(nickname)


def test_pictures_are_judged(somebody: Callable[..., Phone], wechat: Any) -> None:
    alice = somebody()
    alice.tap_card(FAMILY)
    alice.tap("资料")
    verdicts = [(YELLOW, "pending"), (RED, "refused"), (GREEN, "approved")]
    for uploads, (colour, state) in enumerate(verdicts, start=1):
        alice.offer_picture(picture(colour))
        alice.tap("点击更换头像")
        alice.wait_for_answers("/me/avatar", 200, times=uploads)
        wechat.settle()
        assert kit(alice, "me")["avatarState"] == state


def test_an_upload_that_failed_is_sent_again(
    somebody: Callable[..., Phone], backend: Backend
) -> None:
    alice = somebody()
    alice.tap_card(FAMILY)
    alice.tap("资料")
    alice.see("点击更换头像")
    alice.offer_picture(picture(GREEN))
    backend.stop()
    alice.tap("点击更换头像")
    alice.see("重新上传")
    backend.start()
    alice.tap("重新上传")
    alice.miss("重新上传", "上传中")
    assert alice.requests("/me/avatar")[-1] == ("POST", "/api/v1/me/avatar", 200)


def test_everything_held_about_me_is_shown_and_erased(somebody: Callable[..., Phone]) -> None:
    alice = somebody()
    alice.tap_card(FAMILY)
    alice.see("1 人参与")
    kit(alice, "setNickname", "小明")
    alice.tap("设置")
    alice.see("复制网页版链接")
    alice.photograph("miniprogram-settings")
    alice.tap("查看保存了什么")
    alice.see("入群记录", "小明")
    alice.photograph("miniprogram-data")
    alice.tap("复制全部")
    held = json.loads(alice.evaluate("device.clipboard"))
    assert held["user"]["nickname"] == "小明"
    alice.back()
    alice.tap("删除我的数据")
    alice.tap("继续")
    alice.tap("全部删除")
    alice.see("你的数据已删除")
    assert not WeChatUser.objects.exists()
    alice.photograph("miniprogram-deleted")
    alice.tap("重新开始")
    alice.see("从微信群里打开")


def test_the_link_to_the_web_page_opens_it(somebody: Callable[..., Phone]) -> None:
    alice = somebody()
    alice.tap_card(FAMILY)
    alice.see("1 人参与")
    alice.tap("设置")
    alice.tap("复制网页版链接")
    alice.page.wait_for_function("device.clipboard")
    link = alice.evaluate("device.clipboard")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/g/[^/]+/", link)
    assert "微信用户" in alice.evaluate("url => fetch(url).then(answer => answer.text())", link)


def test_in_english_the_kit_speaks_english(somebody: Callable[..., Phone]) -> None:
    alice = somebody(language="en")
    alice.tap_card(FAMILY)
    alice.see("This week", "1 taking part")


# Pictures to look at


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pictures_of_every_page(
    somebody: Callable[..., Phone], scheme: str, crowd: Any, points: Board
) -> None:
    alice = somebody("alice", scheme=scheme)
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
    alice.evaluate("document.querySelector('.page').scrollTo(0, 99999)")
    alice.photograph(f"miniprogram-ranking-end-{scheme}")
    alice.tap("加载更多")
    alice.miss("加载更多")
    alice.evaluate("document.querySelector('.page').scrollTo(0, 0)")
    for link, seen, name in [
        ("资料", "点击更换头像", "profile"),
        ("我的群", "61 人", "groups"),
        ("设置", "隐藏我", "settings"),
    ]:
        alice.tap(link)
        alice.see(seen)
        alice.photograph(f"miniprogram-{name}-{scheme}")
        alice.back()


# 2018


@pytest.fixture(scope="session")
def article_app(node: str, port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("article")
    with installed(node, checkout("article", folder / "app", port), folder / "out") as url:
        yield url


def test_the_articles_own_code_logs_in_resolves_binds_and_lists(
    article_app: str, backend: Backend, phone_of: MakePhone
) -> None:
    alice, bob = phone_of(article_app, "alice"), phone_of(article_app, "bob")
    alice.open_outside()
    alice.see("请从微信群里的卡片打开")
    card = alice.share()
    for phone in (alice, bob):
        phone.tap_card(FAMILY, card=card)
        phone.see("微信用户")
    assert [path.removeprefix("/api/v1") for _method, path, _status in bob.requests()[:3]] == [
        "/login", "/groups/resolve", "/groups/bind",
    ]  # fmt: skip
    bob.photograph("miniprogram-article")
    bob.tap_card(WORK, card=card)
    bob.wait_for_answers("/groups/bind", 201, times=2)
    assert Membership.objects.count() == 3
