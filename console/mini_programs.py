"""Which mini-program an operator looks at, where several are configured: chosen once a session."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from .access import operators_only
from .redirects import next_url

SESSION_KEY = "mini_program"


def mini_programs() -> list[str]:
    """Return the appids to choose between; none where there is only one."""
    found = list(settings.WECHAT_APPS)
    return found if len(found) > 1 else []


def chosen_app(request: HttpRequest) -> str:
    """Return the appid that lists keep to; "" for all."""
    chosen = str(request.session.get(SESSION_KEY, ""))
    return chosen if chosen in mini_programs() else ""


def app_choices() -> list[tuple[str, str]]:
    """Return the configured mini-programs as choices of a form."""
    return [(app_id, app_id) for app_id in settings.WECHAT_APPS]


@operators_only()
def choose_app(request: HttpRequest) -> HttpResponse:
    """Keep the console's lists to one mini-program, or show all of them again."""
    if request.method != "POST":  # after signing in again, one comes back with a GET
        return HttpResponseRedirect(reverse("admin:index"))
    app_id = request.POST.get("mini_program", "")
    if app_id in ["", *mini_programs()] and app_id != chosen_app(request):
        request.session[SESSION_KEY] = app_id
    return HttpResponseRedirect(next_url(request) or reverse("admin:index"))
