"""Submit scores: accepted, refused, and repeated ones."""

from ..stage import Stage

LARGEST = 2**53 - 1


def submitted(stage: Stage) -> None:
    """Submit by every policy, order and scope, across the end of a day, a week and a month."""
    stage.at("2026-11-29 12:00")  # a Sunday
    operator, alice = stage.operator, stage.person("alice", "小明")
    kinds = [
        (policy, order, scope)
        for policy in ("best", "latest", "sum")
        for order in ("desc", "asc")
        for scope in ("app", "group")
    ]
    for policy, order, scope in kinds:
        key = f"{policy}-{order}-{scope}"
        operator.make_board(key, key, key, policy=policy, order=order, scope=scope)
    alice.enter("family")
    family = stage.chat("family")
    for moment in ("2026-11-29 23:59", "2026-11-30 00:00", "2026-12-01 00:00"):
        stage.title(moment)
        for policy, order, scope in kinds:
            where = {"openGId": family} if scope == "group" else {}
            for number, value in enumerate((50, 50, 80, -20)):
                stage.at(moment)
                stage.later(seconds=number)
                body = {"board": f"{policy}-{order}-{scope}", "value": value, **where}
                alice.post("scores", body)
    stage.title("What is there in the end")
    alice.get("me/data")


def refused(stage: Stage) -> None:
    stage.at("2026-11-18 12:00")
    operator, alice = stage.operator, stage.person("alice", "小明")
    operator.make_board("points", "积分", "Points", scope="app", policy="sum")
    operator.make_board("steps", "步数", "Steps")
    operator.make_board("laps", "圈速", "Laps", writer="server", scope="app")
    operator.make_board("narrow", "限值", "Narrow", scope="app", min_value="1", max_value="10")
    operator.make_board("over", "已结束", "Over", scope="app", active_to="2026-11-18T12:00")
    operator.make_board("ahead", "未开始", "Ahead", scope="app", active_from="2026-11-19T00:00")
    alice.enter("family")
    family = stage.chat("family")
    well = {"board": "points", "value": 5}

    stage.title("Bodies")
    for body in (
        {},
        {"board": "points"},
        {"value": 5},
        *({**well, "value": value} for value in ("5", 5.0, 1.5, True, None, [5])),
        *({**well, "value": value} for value in (LARGEST + 1, -LARGEST - 1, 10**30)),
        *({**well, "board": board} for board in ("", " ", 5, None, "x" * 65, "nothing", "a b")),
        *({**well, "idempotencyKey": key} for key in ("", 5, None, "x" * 65)),
        *({**well, "openGId": open_gid} for open_gid in ("", "a b", 5, None, "x" * 65)),
        {**well, "hat": 1},
        {**well, "openid": alice.openid},
    ):
        alice.post("scores", body)

    stage.title("Where, and who")
    for body in (
        {"board": "steps", "value": 5},
        {"board": "points", "value": 5, "openGId": family},
        {"board": "steps", "value": 5, "openGId": "tG-no-such-group"},
        {"board": "laps", "value": 5},
        {"board": "active-days", "value": 5, "openGId": family},
    ):
        alice.post("scores", body)
    stage.person("stranger").post("scores", {"board": "steps", "value": 5, "openGId": family})

    stage.title("Bounds and times")
    for value in (0, 1, 10, 11):
        alice.post("scores", {"board": "narrow", "value": value})
    for board in ("over", "ahead"):
        alice.post("scores", {"board": board, "value": 5})
    stage.at("2026-11-19 00:00")
    alice.post("scores", {"board": "ahead", "value": 5})

    stage.title("Sums that JavaScript could not hold")
    for value in (LARGEST, 1, -1, 1, -LARGEST, -LARGEST, -1, 0):
        alice.post("scores", {"board": "points", "value": value})


def remembered(stage: Stage) -> None:
    """Repeat submissions with idempotency keys."""
    stage.at("2026-11-16 11:00")
    operator, alice, bob = stage.operator, stage.person("alice"), stage.person("bob")
    operator.make_board("points", "积分", "Points", scope="app", policy="sum")
    operator.make_board("steps", "步数", "Steps")
    alice.enter("family")
    alice.enter("school")
    once = {"board": "points", "value": 5, "idempotencyKey": "k"}
    stage.at_next("2026-11-16 12:00:00")
    alice.post("scores", once)
    alice.post("scores", once)
    alice.post("scores", {**once, "value": 6})
    alice.post("scores", {**once, "idempotencyKey": "K"})
    alice.post("scores", {**once, "idempotencyKey": " k"})
    alice.post("scores", {**once, "idempotencyKey": "钥匙"})
    bob.post("scores", once)
    here = {"board": "steps", "value": 5, "openGId": stage.chat("family"), "idempotencyKey": "g"}
    alice.post("scores", here)
    alice.post("scores", here)
    alice.post("scores", {**here, "openGId": stage.chat("school")})
    alice.post("scores", {**here, "board": "points"})
    item = {**once, "openid": alice.openid}
    server = stage.server()
    server.post("server/scores", {"scores": [item, item, {**item, "value": 6}]})
    stage.title("For seven days")
    for moment in ("2026-11-23 11:59:59", "2026-11-23 12:00:00", "2026-11-23 12:00:01"):
        stage.at_next(moment)
        alice.post("scores", once)
