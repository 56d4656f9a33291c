"""Every address of the site, on one page."""

from urllib.parse import urlsplit

from django.conf import settings
from django.contrib import admin
from django.urls import include, path, re_path, register_converter
from django.views.i18n import set_language

from accounts import api as accounts
from accounts.avatars.storage import SMALL
from accounts.views import avatar_view, default_avatar_view, wechat_push
from audit.api import DiagnosticsView
from console import exports, integration, totp
from console.access import operators_only
from console.account import account
from console.action_page import action_page
from console.group_page import group_page
from console.groups import group_list, label_groups
from console.mini_programs import choose_app
from console.openids import show_openid
from console.review_page import review_queue
from console.sign_in import sign_in
from groups import api as groups
from groups import server_api as server
from groups.views import member_page, verification_file
from wechat.crypto import OPAQUE_ID

from . import documents, monitoring, views


class OpaqueIdConverter:
    regex = OPAQUE_ID.pattern

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


register_converter(OpaqueIdConverter, "opaque")

MEDIA = urlsplit(settings.MEDIA_URL).path.lstrip("/")  # also where a CDN asks us for it

api = [
    path("login", accounts.LoginView.as_view()),
    path("logout", accounts.LogoutView.as_view()),
    path("me", accounts.MeView.as_view()),
    path("me/avatar", accounts.AvatarView.as_view()),
    path("me/consent", accounts.ConsentView.as_view()),
    path("me/consent/<slug:purpose>", accounts.OneConsentView.as_view()),
    path("me/data", groups.MyDataView.as_view()),
    path("groups", groups.GroupsView.as_view()),
    path("groups/resolve", groups.ResolveView.as_view()),
    path("groups/bind", groups.BindView.as_view()),
    path("groups/<opaque:openGId>", groups.OneGroupView.as_view()),
    path("groups/<opaque:openGId>/membership", groups.MembershipView.as_view()),
    path("groups/<opaque:openGId>/ranking", groups.RankingView.as_view()),
    path("groups/<opaque:openGId>/ranking/around", groups.AroundView.as_view()),
    path("groups/<opaque:openGId>/link", groups.LinkView.as_view()),
    path("groups/<opaque:openGId>/reports", groups.ReportsView.as_view()),
    path("diagnostics", DiagnosticsView.as_view()),
    path("boards", groups.BoardsView.as_view()),
    path("scores", groups.ScoresView.as_view()),
    path("server/scores", server.ServerScoresView.as_view()),
    path("server/sessions", server.ServerSessionsView.as_view()),
    path("server/users", server.ServerUsersView.as_view()),
    path("server/users/<opaque:openid>/groups", server.ServerGroupsView.as_view()),
    path("server/groups/<opaque:openGId>/ranking", server.ServerRankingView.as_view()),
    path("server/groups/<opaque:openGId>/winners", server.WinnersView.as_view()),
]

urlpatterns = [
    path("api/v1/", include(api)),
    path("api/schema/", views.schema, name="schema"),
    path("api/docs/", views.docs, name="docs"),
    re_path(r"^api/", views.ApiNotFoundView.as_view()),
    path("groups/", group_list, name="group-list"),
    path("groups/labels/", label_groups, name="group-labels"),
    path("groups/<int:pk>/", group_page, name="group-page"),
    path("g/<str:signed>/", member_page, name="member-page"),
    path("avatars/<slug:signed>.webp", default_avatar_view, name="default-avatar"),
    path(
        f"avatars/{SMALL}/<slug:signed>.webp",
        default_avatar_view,
        {"size": SMALL},
        name="small-default-avatar",
    ),
    path(f"{MEDIA}avatars/<slug:name>.webp", avatar_view),
    path("wechat/push/<opaque:appid>", wechat_push),  # as WeChat's console was given it
    path("wechat/push/<opaque:appid>/", wechat_push),
    path("sign-in/<int:pk>/<str:token>/", sign_in, name="sign-in"),
    path("admin/account/", account, name="console-account"),
    path("admin/language/", operators_only()(set_language), name="console-language"),
    path("admin/mini-program/", choose_app, name="console-mini-program"),
    path("admin/openid/<int:pk>/", show_openid, name="console-openid"),
    path("admin/act/<slug:key>/<int:pk>/", action_page, name="console-act"),
    path("admin/export/", exports.index, name="export-index"),
    path("admin/export/<slug:what>/", exports.choose, name="export-choose"),
    path("admin/export/<slug:what>.<slug:form>", exports.export, name="export"),
    path(
        "admin/export/ranking/<int:pk>.<slug:form>", exports.export_ranking, name="export-ranking"
    ),
    path("admin/otp/", totp.second_factor, name="console-otp"),
    path("admin/review/", review_queue, name="review-queue"),
    path("admin/check/", integration.check, name="check"),
    path("admin/check/live/", integration.live, name="check-live"),
    path("admin/check/watch/", integration.watch, name="check-watch"),
    path("admin/check/credentials/", integration.credentials, name="check-credentials"),
    path("admin/", admin.site.urls),
    path("livez", views.livez),
    path("readyz", views.readyz),
    path("metrics", monitoring.metrics),
    path("favicon.ico", views.favicon),
    path("", views.home),
    path("llms.txt", documents.llms_txt),
    path("<path:name>.md", documents.markdown),
    path("<slug:name>.txt", verification_file),
]
