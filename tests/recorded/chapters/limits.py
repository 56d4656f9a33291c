"""Exceed the limits, break the database, and serve two mini-programs."""

from collections.abc import Callable

from tests.settings import APP_ID, OTHER_APP_ID

from ..stage import Caller, Stage
from .entry import routes


def throttles(stage: Stage) -> None:
    stage.at("2026-11-18 12:00")
    visitor, alice, server = stage.visitor, stage.person("alice", "小明"), stage.server()
    alice.enter("family")
    family = stage.chat("family")

    stage.title("By default sixty costly calls a minute")
    with stage.off_the_record():
        for _time in range(60):
            stage.at("2026-11-18 12:00")
            answer = alice.put(f"groups/{family}/membership", {"hidden": False})
            assert answer.status_code == 200
    stage.at("2026-11-18 12:00")
    alice.put(f"groups/{family}/membership", {"hidden": False})
    alice.get("me")
    stage.later(minutes=2)
    alice.put(f"groups/{family}/membership", {"hidden": False})
    stage.later(minutes=2)

    for limit, ask in {
        "address=5/second": lambda: visitor.get("/api/v1/me"),
        "login=2/second": lambda: visitor.post("login", {"code": "x"}),
        "call=1/2second": lambda: alice.get("me"),
        "user=5/second": lambda: alice.get("groups"),
        "token=5/second": lambda: server.get(f"server/groups/{family}/ranking"),
        "costly=1/2second": lambda: alice.get("me/data"),
    }.items():
        stage.title(limit)
        stage.settings.THROTTLES = limit
        stage.later(minutes=1)
        use_up(stage, ask)
        ask()
    stage.title("Rows of a server")
    stage.settings.THROTTLES = "rows=12000/minute"
    stage.later(minutes=1)
    rows = {"users": [{"openid": "oNew"}] * 500}
    with stage.off_the_record():
        for _time in range(24):
            stage.at("2026-11-18 12:30")
            assert server.post("server/users", rows).status_code == 200
    stage.at("2026-11-18 12:30")
    server.post("server/scores", {"scores": []})
    stage.title("A page")
    stage.settings.THROTTLES = "address=5/second"
    stage.later(minutes=1)
    use_up(stage, lambda: visitor.get("/g/x/"))
    visitor.get("/g/x/")
    visitor.get("/livez")


def use_up(stage: Stage, ask: Callable[[], object]) -> None:
    """Send a request five times within one second, so that the next one is too many."""
    moment = f"{stage.now:%Y-%m-%d %H:%M:%S}"
    with stage.off_the_record():
        for _time in range(5):
            stage.at(moment)
            ask()
    stage.at(moment)


def every_call(stage: Stage) -> None:
    """Provoke the errors that every call has."""
    stage.at("2026-11-18 12:00")
    alice, server = stage.person("alice", "小明"), stage.server()
    every = routes(alice.enter("family"), alice.openid)
    calls = [
        (_caller(stage, path, alice, server), method, path)
        for path, methods in every.items()
        for method in methods.split()
    ]
    with_a_body = [call for call in calls if call[1] != "GET" and call[2] != "me/avatar"]

    stage.title("Accept rules out JSON")
    for caller, method, path in calls:
        caller.ask(method, path, headers={"Accept": "text/html"})
    stage.title("A body of another type")
    for caller, method, path in calls:
        if method != "GET":
            caller.ask(method, path, data=b"code=x", kind="text/plain", says="<as text/plain>")
    stage.title("A body that is not JSON")
    for caller, method, path in with_a_body:
        caller.ask(method, path, data=b"{", says="{")
    stage.title("A body that is not an object")
    for caller, method, path in with_a_body:
        caller.ask(method, path, data=b"[]", says=[])
    stage.title("An unknown key")
    for caller, method, path in with_a_body:
        caller.ask(method, path, data=b'{"hat": 1}', says={"hat": 1})
    stage.title("A body that is too large")
    for caller, method, path in with_a_body:
        caller.ask(method, path, data=b" " * (256 * 1024 + 1), says="<256 KiB and a byte>")
    stage.title("The database is away")
    with stage.without_database():
        for caller, method, path in calls:
            caller.ask(method, path, {"code": alice.code()} if path == "login" else None)
    stage.title("An internal error")
    with stage.without_database(RuntimeError):
        for caller, method, path in calls:
            caller.ask(method, path, {"code": alice.code()} if path == "login" else None)
    stage.title("Too many calls")
    stage.settings.THROTTLES = "call=1/2second,costly=1/2second,token=5/second,login=2/second"
    for caller, method, path in calls:
        if path in {"server/users", "server/sessions", "server/scores"}:
            continue  # which have a limit by rows, that five calls do not use up
        stage.later(minutes=1)
        use_up(stage, lambda: caller.ask(method, path, data=b"{", twice=True))  # noqa: B023
        caller.ask(method, path)
    stage.settings.THROTTLES = ""
    stage.title("A blocked member")
    bob = stage.person("bob")
    bob.enter("family")
    stage.operator.do_to_person("block", bob)
    for caller, method, path in calls:
        if caller is alice and path != "me/data" and (method, path) != ("DELETE", "me"):
            bob.ask(method, path)


def _caller(stage: Stage, path: str, member: Caller, server: Caller) -> Caller:
    if path == "login":
        return stage.visitor
    return server if path.startswith("server/") else member


def what_breaks(stage: Stage) -> None:
    stage.at("2026-11-18 12:00")
    visitor, alice, server = stage.visitor, stage.person("alice", "小明"), stage.server()
    alice.enter("family")
    family = stage.chat("family")
    link = alice.link("family")

    stage.title("The database is away")
    with stage.without_database():
        alice.get(f"groups/{family}/ranking")
        server.get(f"server/groups/{family}/ranking")
        visitor.get(link)
        visitor.get("/api/nothing")
        visitor.get("/livez")

    stage.title("An internal error")
    with stage.without_database(RuntimeError):
        alice.get(f"groups/{family}/ranking")
        server.post("server/scores", {"scores": []})
        visitor.get(link)

    stage.title("WeChat is away, wherever a name is given")
    session = {"openid": alice.openid, "nickname": "新名字"}
    for errcode in (-1, 45009, 45011, 40226, 61010):
        stage.fault("/wxa/msg_sec_check", times=4, errcode=errcode)
        alice.put(f"groups/{family}/membership", {"alias": f"别名 {errcode}"})
        stage.fault("/wxa/msg_sec_check", times=4, errcode=errcode)
        server.post("server/sessions", session)
        stage.fault("/wxa/msg_sec_check", times=0)

    stage.title("While the storage is away, no one is erased")
    alice.send_avatar()
    root = stage.settings.MEDIA_ROOT
    (root / "a file").write_text("in the way")
    stage.settings.MEDIA_ROOT = root / "a file"
    alice.delete("me")
    stage.settings.MEDIA_ROOT = root
    alice.get("me")


def two_mini_programs(stage: Stage) -> None:
    stage.at("2026-11-18 12:00")
    stage.serve_two_apps()
    alice, other = stage.phone("alice"), stage.phone("alice elsewhere", OTHER_APP_ID)
    code = alice.code()
    stage.visitor.post("login", {"code": code})
    stage.visitor.post("login", {"code": code, "appid": "wx0000000000000000"})
    stage.visitor.post("login", {"code": code, "appid": OTHER_APP_ID})
    alice.log_in()
    other.log_in()
    stage.operator.make_board("steps", "步数", "Steps")
    stage.operator.make_board("steps", "里数", "Miles", app_id=OTHER_APP_ID, is_default="on")
    alice.post("groups/bind", alice.share_info("family"))
    other.post("groups/bind", other.share_info("family elsewhere"))
    for person, mine, theirs in (
        (alice, stage.chat("family"), stage.chat("family elsewhere", OTHER_APP_ID)),
        (other, stage.chat("family elsewhere", OTHER_APP_ID), stage.chat("family")),
    ):
        person.get("boards")
        person.get(f"groups/{mine}/ranking")
        person.get(f"groups/{mine}/ranking?board=steps")
        person.get(f"groups/{theirs}/ranking")
        person.get(f"groups/{theirs}")
        person.post("scores", {"board": "steps", "value": 5, "openGId": theirs})
        person.post("scores", {"board": "steps", "value": 5, "openGId": mine})
    assert alice.app_id == APP_ID
