import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.erasures import UnreadableKey, entries_in, erase_again, learn
from accounts.models import Consent
from audit.actors import Actor

STANDARD_INPUT = "-"


class Command(BaseCommand):
    help = (
        "Erases those in the list of erasures again, after an older database was restored: "
        "docs/backup.md says when. 数据库恢复之后，再次删除名单上的成员。"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "files",
            nargs="*",
            metavar="FILE",
            help="saved lists, or logs, which count as well; - is the standard input 名单或日志",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            news = learn(entries_in(_lines(options["files"])))
            done = erase_again()
        except OSError as error:
            raise CommandError(str(error)) from error
        except UnreadableKey:
            raise CommandError(
                "The key of the list does not open: put the FIELD_KEYS of this database into the "
                "settings. 名单的密钥无法解开：请在配置中填入该数据库原有的 FIELD_KEYS。"
            ) from None
        people = done.pop("", 0)
        details: dict[str, Any] = {"entries": news, "people": people, **done}
        Actor(None).record("erase_again", "wechatuser", **details)
        self.stdout.write(f"entries that were new here 新增名单条目: {news}")
        self.stdout.write(f"people erased again 再次删除的成员: {people}")
        for purpose in Consent.Purpose.values:
            if done[purpose]:
                self.stdout.write(f"{purpose} withdrawn again 再次撤回: {done[purpose]}")


def _lines(files: list[str]) -> Iterator[str]:
    for name in files:
        if name == STANDARD_INPUT:
            yield from sys.stdin
        else:
            with Path(name).open(encoding="utf-8", errors="replace") as file:
                yield from file
