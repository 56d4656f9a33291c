"""Which mini-program an operator looks at, where several are configured: chosen once a session."""

from django.conf import settings
from django.http import HttpRequest

SESSION_KEY = "mini_program"


def mini_programs() -> list[str]:
    """Those to choose between; none where there is only one."""
    found = list(settings.WECHAT_APPS)
    return found if len(found) > 1 else []


def chosen_app(request: HttpRequest) -> str:
    """The appid that lists keep to; "" for all."""
    chosen = str(request.session.get(SESSION_KEY, ""))
    return chosen if chosen in mini_programs() else ""
