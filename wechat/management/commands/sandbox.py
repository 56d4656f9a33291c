"""`manage.py sandbox`: a fake WeChat for the demo, benchmarks and work without an account."""

import json
from contextlib import suppress

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from wechat.sandbox import Sandbox
from wechat.sandbox.state import WxCallError

NO_APP = (
    "No mini-program is configured. Set WECHAT_APPS=appid:secret in the environment or in .env; "
    "for the sandbox any pair will do, such as WECHAT_APPS=wxdemo:secret."
)

NO_PUSH = (
    "WECHAT_PUSH is empty. Set WECHAT_PUSH=appid:token:encodingaeskey, here and for the site; "
    "for the sandbox any token of letters and digits will do."
)

GREETING = """\
A fake WeChat listens on {url} (Ctrl-C ends it). Set WECHAT_API_URL={url}
It knows {apps}.

Log in, for a code:
  {login}
Open a card in a group, for a shareTicket:
  {open_card}
"""


class Command(BaseCommand):
    """The command that serves the sandbox for the apps in WECHAT_APPS until Ctrl-C."""

    help = "Runs the sandbox: a fake WeChat, the platform's side and the phone's side."
    # It needs no database, and no more of the settings than WECHAT_APPS and WECHAT_PUSH.
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", default=8001, type=int, help="0 takes any free port")
        parser.add_argument(
            "--push",
            default="",
            metavar="URL",
            help="the site to push verdicts to, such as http://127.0.0.1:8000",
        )

    def handle(
        self, *args: object, host: str, port: int, push: str = "", **options: object
    ) -> None:
        apps = {appid: app["SECRET"] for appid, app in settings.WECHAT_APPS.items()}
        if not apps:
            raise CommandError(NO_APP)
        try:
            sandbox = Sandbox(apps, host, port)
        except (OSError, OverflowError) as error:
            hint = "Choose another with --port."
            raise CommandError(f"Cannot listen on {host}:{port}: {error}. {hint}") from None
        with suppress(KeyboardInterrupt), sandbox:
            if push:
                _push_to(sandbox, push)
            self.stdout.write(_greeting(sandbox.url, list(apps)))
            self.stdout.flush()
            sandbox.wait()


def _push_to(sandbox: Sandbox, site: str) -> None:
    if not settings.WECHAT_PUSH:
        raise CommandError(NO_PUSH)
    for appid, channel in settings.WECHAT_PUSH.items():
        url = f"{site.rstrip('/')}/wechat/push/{appid}/"
        try:
            sandbox.state.push_to(appid, url, channel["TOKEN"], channel["AES_KEY"])
        except (WxCallError, ValueError) as error:
            raise CommandError(f"Cannot push about {appid}: {error}.") from None


def _greeting(url: str, appids: list[str]) -> str:
    # One app needs no naming, and the shorter line is the easier one to change by hand.
    alice = {"person": "alice"} | ({"appid": appids[0]} if len(appids) > 1 else {})
    return GREETING.format(
        url=url,
        apps=", ".join(appids),
        login=_curl(f"{url}/phone/login", alice),
        open_card=_curl(f"{url}/phone/open-card", alice | {"chat": "family"}),
    )


def _curl(url: str, body: dict[str, str]) -> str:
    return f"curl -s {url} -d '{json.dumps(body)}'"
