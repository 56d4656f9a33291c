from datetime import timedelta
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.erasures import ERASURES_KEPT
from groupsite.backups import KEPT, alone_in, back_up, save_list
from groupsite.dumps import BackupFailure


class Command(BaseCommand):
    help = (
        "Backs up the database, the pictures, the keys and the list of erasures into a folder; "
        "docs/backup.md says what is promised. 备份数据库、图片、密钥与删除名单。"
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", metavar="FOLDER", type=Path, help="文件夹")
        parser.add_argument(
            "--keep",
            type=int,
            default=KEPT.days,
            metavar="DAYS",
            help=f"delete those that are older, 1 to {ERASURES_KEPT.days} 保留天数",
        )
        parser.add_argument(
            "--erasures",
            action="store_true",
            help="save the list of erasures alone, as often as every few minutes 只保存删除名单",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        folder: Path = options["folder"].absolute()
        if not 1 <= options["keep"] <= ERASURES_KEPT.days:
            raise CommandError(f"--keep: 1 to 到 {ERASURES_KEPT.days}")
        try:
            if options["erasures"]:
                with alone_in(folder):
                    self.stdout.write(f"{save_list(folder)} entries 条")
            else:
                back_up(folder, self.stdout.write, timedelta(days=options["keep"]))
        except (BackupFailure, OSError) as error:
            raise CommandError(str(error)) from error
