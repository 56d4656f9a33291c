"""Files that verify a web-view's domain: entered in the console, served at the root."""

from typing import Any

import pytest
from django.test import Client as Browser

from audit.models import AuditEvent
from groups.models import VerificationFile
from tests.cast import browser_of

pytestmark = pytest.mark.django_db

ADD = "/admin/groups/verificationfile/add/"
NAME, CONTENT = "MP_verify_a1B2-c3.txt", "a1B2c3D4e5F6g7H8"


def enter(browser: Browser, name: str = NAME, content: str = CONTENT) -> Any:
    return browser.post(ADD, {"name": name, "content": content})


def test_a_file_is_served_as_soon_as_an_operator_enters_it(olga: Browser) -> None:
    assert Browser().get(f"/{NAME}").status_code == 404
    assert enter(olga).status_code == 302
    answer = Browser().get(f"/{NAME}")
    assert (answer.status_code, answer.content.decode()) == (200, CONTENT)
    assert answer["Content-Type"] == "text/plain; charset=utf-8"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Cache-Control"] == "public, max-age=300"
    assert not answer.cookies


def test_a_file_can_only_be_read(olga: Browser) -> None:
    enter(olga)
    assert Browser().head(f"/{NAME}").status_code == 200
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert olga.generic(method, f"/{NAME}").status_code == 405


@pytest.mark.parametrize(
    "path", ["/other.txt", f"/{NAME.lower()}", f"/x/{NAME}", f"/{NAME}/", "/.txt", "/a.b.txt"]
)
def test_another_name_is_not_found(olga: Browser, path: str) -> None:
    enter(olga)
    assert Browser().get(path).status_code == 404


@pytest.mark.parametrize(
    "name",
    ["", "x", "x.html", ".txt", "a/b.txt", "../x.txt", "a b.txt", "群.txt", "x" * 65 + ".txt"],
)
def test_a_name_that_wechat_does_not_use_is_refused(olga: Browser, name: str) -> None:
    answer = enter(olga, name=name)
    assert set(answer.context["adminform"].form.errors) == {"name"}
    assert not VerificationFile.objects.exists()


@pytest.mark.parametrize("content", ["", "x" * 129, "两行", "a\nb", "a\x7f"])
def test_content_that_wechat_does_not_use_is_refused(olga: Browser, content: str) -> None:
    answer = enter(olga, content=content)
    assert set(answer.context["adminform"].form.errors) == {"content"}
    assert not VerificationFile.objects.exists()


def test_the_longest_name_and_content_are_served(olga: Browser) -> None:
    name, content = "x" * 64 + ".txt", "~" * 128
    assert enter(olga, name, content).status_code == 302
    assert Browser().get(f"/{name}").content.decode() == content


def test_a_name_is_unique(olga: Browser) -> None:
    enter(olga)
    assert set(enter(olga).context["adminform"].form.errors) == {"name"}


@pytest.mark.parametrize(
    ("role", "status"), [("viewer", 403), ("moderator", 403), ("manager", 302)]
)
def test_files_are_entered_by_managers_only(role: str, status: int) -> None:
    assert enter(browser_of(role)).status_code == status


def test_adding_and_deleting_a_file_is_audited(olga: Browser) -> None:
    enter(olga)
    row = VerificationFile.objects.get()
    delete = f"/admin/groups/verificationfile/{row.pk}/delete/"
    for reason in ("", " "):
        olga.post(delete, {"post": "yes", "reason": reason})
        assert Browser().get(f"/{NAME}").status_code == 200
    olga.post(delete, {"post": "yes", "reason": "过期"})
    assert Browser().get(f"/{NAME}").status_code == 404
    assert AuditEvent.objects.get(action="delete").reason == "过期"
    events = AuditEvent.objects.filter(target="verificationfile").order_by("pk")
    assert [(event.action, event.target_id) for event in events] == [
        ("add", row.pk),
        ("delete", row.pk),
    ]
