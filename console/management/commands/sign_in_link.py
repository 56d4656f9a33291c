from typing import Any

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group as Role
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from audit.actors import Actor
from core.serializers import known_origins

from ...admin.operators import NAME_TAKEN
from ...roles import ROLES
from ...sign_in import sign_in_path

SUPERUSER = "superuser"


def known_address() -> str:
    """Return the address of the site as operators know it, as far as settings tell."""
    is_behind_proxy = settings.NUM_PROXIES and not settings.DEBUG
    known = known_origins() if settings.PUBLIC_URL or is_behind_proxy else []
    return known[0] if known else "http://127.0.0.1:8000"


class Command(BaseCommand):
    help = (
        "Prints a one-time sign-in link for an operator, instead of a password. Where there is no "
        "operator of that name, one is made: the first of a site as a superuser, others with "
        "--role. 生成管理员的一次性登录链接；没有该管理员时创建。"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--base-url", default=known_address(), help="default %(default)s")
        parser.add_argument(
            "--role", choices=[*ROLES, SUPERUSER], help="of an operator who is made now"
        )

    def handle(
        self, *args: Any, username: str, base_url: str, role: str | None = None, **options: Any
    ) -> None:
        operator = User.objects.filter(username=username).first()
        if operator is None:
            operator = self.make(username, role)
        elif role:
            raise CommandError(
                f"There is a user called {username}; roles are changed in the console. "
                f"用户 {username} 已存在，请在管理后台修改角色。"
            )
        if not (operator.is_staff and operator.is_active):
            raise CommandError(
                f"{username} is not an active operator. Let one in the console change that. "
                f"{username} 不是有效的管理员，请由其他管理员在后台启用。"
            )
        self.stdout.write(base_url.rstrip("/") + sign_in_path(operator))

    def make(self, username: str, role: str | None) -> User:
        """Make an operator without a password. Raises CommandError."""
        if not (role or User.objects.filter(is_staff=True, is_active=True).exists()):
            role = SUPERUSER
        if role is None:
            raise CommandError(
                f"No operator is called {username}. To make one, add --role. "
                f"没有名为 {username} 的管理员；如需创建，请加 --role: "
                f"{', '.join([*ROLES, SUPERUSER])}"
            )
        operator = User(
            username=username,
            password=make_password(None),
            is_staff=True,
            is_superuser=role == SUPERUSER,
        )
        try:
            if User.objects.filter(username__iexact=username).exists():
                raise ValidationError(NAME_TAKEN)
            operator.full_clean()
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        with transaction.atomic():
            operator.save()
            if role != SUPERUSER:
                operator.groups.add(Role.objects.get(name=role))
            Actor(None).record("add", operator, given=[role])
        self.stderr.write(f"Made {username}, {role}. 已创建 {username}（{role}）。")
        return operator
