"""Change names and avatars, give consent, read and erase everything held about me."""

from urllib.parse import urlsplit

from ..stage import GREEN, RED, YELLOW, Person, Stage, picture
from .entry import GARBAGE

RISKY, DOUBTFUL, ALSO_DOUBTFUL = "违规小店", "存疑小店", "存疑大店"
TEXTS, PICTURES, TOKEN = "/wxa/msg_sec_check", "/wxa/media_check_async", "/cgi-bin/stable_token"


def family_of(stage: Stage, *people: Person) -> str:
    for person in people:
        person.enter("family")
    return stage.chat("family")


def names_of_mine(stage: Stage) -> None:
    stage.at("2026-11-18 12:00")
    alice, bob = stage.person("alice"), stage.person("bob", "李雷")
    family = family_of(stage, alice, bob)
    ranking, mine = f"groups/{family}/ranking", f"groups/{family}/membership"

    stage.title("A first name, and names that are cleaned")
    for name in ("小明", "  小  明\n", "a\u200bb\u202ec", "👩‍👩‍👧‍👦", "<b>x</b>", "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A"):
        alice.put("me", {"nickname": name})
    alice.put("me", {"nickname": "小明"})

    stage.title("Invalid names")
    for body in (
        {},
        {"nickname": ""},
        {"nickname": " \u200b"},
        {"nickname": "x" * 33},
        {"nickname": "x" * 5000},
        {"nickname": 5},
        {"nickname": None},
        {"nickname": "x", "hat": 1},
        {"nickname": RISKY},
        None,
    ):
        alice.put("me", body)
    alice.get("me")

    stage.title("A doubtful name waits: its owner alone sees it")
    alice.put("me", {"nickname": DOUBTFUL})
    alice.get("me")
    alice.get(ranking)
    bob.get(ranking)
    bob.get(f"groups/{family}")

    stage.title("Refused, then another one, approved")
    stage.operator.decide("refuse")
    alice.get("me")
    alice.put("me", {"nickname": ALSO_DOUBTFUL})
    stage.operator.decide("approve")
    alice.get("me")
    bob.get(ranking)

    stage.title("A name in this group")
    for alias in ("三班小明", RISKY, DOUBTFUL):
        alice.put(mine, {"alias": alias})
    bob.get(ranking)
    alice.get(ranking)
    stage.operator.decide("approve")
    bob.get(ranking)
    bob.get(f"groups/{family}")
    for body in (
        {"alias": " \u200b"},
        {"alias": "x" * 33},
        {"alias": 5},
        {"alias": None},
        {"alias": RISKY, "hidden": True},
        {"alias": ""},
        {"alias": "小明 ", "hidden": False},
    ):
        alice.put(mine, body)

    stage.title("Reset by an operator")
    stage.operator.do_to_membership("reset_alias", alice, family)
    stage.operator.do_to_person("reset_nickname", alice)
    alice.get("me")
    alice.get(ranking)
    bob.get(ranking)

    stage.title("While WeChat is away; and for a member WeChat has not seen lately")
    for errcode in (-1, 45009, 40001, 45011, 40226):
        stage.fault(TEXTS, times=4, errcode=errcode)
        alice.put("me", {"nickname": "新名字"})
        stage.fault(TEXTS, times=0)
    stage.fault(TEXTS, times=2, body='{"errcode": 0, "result": {}}')
    alice.put("me", {"nickname": "新名字"})
    stage.fault(TEXTS, errcode=61010)
    alice.put("me", {"nickname": "新名字"})
    stage.later(hours=3)
    bob.put("me", {"nickname": "很久以后"})
    stage.settings.CONTENT_SAFETY = False
    alice.put("me", {"nickname": RISKY})


def avatars(stage: Stage) -> None:
    stage.at("2026-11-18 12:00")
    alice, bob = stage.person("alice", "小明"), stage.person("bob", "李雷")
    ranking = f"groups/{family_of(stage, alice, bob)}/ranking"

    stage.title("A drawn one, and a first picture that waits")
    drawn = urlsplit(alice.get("me").json()["avatar"]).path
    stage.visitor.get(drawn)
    sent = urlsplit(alice.send_avatar(GREEN).json()["avatar"]).path
    stage.visitor.get(sent)
    stage.visitor.get(sent.replace("-192", "-96"))
    stage.visitor.get(sent.replace("-192", "-48"))
    stage.visitor.get("/media/avatars/x.webp")
    stage.visitor.get("/avatars/x.webp")
    stage.visitor.ask("POST", drawn)
    bob.get(ranking)

    stage.title("Passed; then a risky one; then a doubtful one, which an operator refuses")
    stage.verdict(alice, "pass")
    alice.get("me")
    bob.get(ranking)
    alice.send_avatar(RED)
    stage.verdict(alice, "risky", 20006)
    alice.get("me")
    alice.send_avatar(YELLOW)
    stage.verdict(alice, "review", 21000, xml=True)
    alice.get("me")
    stage.operator.decide("refuse")
    alice.get("me")
    bob.get(ranking)
    stage.operator.do_to_person("reset_avatar", alice)
    alice.get("me")

    stage.title("A second draft replaces the first, whose verdict counts no more")
    alice.send_avatar(YELLOW)
    alice.send_avatar(GREEN)
    stage.verdict(alice, "pass")
    alice.get("me")

    stage.title("Invalid pictures")
    for name, form in {
        "svg": {"avatar": b"<svg onload=alert(1)>"},
        "an empty file": {"avatar": b""},
        "text": {"avatar": "text"},
        "another name": {"file": picture()},
        "an unknown field": {"avatar": picture(), "hat": "x"},
        "nothing": {},
        "a GIF": {"avatar": picture(kind="GIF")},
        "too many pixels": {"avatar": picture(size=9000)},
        "2 MiB and a byte": {"avatar": b"\xff\xd8\xff" + bytes(2 * 1024 * 1024 - 2)},
        "10 MiB": {"avatar": bytes(10 * 1024 * 1024)},
    }.items():
        alice.post("me/avatar", data=form, says=f"<{name}>")
    alice.post("me/avatar", {"avatar": "x"})
    form = "multipart/form-data; boundary=x"
    alice.post("me/avatar", data=b"--x\r\nContent-Disp", kind=form, says="<a form cut short>")
    alice.post("me/avatar", data=b"x", kind="multipart/form-data", says="<without a boundary>")
    for kind in ("JPEG", "WEBP"):
        alice.post("me/avatar", data={"avatar": picture(kind=kind)}, says=f"<a {kind}>")

    stage.title("While WeChat or the storage is away")
    for errcode in (-1, 45009, 45011):
        stage.fault(PICTURES, times=4, errcode=errcode)
        bob.post("me/avatar", data={"avatar": picture()}, says="<a green picture>")
        stage.fault(PICTURES, times=0)
    stage.fault(PICTURES, errcode=61010)
    bob.send_avatar()
    root = stage.settings.MEDIA_ROOT
    (root / "a file").write_text("in the way")
    stage.settings.MEDIA_ROOT = root / "a file"
    bob.send_avatar()
    stage.settings.MEDIA_ROOT, stage.settings.CONTENT_SAFETY = root, False
    bob.send_avatar(RED)


def consents(stage: Stage) -> None:
    stage.at("2026-11-18 12:00")
    alice = stage.person("alice")
    alice.post("me/consent", {"purposes": ["nickname", "groups"], "version": "1"})
    alice.post("me/consent", {"purposes": ["nickname", "avatar"], "version": "1"})
    alice.post("me/consent", {"purposes": ["nickname"], "version": "2026-11"})
    for body in (
        {},
        {"purposes": [], "version": "1"},
        {"purposes": "nickname", "version": "1"},
        {"purposes": ["hat"], "version": "1"},
        {"purposes": ["nickname", 5, None], "version": "1"},
        {"purposes": ["nickname"] * 11, "version": "1"},
        {"purposes": ["nickname"]},
        {"purposes": ["nickname"], "version": ""},
        {"purposes": ["nickname"], "version": 1},
        {"purposes": ["nickname"], "version": "x" * 33},
        {"purposes": ["nickname"], "version": "1", "hat": 1},
    ):
        alice.post("me/consent", body)
    alice.post("me/consent", {"purposes": ["nickname"], "version": "1"})

    stage.title("Consents withdrawn")
    alice.put("me", {"nickname": "小明"})
    alice.enter("family")
    alice.get("me/consent")
    for purpose in ("hat", "nickname", "nickname", "groups", "avatar"):
        alice.delete(f"me/consent/{purpose}")
    alice.ask("DELETE", "me/consent/avatar", {"hat": 1})
    alice.get("me")
    alice.get("groups")


def my_data(stage: Stage) -> None:
    """Read everything held about a member with a row of each kind."""
    stage.at("2026-11-16 09:00")
    operator = stage.operator
    operator.make_board("points", "积分", "Points", scope="app", decimals="2", unit_zh="分")
    operator.make_board("steps", "步数", "Steps", policy="sum", unit_zh="步", unit_en="steps")
    alice, bob, server = stage.person("alice", "小明"), stage.person("bob"), stage.server()
    family = family_of(stage, alice, bob)
    bob.enter("school")
    alice.get("me/data")
    bob.get("me/data")

    alice.post("me/consent", {"purposes": ["nickname", "groups"], "version": "1"})
    alice.send_avatar(GREEN)
    stage.verdict(alice, "pass")
    stage.at("2026-11-18 12:00")
    operator = stage.operator
    operator.watch(alice)
    alice.log_in()
    alice.enter("school")
    alice.enter("club")
    alice.post("groups/bind", GARBAGE)
    alice.score("points", 1250, idempotencyKey="a")
    alice.score("steps", 7000, "family")
    item = {"openid": alice.openid, "board": "steps", "value": 500, "openGId": family}
    server.post("server/scores", {"scores": [{**item, "idempotencyKey": "a"}]})
    operator.correct_score(alice, "steps", "2026-11", 7499)
    alice.put("me", {"nickname": DOUBTFUL})
    alice.send_avatar(YELLOW)
    alice.put(f"groups/{family}/membership", {"alias": DOUBTFUL, "hidden": True})
    alice.delete(f"groups/{stage.chat('club')}/membership")
    operator.do_to_membership("hide", alice, stage.chat("school"))
    alice.get("me/data")

    stage.title("Of a blocked member, and after a membership lapsed")
    operator.do_to_person("block", alice)
    alice.get("me/data")
    alice.get("me")
    operator.do_to_person("unblock", alice)
    stage.at("2026-12-25 12:00")
    alice.log_in()
    alice.get("me/data")
    alice.get("groups")


def erasure(stage: Stage) -> None:
    stage.at("2026-11-18 12:00")
    alice, bob = stage.person("alice", "小明"), stage.person("bob", "李雷")
    family = family_of(stage, alice, bob)
    ranking = f"groups/{family}/ranking"
    alice.delete("me", data=b'{"foo": 1}', says={"foo": 1})
    bob.get(ranking)
    alice.delete("me")
    alice.get("me")
    alice.delete("me")
    bob.get(ranking)
    bob.get(f"groups/{family}")

    stage.title("A member who comes back is a new one")
    again = stage.phone("alice").log_in()
    again.get("me")
    again.get("groups")
    again.get("me/data")

    stage.title("A block outlives an erasure")
    stage.operator.do_to_person("block", bob)
    bob.delete("me")
    code = bob.code()
    stage.visitor.post("login", {"code": code})

    stage.title("And so does a lock")
    with stage.off_the_record():
        for _time in range(10):
            assert again.post("groups/bind", GARBAGE, twice=False).status_code == 409
    again.delete("me")
    third = stage.phone("alice").log_in()
    third.post("groups/bind", third.share_info("family"))
    stage.later(hours=1)
    third.post("groups/bind", third.share_info("family"))
    stage.later(days=1)
    stage.operator.do_to_person("erase", third)
    third.get("me")
