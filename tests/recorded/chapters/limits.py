"""Too many calls, faults of ours, and several mini-programs on one site."""

from collections.abc import Callable

from tests.settings import APP_ID, OTHER_APP_ID

from ..stage import Stage


def throttles(stage: Stage) -> None:
    stage.at("2026-11-18 12:00")
    visitor, alice, server = stage.visitor, stage.person("alice", "小明"), stage.server()
    alice.enter("family")
    family = stage.chat("family")

    stage.title("As it is set by default: sixty costly calls a minute")
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
    stage.title("A page")
    stage.settings.THROTTLES = "address=5/second"
    stage.later(minutes=1)
    use_up(stage, lambda: visitor.get("/g/x/"))
    visitor.get("/g/x/")
    visitor.get("/livez")


def use_up(stage: Stage, ask: Callable[[], object]) -> None:
    """The same five times within one second, or ten with the English ones; the next is too many."""
    moment = f"{stage.now:%Y-%m-%d %H:%M:%S}"
    with stage.off_the_record():
        for _time in range(5):
            stage.at(moment)
            ask()
    stage.at(moment)


def what_breaks(stage: Stage) -> None:
    stage.at("2026-11-18 12:00")
    visitor, alice, server = stage.visitor, stage.person("alice", "小明"), stage.server()
    alice.enter("family")
    family = stage.chat("family")
    link = alice.link("family")

    stage.title("The database is away")
    with stage.without_database():
        alice.get("me")
        alice.post("scores", {"board": "active-days", "value": 1})
        alice.get(f"groups/{family}/ranking")
        server.get(f"server/groups/{family}/ranking")
        visitor.get(link)
        visitor.get("/api/nothing")
        visitor.get("/livez")

    stage.title("A fault of ours")
    with stage.without_database(RuntimeError):
        alice.get("me")
        alice.get(f"groups/{family}/ranking")
        server.post("server/scores", {"scores": []})
        visitor.get(link)


def two_mini_programs(stage: Stage) -> None:
    stage.at("2026-11-18 12:00")
    stage.settings.WECHAT_APPS |= {OTHER_APP_ID: {"SECRET": "another-secret"}}
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
