from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from groups.retention import RULES


class Command(BaseCommand):
    help = (
        "Deletes what has been kept for as long as docs/privacy.md says; to be run once a day. "
        "删除已过保留期的数据，建议每天运行一次。"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("rules", nargs="*", help=f"{', '.join(RULES)}; all, if none is named")
        parser.add_argument("--dry-run", action="store_true", help="count, and delete nothing")

    def handle(self, *args: Any, rules: list[str], dry_run: bool, **options: Any) -> None:
        if unknown := set(rules) - set(RULES):
            raise CommandError(
                f"Unknown 未知: {', '.join(sorted(unknown))}. Use: {', '.join(RULES)}"
            )
        now = timezone.now()
        for name in rules or RULES:
            total = RULES[name].count(now)
            if dry_run:
                self.stdout.write(f"{name}: {total} would go")
                continue
            done = 0
            for gone in RULES[name].purge(now):
                done += gone
                self.progress(f"{name}: {done}/{total}")
            self.stdout.write(f"{name}: {done} gone")

    def progress(self, text: str) -> None:
        self.stdout.write(text, ending="\r" if self.stdout.isatty() else "\n")
        self.stdout.flush()
