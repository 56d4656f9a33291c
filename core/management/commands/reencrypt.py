from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import translation
from django.utils.translation import gettext, ngettext

from core.progress import ProgressBar, print_table
from core.reencryption import NO_KEY, Reencryption, SecretColumn, encrypted_fields
from core.vault import InvalidFieldKey, ciphers


class Command(BaseCommand):
    help = (
        "Encrypts stored secrets again with the first of FIELD_KEYS, so that the others can be "
        "removed; run again, it goes on where it was ended. docs/keys.md. "
        "用 FIELD_KEYS 的第一个密钥重新加密已保存的密文，之后即可移除其余密钥；"
        "中断后再次运行即可继续。"
    )
    # One of them is that the keys fit the database, which this command puts right.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--dry-run", action="store_true", help="count, and write nothing 只统计，不写入"
        )
        parser.add_argument(
            "--clear-lost",
            action="store_true",
            help="clear what no key opens, once its key is lost 密钥丢失后，清除无法解密的密文",
        )
        languages = [code for code, _name in settings.LANGUAGES]
        parser.add_argument("--language", choices=languages, help="语言")

    def handle(self, *args: Any, **options: Any) -> None:
        with translation.override(options["language"] or settings.LANGUAGE_CODE):
            self.reencrypt(options["dry_run"], options["clear_lost"])

    def reencrypt(self, dry: bool, clear: bool) -> None:
        try:
            if not ciphers():
                raise InvalidFieldKey(gettext("FIELD_KEYS is empty."))
        except InvalidFieldKey as error:
            raise CommandError(str(error)) from error
        columns = []
        for model, fields in encrypted_fields().items():
            progress = ProgressBar(self.stdout, model._meta.db_table)
            columns += Reencryption(model, fields, dry=dry, clear=clear).run(progress)
            progress.end()
        self.report(columns, dry, clear)

    def report(self, columns: Sequence[SecretColumn], dry: bool, clear: bool) -> None:
        """Say what was found and done. Raises CommandError where a value does not open."""
        places = range(1, len(settings.FIELD_KEYS) + 1)
        titles = [gettext("key %(place)d") % {"place": place} for place in places]
        print_table(
            self.stdout,
            [gettext("column"), *titles, gettext("no key")],
            [[str(each), *(each.by_key[place] for place in (*places, NO_KEY))] for each in columns],
            texts=1,
        )
        if dry:
            self.stdout.write(gettext("Dry run: nothing is written."))
        else:
            self.say_written(columns)
        lost = [] if clear and not dry else [each for each in columns if each.by_key[NO_KEY]]
        for each in lost:
            count = each.by_key[NO_KEY]
            sentence = ngettext(
                "%(column)s: no key of FIELD_KEYS opens %(count)d value.",
                "%(column)s: no key of FIELD_KEYS opens %(count)d values.",
                count,
            ) % {"column": each, "count": count}
            self.stderr.write(f"{sentence} {each.field.if_lost}")
        if lost:
            raise CommandError(
                gettext(
                    "Put the key with which they were encrypted at the end of FIELD_KEYS, and run "
                    "this again. If it is lost, clear them with --clear-lost."
                )
            )
        others = sum(each.by_key[place] for each in columns for place in places[1:])
        if places[1:] and not (dry and others):
            self.stdout.write(
                gettext(
                    "Only the first key is needed. Once every server has it in front, remove the "
                    "others from FIELD_KEYS: docs/keys.md"
                )
            )

    def say_written(self, columns: Sequence[SecretColumn]) -> None:
        again = sum(each.renewed for each in columns)
        self.stdout.write(
            ngettext(
                "%(count)d value is encrypted again with the first key.",
                "%(count)d values are encrypted again with the first key.",
                again,
            )
            % {"count": again}
        )
        if cleared := sum(each.cleared for each in columns):
            self.stdout.write(
                ngettext(
                    "%(count)d value that no key opens is cleared.",
                    "%(count)d values that no key opens are cleared.",
                    cleared,
                )
                % {"count": cleared}
            )
