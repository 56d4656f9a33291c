"""`make demo`: a whole site on one machine, with a sandbox instead of WeChat; asks nothing.

One process: the sandbox in a thread, the site in another, an SQLite database of its own.
"""

import os
import secrets
import signal
import socket
import sys
from base64 import urlsafe_b64encode
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import Any

from wechat.sandbox import Phone, Sandbox
from wechat.transport import http_session

APP_ID = "wxdemo0000000001"
APP_SECRET = "the-sandbox-takes-any"  # noqa: S105
PUSH_TOKEN = "groupsitedemo"  # noqa: S105
HOME = Path(__file__).resolve().parent.parent / "var"
PEOPLE_IN_REAL_FLOW = ("demo-alice", "demo-bob", "demo-newcomer")
GROUPS = 12

EVERYWHERE = "0.0.0.0"  # noqa: S104
LINK_HOURS = 12
CODE = """-d '{"code": "demo-alice"}'"""


def main() -> None:
    host, port = os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8000"))
    for ending in (signal.SIGINT, signal.SIGTERM):
        # Set even where a shell made us ignore Ctrl-C, as it does for what runs in the background.
        signal.signal(ending, signal.default_int_handler)
    with suppress(KeyboardInterrupt), Sandbox({APP_ID: APP_SECRET}) as sandbox:
        set_environment(sandbox.url)
        import django

        django.setup()
        serve(host, port, sandbox)


def set_environment(sandbox_url: str, home: Path = HOME) -> None:
    """Set the demo's own settings, whatever `.env` says; its keys last as long as its database."""
    home.mkdir(exist_ok=True)
    push_key = kept(home / "demo.push", secrets.token_hex(22)[:43])
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "groupsite.settings",
        "DEBUG": "True",
        "SECRET_KEY": kept(home / "demo.secret", secrets.token_urlsafe(50)),
        "FIELD_KEYS": kept(home / "demo.key", urlsafe_b64encode(os.urandom(32)).decode()),
        "ALLOWED_HOSTS": "*",
        "NUM_PROXIES": "0",
        "DATABASE_URL": f"sqlite:///{home / 'demo.sqlite3'}",
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
        "LINK_MAX_AGE": str(LINK_HOURS * 3600),
        "LOG_LEVEL": "WARNING",
    }


def kept(path: Path, fresh: str) -> str:
    """Return the content of a file, which is `fresh` the first time."""
    if not path.exists() or not path.read_text():
        path.touch(mode=0o600)
        path.write_text(fresh)
    return path.read_text()


def serve(host: str, port: int, sandbox: Sandbox) -> None:
    from django.conf import settings
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
    sandbox.state.push_to(
        APP_ID,
        f"{base_url}/wechat/push/{APP_ID}/",
        PUSH_TOKEN,
        settings.WECHAT_PUSH[APP_ID]["AES_KEY"],
    )
    say("Entering groups as phones do 通过真实流程入群：wx.login → encryptedData → bind")
    enter_groups(sandbox.url, base_url)
    print_addresses(base_url)
    if host == EVERYWHERE:
        say(f"  For a phone's preview 手机预览: http://{lan_address()}:{server.server_port}\n")
    say("Ctrl-C stops all of it. 按 Ctrl-C 停止。")
    try:
        signal.pause()
    finally:
        server.shutdown()
        server.server_close()
        say("Stopped 已停止")


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
        for number in range(1, groups + 1):
            launch = phone.open_card(f"demo-chat-{number}")
            envelope = phone.share_info(launch["shareTicket"])
            body = {**envelope, "scene": launch["scene"]}
            call("POST", "/groups/bind", token, json=body)
    call("PUT", "/me", token, json={"nickname": "新来的同学"})
    picture = ("avatar.webp", default_avatar("the newcomer's own"))
    call("POST", "/me/avatar", token, files={"avatar": picture})


def print_addresses(base_url: str) -> None:
    from django.contrib.auth.hashers import make_password
    from django.contrib.auth.models import User
    from django.urls import reverse

    from accounts.models import WeChatUser
    from console.sign_in import sign_in_path
    from groups.links import Link
    from groups.models import ACTIVE_DAYS, Group
    from wechat.sandbox import openid_of

    operator, _created = User.objects.get_or_create(
        username="operator",
        defaults={"is_staff": True, "is_superuser": True, "password": make_password(None)},
    )
    alice = WeChatUser.objects.get(app_id=APP_ID, openid=openid_of(APP_ID, "demo-alice"))
    group = Group.objects.filter(app_id=APP_ID).earliest("pk")
    link = Link(alice.pk, group.pk, ACTIVE_DAYS).sign()
    say(f"""
  Operators 管理员 (one time 一次有效)
    {base_url}{sign_in_path(operator)}
  A group's ranking 群排行
    {base_url}{reverse("member-page", args=[link])}
  API 接口文档
    {base_url}{reverse("docs")}

  Log in as a mini-program does 像小程序一样登录
    curl -s {base_url}/api/v1/login -H 'Content-Type: application/json' {CODE}
""")


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
    main()
