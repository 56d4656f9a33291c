from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from audit.actors import Actor
from console.models import SecondFactor
from console.sessions import end_other_sessions


class Command(BaseCommand):
    help = (
        "Takes an operator's second factor away and ends their sessions: the next sign-in sets up "
        "a new one."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")

    def handle(self, *args: Any, username: str, **options: Any) -> None:
        factor = SecondFactor.objects.filter(user__username=username).first()
        if factor is None:
            raise CommandError(
                f"No operator called {username} has a second factor. "
                f"管理员 {username} 不存在或未设置两步验证。"
            )
        with transaction.atomic():
            operator = User.objects.get(username=username)
            Actor(None).record("reset_totp", operator)
            factor.delete()
            # Or who has one of them could set up the next phone.
            end_other_sessions(operator, None)
        self.stdout.write("The next sign-in sets up a new one. 下次登录时将重新设置。")
