"""What the commands `import` and `export` share: which mini-program, and in which language."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import translation
from django.utils.translation import gettext


class TransferCommand(BaseCommand):
    """A command that moves one mini-program's data, and says so in one language."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--appid", help="which mini-program, where there are several 小程序")
        parser.add_argument(
            "--language", choices=[code for code, _name in settings.LANGUAGES], help="语言"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        with translation.override(options["language"] or settings.LANGUAGE_CODE):
            self.move(_app_id(options["appid"]), **options)

    def move(self, app_id: str, **options: Any) -> None:
        raise NotImplementedError


def _app_id(given: str | None) -> str:
    """Return the mini-program that is meant. Raises CommandError."""
    known = list(settings.WECHAT_APPS)
    if not known:
        raise CommandError("Set WECHAT_APPS first. 请先设置 WECHAT_APPS。")
    if given is None and len(known) == 1:
        return str(known[0])
    if given not in known:
        raise CommandError(gettext("Say which: --appid %(known)s") % {"known": " | ".join(known)})
    return given
