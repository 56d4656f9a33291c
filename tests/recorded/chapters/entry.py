"""Log in and out, prove a group, enter it; and check what comes before every call."""

from typing import Any

from tests.settings import APP_ID, OTHER_APP_ID

from ..stage import SESSION_KEY, Caller, Person, Stage

GARBAGE = {"encryptedData": "A" * 43 + "=", "iv": "A" * 22 + "=="}
CODE2SESSION = "/sns/jscode2session"

NO_GROUP, NO_USER = "tG-some-group", "o-some-user"


def routes(open_gid: str = NO_GROUP, openid: str = NO_USER) -> dict[str, str]:
    """Return every call with its methods."""
    return {
        "login": "POST",
        "logout": "POST",
        "me": "GET PUT DELETE",
        "me/avatar": "POST",
        "me/consent": "GET POST",
        "me/consent/avatar": "DELETE",
        "me/data": "GET",
        "groups": "GET",
        "groups/resolve": "POST",
        "groups/bind": "POST",
        f"groups/{open_gid}": "GET",
        f"groups/{open_gid}/membership": "PUT DELETE",
        f"groups/{open_gid}/ranking": "GET",
        f"groups/{open_gid}/ranking/around": "GET",
        f"groups/{open_gid}/link": "POST",
        f"groups/{open_gid}/reports": "POST",
        "diagnostics": "POST",
        "boards": "GET",
        "scores": "POST",
        "server/scores": "POST",
        "server/sessions": "POST",
        "server/users": "POST",
        f"server/users/{openid}/groups": "GET",
        f"server/groups/{open_gid}/ranking": "GET",
        f"server/groups/{open_gid}/winners": "GET",
    }


def log_in(stage: Stage) -> None:
    stage.at("2026-11-18 12:00")
    visitor, alice = stage.visitor, stage.phone("alice")

    stage.title("A first visit, a second one, and who I am")
    alice.log_in()
    first = alice.token
    alice.get("me")
    alice.token = ""
    alice.log_in(errMsg="login:ok")
    alice.get("me")
    alice.token = first
    alice.get("me")

    stage.title("Invalid log-ins")
    for body in (
        {},
        {"code": ""},
        {"code": "  "},
        {"code": 5},
        {"code": None},
        {"code": ["a"]},
        {"code": "a" * 513},
        {"code": "a\0b"},
        {"code": "x", "secret": "y"},
        {"code": "x", "appid": "wx0000000000000000"},
        {"code": "x", "appid": ""},
        {"code": "x", "appid": 5},
        {"code": "no-such-code"},
    ):
        visitor.post("login", body)

    stage.title("A code is good once, and for five minutes")
    code = alice.code()
    visitor.post("login", {"code": code, "appid": APP_ID})
    visitor.post("login", {"code": code})
    code = alice.code()
    stage.later(minutes=5)
    visitor.post("login", {"code": code})

    stage.title("What a phone could not do")
    visitor.post("diagnostics", {"where": "getGroupEnterInfo", "code": "not_from_group"})
    visitor.post("diagnostics", {"where": "", "code": 5, "openid": "x"})

    stage.title("Errors of WeChat")
    code = alice.code()
    for what in (
        *({"errcode": number} for number in (-1, 40013, 40125, 40164, 45009, 50002)),
        *({"errcode": number} for number in (40029, 40163, 41008, 40226, 45011)),
        *({"body": body} for body in ("", "[]", '{"openid": "oX"}')),
        {"status": 502},
        {"close": True},
    ):
        if "body" in what or "close" in what:
            code = alice.code()  # the one before is used up
        stage.fault(CODE2SESSION, times=4, **what)
        visitor.post("login", {"code": code})
        stage.fault(CODE2SESSION, times=0)

    stage.title("Logging out ends this token alone")
    other = alice.token
    alice.log_in()
    alice.ask("POST", "logout", {"foo": 1})
    alice.post("logout")
    alice.get("me")
    alice.post("logout")
    alice.token = other
    alice.get("me")

    stage.title("Logging out everywhere ends all of one's tokens")
    here = alice.log_in().token
    alice.ask("POST", "logout", {"everywhere": "yes"})
    alice.post("logout", {"everywhere": False})
    alice.log_in()
    alice.post("logout", {"everywhere": True})
    for token in (other, here, alice.token):
        alice.token = token
        alice.get("me")

    stage.title("A token is good for thirty days")
    stage.at_next("2026-11-18 15:00:00")
    dora = stage.phone("dora").log_in()
    for moment in ("2026-12-18 14:59:59", "2026-12-18 15:00:00"):
        stage.at_next(moment)
        dora.get("me")


def blocked(stage: Stage) -> None:
    """Call as a blocked member."""
    stage.at("2026-11-18 12:00")
    bob = stage.person("bob")
    stage.operator.do_to_person("block", bob)
    bob.get("me")
    code = bob.code()
    stage.visitor.post("login", {"code": code})
    bob.post("logout")
    bob.get("me/data")
    bob.get("me/consent")
    bob.delete("me/consent/avatar")
    bob.post("me/consent", {"purposes": ["avatar"], "version": "1"})
    stage.operator.do_to_person("unblock", bob)
    bob.get("me")


def doors(stage: Stage) -> None:
    """Call everything without a token, with a wrong token, and with a wrong method."""
    stage.at("2026-11-18 12:00")
    visitor, alice, server = stage.visitor, stage.person("alice"), stage.server()
    methods = ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")

    stage.title("Without a token or key")
    for path, right in routes().items():
        if path != "login":
            for method in right.split():
                visitor.ask(method, path)

    stage.title("With a wrong token or key")
    for path, right in routes().items():
        kind = "Key" if path.startswith("server/") else "Bearer"
        if path != "login":
            visitor.ask(right.split()[0], path, headers={"Authorization": f"{kind} garbage"})
    for header in ("Bearer", "Bearer ", "Basic YTpi", "bearer x", f"Bearer {server.token}"):
        visitor.get("me", headers={"Authorization": header})
    for header in (f"Bearer {alice.token}", f"Key {alice.token}", "Key ", "Key"):
        visitor.get(f"server/groups/{NO_GROUP}/ranking", headers={"Authorization": header})
    visitor.get("me", headers={"Authorization": f"bearer {alice.token}"})

    stage.title("With a wrong method")
    for path, right in routes().items():
        caller: Caller = server if path.startswith("server/") else alice
        for method in methods:
            if method not in right.split():
                caller.ask(method, path)

    stage.title("HEAD")
    for path in ("me", "groups", "boards", f"groups/{NO_GROUP}"):
        alice.ask("HEAD", path)

    stage.title("No such path")
    for path in (
        *("/api/", "/api/v1", "/api/v1/", "/api/v2/me", "/api/v1/nothing", "/api/v1/me/"),
        *("/api/v1/groups/a/b/c", "/api/v1/groups/a%2Fb", "/api/v1/groups/%E7%BE%A4", "/api/docs"),
        *("/api/v1/groups/%00", "/api/v1/groups/" + "x" * 65, "/api//v1/me", "/api/schema"),
    ):
        alice.get(path)
    visitor.post("/api/v1/nothing", {"a": 1})
    alice.get(f"groups/{NO_GROUP}")

    stage.title("Accept and Host")
    for accept in ("text/html", "image/*", "*/*", "application/json", "text/html, */*"):
        alice.get("me", headers={"Accept": accept})
    alice.get("me?format=xml")
    for path in ("/api/v1/me", "/api/nothing", "/groups/", "/g/x/"):
        alice.get(path, headers={"Host": "evil.example"})

    stage.title("Languages")
    for language in ("", "fr", "en-GB", "zh", "zh-TW", "zh-Hans-CN", "fr, en;q=0.5", "x" * 600):
        visitor.get("me", headers={"Accept-Language": language})


def bodies(stage: Stage) -> None:
    """Send bodies that are not JSON objects, of the wrong type, or too large."""
    stage.at("2026-11-18 12:00")
    visitor, alice = stage.visitor, stage.person("alice", "小明")
    for name, body in {
        "cut off": b'{"code": "x"',
        "two values": b"{}{}",
        "blank": b" ",
        "nothing": b"",
        "deep lists": b"[" * 100_000,
        "NaN": b'{"code": NaN}',
        "Infinity": b'{"code": -Infinity}',
        "1e999": b'{"code": 1e999}',
        "an endless number": b'{"code": ' + b"9" * 5000 + b"}",
        "a lone surrogate": b'{"code": "\\ud800"}',
        "not UTF-8": b'{"code": "\xff"}',
        "UTF-16": '{"code": "x"}'.encode("utf-16"),
        "a control character": b'{"code": "a\x01b"}',
        "a list": b'[{"code": "x"}]',
        "a string": b'"x"',
        "null": b"null",
        "256 KiB": b'{"hat": "red"}'.ljust(256 * 1024),
        "256 KiB and a byte": b'{"hat": "red"}'.ljust(256 * 1024 + 1),
    }.items():
        visitor.post("login", data=body, says=f"<{name}>")
    alice.post("groups/bind", data=b"[]", says="<a list>")
    alice.post("groups/bind", data=b" ".ljust(300 * 1024), says="<300 KiB>")
    alice.put("me", data=b'{"nickname": "\\ud83d\\ude00"}', says="<a pair of surrogates>")
    for kind in (
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain",
        "application/xml",
        "garbage",
        "",
        "application/json; charset=utf-8",
        "application/json; charset=gbk",
    ):
        visitor.post("login", data=b'{"code": "x"}', kind=kind, says=f"<as {kind!r}>")

    stage.title("Unknown keys")
    visitor.post("login", {"code": "x", "a": 1, "": 2, "non_field_errors": 3, "b.c": {"d": 4}})
    visitor.post("login", {f"{number:x>100}": 1 for number in range(30)})
    alice.get("groups?" + "&".join(f"a{number}=1" for number in range(1200)))
    alice.get("groups?unknown=1&cursor=&cursor=x")


def ticket_of(answer: Any, **changed: Any) -> dict[str, Any]:
    return {key: answer.json()[key] for key in ("openGId", "openid", "ticket")} | changed


def prove_and_bind(stage: Stage) -> None:
    stage.at("2026-11-18 12:00")
    alice, bob = stage.person("alice", "小明"), stage.person("bob")
    family, school = stage.chat("family"), stage.chat("school")

    stage.title("Entering with an envelope: the first time, and again")
    alice.post("groups/bind", alice.share_info("family"))
    stage.later(minutes=5)
    alice.post("groups/bind", alice.share_info("family"))
    bob.post("groups/bind", {**bob.enter_info("family"), "scene": 1044, "errMsg": "ok"})
    bob.post("groups/bind", bob.enter_info("school", watermark=False))
    bob.get("groups")
    bob.get("me/data")

    stage.title("In two steps, with a ticket")
    resolved = alice.post("groups/resolve", alice.share_info("school"))
    alice.post("groups/bind", ticket_of(resolved))
    alice.post("groups/bind", ticket_of(resolved, scene=1007))
    alice.post("groups/resolve", {**alice.enter_info("school"), "errMsg": "ok"})

    stage.title("Tickets that prove nothing")
    of_family = alice.post("groups/resolve", alice.share_info("family"))
    text = of_family.json()["ticket"]
    for body in (
        ticket_of(of_family, openGId=school),
        ticket_of(of_family, openid=bob.openid),
        ticket_of(of_family, ticket=f"{text}x"),
        ticket_of(of_family, ticket="x"),
    ):
        alice.post("groups/bind", body)
    bob.post("groups/bind", ticket_of(of_family))
    bob.post("groups/bind", ticket_of(of_family, openid=bob.openid))
    stage.at_next("2026-11-18 13:00:00")
    last = alice.post("groups/resolve", alice.share_info("family"))
    for moment in ("2026-11-18 13:05:00", "2026-11-18 13:05:01"):
        stage.at_next(moment)
        alice.post("groups/bind", ticket_of(last))

    stage.title("Bodies of neither form")
    sealed = alice.share_info("family")
    for body in (
        {},
        {"encryptedData": sealed["encryptedData"]},
        {"iv": sealed["iv"]},
        {"openGId": family},
        {"openGId": family, "openid": alice.openid},
        {"openGId": "群", "openid": 5, "ticket": ""},
        {**sealed, "openGId": family},
        {**sealed, "openGid": family},
        {**sealed, "cloudID": "x"},
        *({**sealed, "scene": scene} for scene in (-1, 65536, "1044", 1.5, True, None)),
        *({**sealed, "iv": iv} for iv in ("", "A" * 22, sealed["iv"] + " ", 5, None)),
        {**sealed, "encryptedData": sealed["encryptedData"] + "*"},
        {**sealed, "encryptedData": "QUJD"},
        {**sealed, "encryptedData": ""},
    ):
        alice.post("groups/bind", body)
        if "openGId" not in body:
            alice.post("groups/resolve", body)
    alice.post("groups/bind", {**sealed, "scene": 65535})

    stage.title("Genuine data without a group")
    alice.phone.open_single()
    single = alice.sealed(alice.phone.group_enter_info(), "alice in a chat of two")
    profile = alice.sealed(alice.phone.user_info(), "alice's profile")
    for path in ("groups/bind", "groups/resolve"):
        alice.post(path, single)
        alice.post(path, profile)

    carol = known_key(stage, "carol")
    for kind in (1, 2, 3, 4, 5, "3", "4", None):
        payload = {"opengid": family, "chat_type": kind, "group_openid": "o-of-carol-here"}
        carol.post("groups/resolve", carol.sealed_with(f"chat_type {kind!r}", payload))
    for payload in ({"opengid": ""}, {"openGId": None}, {"open_single_roomid": "r"}, {"a": 1}):
        carol.post("groups/resolve", carol.sealed_with(f"{payload}", payload))

    stage.title("A group hidden by an operator")
    stage.operator.do_to_group("hide_group", family)
    alice.post("groups/bind", alice.share_info("family"))
    alice.get(f"groups/{family}")
    alice.get("groups")
    stage.operator.do_to_group("show_group", family)
    alice.post("groups/bind", alice.share_info("family"))

    stage.title("Leaving, and coming back")
    alice.delete(f"groups/{family}/membership")
    alice.delete(f"groups/{family}/membership")
    stage.later(days=1)
    alice.post("groups/bind", alice.share_info("family"))

    stage.title("More than a hundred new groups in one day")
    dora = known_key(stage, "dora")
    with stage.off_the_record():
        for number in range(100):
            chat = {"openGId": f"tG-group-number-{number:04}"}
            assert dora.post("groups/bind", dora.sealed_with("a chat", chat)).status_code == 201
    dora.post("groups/bind", dora.sealed_with("one more", {"openGId": "tG-group-number-0100"}))
    dora.post("groups/bind", dora.sealed_with("one that is", {"openGId": "tG-group-number-0007"}))
    stage.later(days=1)
    dora.post("groups/bind", dora.sealed_with("the day after", {"openGId": "tG-group-number-0100"}))


def known_key(stage: Stage, name: str) -> Person:
    """Return a person whose session key came from a team's server, so that it is known here."""
    person = stage.phone(name)
    with stage.off_the_record():
        body = {"openid": person.openid, "sessionKey": SESSION_KEY}
        person.take(stage.server().post("server/sessions", body, of=person))
    return person


def stale_envelopes(stage: Stage) -> None:
    stage.at("2026-11-18 12:00")
    bob = stage.person("bob")
    chat = {"openGId": stage.chat("family")}
    second = int(stage.now.timestamp())

    def wrong(person: Person) -> list[dict[str, str]]:
        return [
            person.sealed_with("of another app", chat, appid=OTHER_APP_ID),
            person.sealed_with("too old", chat, timestamp=second - 301),
            person.sealed_with("of the future", chat, timestamp=second + 120),
            person.sealed_with("without a watermark", {**chat, "watermark": None}),
            person.sealed_with("with a wrong watermark", {**chat, "watermark": "x"}),
            person.sealed_with("under another key", chat, key="ZmVkY2JhOTg3NjU0MzIxMA=="),
            person.sealed_with("of an id that is none", {"openGId": "a b"}),
            bob.share_info("family"),
            GARBAGE,
        ]

    stage.title("The same answer for every reason")
    for number, body in enumerate(wrong(known_key(stage, "newcomer"))):
        dora = known_key(stage, f"dora-{number}")
        dora.post("groups/resolve" if number % 2 else "groups/bind", body)
    emil = stage.phone("emil")
    emil.take(stage.server().post("server/sessions", {"openid": emil.openid}, of=emil))
    emil.post("groups/bind", GARBAGE)

    stage.title("Where a watermark is required")
    stage.settings.WATERMARK_REQUIRED = True
    bob.post("groups/bind", bob.enter_info("family", watermark=False))
    bob.post("groups/bind", bob.enter_info("family"))

    stage.title("The previous key opens for ten minutes")
    stage.settings.WATERMARK_MAX_AGE = 3600
    stage.at_next("2026-11-18 13:00:00")
    old = bob.share_info("family")
    bob.log_in()
    for moment in ("2026-11-18 13:00:01", "2026-11-18 13:09:59", "2026-11-18 13:10:00"):
        stage.at_next(moment)
        bob.post("groups/resolve", old)

    stage.title("A watermark counts for as long as the settings say")
    stage.settings.WATERMARK_MAX_AGE = 300
    for name, second in (("gina", 0), ("hugo", 1)):
        stage.at("2026-11-18 14:00:00")
        person = known_key(stage, name)
        stage.at("2026-11-18 14:00:00")
        sealed = person.sealed_with(f"{name} at two", chat)
        stage.at_next(f"2026-11-18 14:05:0{second}")
        person.post("groups/resolve", sealed)

    stage.title("Ten failures within an hour lock")
    frank = known_key(stage, "frank")
    good = frank.post("groups/resolve", frank.sealed_with("frank in family", chat))
    with stage.off_the_record():
        for _time in range(9):
            stage.at_next("2026-11-18 15:00:00")
            assert frank.post("groups/bind", GARBAGE, twice=False).status_code == 409
    frank.post("groups/bind", {"encryptedData": "QUJD", "iv": "x"})
    frank.post("groups/bind", GARBAGE, twice=False)
    frank.post("groups/bind", GARBAGE)
    frank.post("groups/resolve", frank.sealed_with("frank in family", chat))
    frank.post("groups/bind", ticket_of(good))
    frank.log_in()
    frank.post("groups/bind", frank.share_info("family"))
    frank.get("me")
    for moment in ("2026-11-18 15:30:00", "2026-11-18 15:59:59", "2026-11-18 16:00:00"):
        stage.at_next(moment)
        frank.post("groups/bind", frank.share_info("family"))
