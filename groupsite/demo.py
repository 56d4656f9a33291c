"""`make demo`: a whole site on one machine, with a sandbox instead of WeChat; asks nothing.

One process: the sandbox in a thread, the site in another, an SQLite database of its own.
`make signin` makes another sign-in link for it.
"""

import os
import secrets
import signal
import socket
import sys
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import Any

from wechat.checks import refuse_in_production
from wechat.sandbox import Phone, Sandbox
from wechat.transport import http_session

refuse_in_production("groupsite.demo")

APP_ID = "wxdemo0000000001"
APP_SECRET = "the-sandbox-takes-any"  # noqa: S105
PUSH_TOKEN = "groupsitedemo"  # noqa: S105
HOME = Path(__file__).resolve().parent.parent / "var"
PEOPLE_IN_REAL_FLOW = ("demo-alice", "demo-bob", "demo-newcomer")
GROUPS = 12
# What wx.login gives in WeChat's developer tools to a project without an appid of its own, as
# miniprogram/article is one.
MOCK_CODE = "the code is a mock one"
GAME = "taps"  # the board of the example mini-program's game

EVERYWHERE = "0.0.0.0"  # noqa: S104
LINK_HOURS = 12
SIGN_IN = "make signin"
ADDRESS = "demo.address"  # the file with the address of the demo that ran last
CODE = """-d '{"code": "demo-alice"}'"""


def main() -> None:
    host, port = os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8000"))
    for ending in (signal.SIGINT, signal.SIGTERM):
        # Set even where a shell made us ignore Ctrl-C, as it does for what runs in the background.
        signal.signal(ending, signal.default_int_handler)
    with suppress(KeyboardInterrupt), Sandbox({APP_ID: APP_SECRET}) as sandbox:
        set_up(sandbox.url)
        serve(host, port, sandbox)


def set_up(sandbox_url: str, home: Path = HOME) -> None:
    set_environment(sandbox_url, home)
    import django

    django.setup()


def make_sign_in_link(home: Path = HOME) -> None:
    """Print another sign-in link for the demo that runs, or ran last, in this checkout."""
    if not (home / ADDRESS).exists():
        sys.exit("No demo has run here yet. Start one first 请先启动演示: make demo")
    set_up("http://127.0.0.1:9", home)  # WeChat is not asked for anything
    say((home / ADDRESS).read_text() + operator_path())


def set_environment(sandbox_url: str, home: Path = HOME) -> None:
    """Set the demo's own settings, whatever `.env` says; its keys last as long as its database."""
    home.mkdir(exist_ok=True)
    push_key = kept(home / "demo.push", secrets.token_hex(22)[:43])
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "groupsite.settings",
        "DEBUG": "True",
        "SECRET_KEY": kept(home / "demo.secret", secrets.token_urlsafe(50)),
        "SECRET_KEY_FALLBACKS": "",
        "FIELD_KEYS": kept(home / "demo.key", urlsafe_b64encode(os.urandom(32)).decode()),
        "ALLOWED_HOSTS": "*",
        "NUM_PROXIES": "0",
        "DATABASE_URL": f"sqlite:///{home / 'demo.sqlite3'}",
        "DATABASE_REPLICA_URL": "",
        "REDIS_URL": "",
        "MEDIA_ROOT": str(home / "media"),
        "MEDIA_URL": "/media/",
        "S3_BUCKET": "",
        "WECHAT_APPS": f"{APP_ID}:{APP_SECRET}",
        "WECHAT_API_URL": sandbox_url,
        "WECHAT_PUSH": f"{APP_ID}:{PUSH_TOKEN}:{push_key}",
        "CONTENT_SAFETY": "True",
        "OPERATOR_TOTP": "False",
        "THROTTLES": "",
        "SENTRY_DSN": "",
        "METRICS_TOKEN": "",
        "LINK_MAX_AGE": str(LINK_HOURS * 3600),
        "SIGN_IN_COMMAND": SIGN_IN,
        "LOG_LEVEL": "WARNING",
    }


def kept(path: Path, fresh: str) -> str:
    """Return the content of a file, which is `fresh` the first time."""
    if not path.exists() or not path.read_text():
        path.touch(mode=0o600)
        path.write_text(fresh)
    return path.read_text()


def serve(host: str, port: int, sandbox: Sandbox) -> None:
    with running(host, port, sandbox) as base_url:
        ranking = print_addresses(base_url)
        if host == EVERYWHERE:
            print_phone_address(base_url.replace("127.0.0.1", lan_address()), ranking)
        say("Ctrl-C stops all of it. 按 Ctrl-C 停止。")
        signal.pause()


@contextmanager
def running(host: str, port: int, sandbox: Sandbox, home: Path = HOME) -> Iterator[str]:
    """Run the site, with its data, and yield its address on this machine."""
    from django.conf import settings
    from django.contrib.auth.signals import user_logged_in
    from django.core.management import call_command
    from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
    from django.core.wsgi import get_wsgi_application

    from audit.models import Watch
    from groups.models import Group

    try:
        server = ThreadedWSGIServer((host, port), WSGIRequestHandler)
    except OSError as error:
        sys.exit(
            f"Cannot serve on {host}:{port}: {error.strerror}. Try 请换端口: make demo PORT=8123"
        )
    say("Migrating the database 迁移数据库")
    call_command("migrate", verbosity=0)
    if not Group.objects.exists():
        say("Inventing people and groups 生成演示数据")
        call_command("seed_demo")
    Watch.objects.begin(APP_ID, everyone=True, lasting=timedelta(days=7))
    server.set_app(get_wsgi_application())
    Thread(target=server.serve_forever, daemon=True).start()
    base_url = f"http://{'127.0.0.1' if host == EVERYWHERE else host}:{server.server_port}"
    (home / ADDRESS).write_text(base_url)
    user_logged_in.connect(say_how_to_sign_in_again)
    take_mock_code(sandbox)
    sandbox.state.push_to(
        APP_ID,
        f"{base_url}/wechat/push/{APP_ID}/",
        PUSH_TOKEN,
        settings.WECHAT_PUSH[APP_ID]["AES_KEY"],
    )
    say("Entering groups as phones do 通过真实流程入群：wx.login → encryptedData → bind")
    enter_groups(sandbox.url, base_url)
    try:
        yield base_url
    finally:
        server.shutdown()
        server.server_close()
        say("Stopped 已停止")


def take_mock_code(sandbox: Sandbox) -> None:
    """Let the developer tools' mock code stand for Alice: in the demo, and nowhere else."""
    sandbox.state.mock_codes[MOCK_CODE] = PEOPLE_IN_REAL_FLOW[0]


def enter_groups(sandbox_url: str, base_url: str, groups: int = GROUPS) -> None:
    """Let a few people log in and tap a card in each group, over HTTP from end to end."""
    from accounts.avatars.drawn import default_avatar

    http, api = http_session(), f"{base_url}/api/v1"

    def call(method: str, path: str, token: str = "", **sent: Any) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        answer = http.request(method, api + path, headers=headers, timeout=60, **sent)
        answer.raise_for_status()
        return dict(answer.json())

    for name in PEOPLE_IN_REAL_FLOW:
        phone = Phone(sandbox_url, name)
        token = call("POST", "/login", json={"code": phone.login()})["token"]
        for number in range(groups, 0, -1):  # so that the largest was entered last
            launch = phone.open_card(f"demo-chat-{number}")
            envelope = phone.share_info(launch["shareTicket"])
            body = {**envelope, "scene": launch["scene"]}
            call("POST", "/groups/bind", token, json=body)
    call("PUT", "/me", token, json={"nickname": "新来的同学"})
    picture = ("avatar.webp", default_avatar("the newcomer's own"))
    call("POST", "/me/avatar", token, files={"avatar": picture})


def say_how_to_sign_in_again(request: Any, **kwargs: Any) -> None:
    """Say it once a sign-in link has been used: a receiver of `user_logged_in`."""
    if request.path.startswith("/sign-in/"):
        say(f"  The sign-in link has been used. For another one 链接已使用，再要一个: {SIGN_IN}")


def operator_path() -> str:
    """Return the path of a new sign-in link for the demo's operator."""
    from django.contrib.auth.hashers import make_password
    from django.contrib.auth.models import User

    from console.sign_in import sign_in_path

    operator, _created = User.objects.get_or_create(
        username="operator",
        defaults={"is_staff": True, "is_superuser": True, "password": make_password(None)},
    )
    return sign_in_path(operator)


def print_addresses(base_url: str) -> str:
    """Print where to look; return the path of a group's ranking, as Alice sees it."""
    from django.urls import reverse

    from accounts.models import WeChatUser
    from groups.links import Link
    from groups.models import Group
    from wechat.sandbox import openid_of

    alice = WeChatUser.objects.get(app_id=APP_ID, openid=openid_of(APP_ID, "demo-alice"))
    group = Group.objects.filter(app_id=APP_ID).earliest("pk")
    ranking = reverse("member-page", args=[Link(alice.pk, group.pk, GAME).sign()])
    say(f"""
  Operators 管理员 (once, within ten minutes 十分钟内一次有效; another 再要一个: {SIGN_IN})
    {base_url}{operator_path()}
  A group's ranking 群排行
    {base_url}{ranking}
  API 接口文档
    {base_url}{reverse("docs")}

  Log in as a mini-program does 像小程序一样登录
    curl -s {base_url}/api/v1/login -H 'Content-Type: application/json' {CODE}
""")
    return ranking


def print_phone_address(base_url: str, ranking: str) -> None:
    """Print what a phone in the same network opens: the site, and the ranking as a QR code."""
    import segno

    say(f"  For a phone in the same network 同一网络的手机: {base_url}")
    say("  Scan to open the ranking 扫码打开群排行:\n")
    segno.make(base_url + ranking, error="L", micro=False).terminal(sys.stdout, compact=True)
    say("")


def lan_address() -> str:
    """Return this machine's address on its network; connecting a UDP socket sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return socket.gethostbyname(socket.gethostname())
        return str(probe.getsockname()[0])


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    make_sign_in_link() if sys.argv[1:] == ["signin"] else main()
