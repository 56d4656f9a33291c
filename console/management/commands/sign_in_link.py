from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ...sign_in import sign_in_path


class Command(BaseCommand):
    help = "Prints a one-time sign-in link for an operator, instead of a password."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--base-url", default="http://127.0.0.1:8000")

    def handle(self, *args: Any, username: str, base_url: str, **options: Any) -> None:
        try:
            operator = User.objects.get(username=username, is_staff=True, is_active=True)
        except User.DoesNotExist:
            raise CommandError(
                f"No active operator is called {username}. Make one with createsuperuser. "
                f"没有名为 {username} 的管理员，请先用 createsuperuser 创建。"
            ) from None
        self.stdout.write(base_url.rstrip("/") + sign_in_path(operator))
