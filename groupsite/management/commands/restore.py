from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from groupsite.backups import restore
from groupsite.dumps import BackupFailure


class Command(BaseCommand):
    help = (
        "Puts a backup in the place of the database; the site has to be stopped. docs/backup.md "
        "leads through it. 用备份替换数据库，须先停止站点。"
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("backup", metavar="BACKUP", type=Path, help="备份的文件夹")
        parser.add_argument(
            "--lost",
            action="store_true",
            help="what is there is lost: do not back it up before 现有数据已损坏，不再备份",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            restore(options["backup"].absolute(), self.stdout.write, lost=options["lost"])
        except (BackupFailure, OSError) as error:
            raise CommandError(str(error)) from error
