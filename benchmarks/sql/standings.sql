-- The members of the caller's group, each with value and time now, and the value before: a look-up
-- in the index of scores for each, whatever the statistics say of a board or a week.
SELECT m.user_id, m.user_id = caller.user_id AS is_me, m.hidden OR m.withheld AS is_hidden,
    COALESCE(NULLIF(m.alias, ''), u.nickname) AS name,
    CASE WHEN m.user_id = caller.user_id THEN COALESCE(
        NULLIF(m.alias_draft, ''), NULLIF(m.alias, ''), NULLIF(u.nickname_draft, ''), u.nickname
    ) END AS own_name,
    CASE WHEN m.user_id = caller.user_id AND u.avatar_draft <> '' THEN u.avatar_draft
    ELSE u.avatar END AS avatar,
    u.avatar_seed, m.group_openid, m.joined_at, score.value, score.achieved_at, previous.value AS value_before,
    caller.group_id, caller.label, caller.open_gid
FROM caller
JOIN groups_membership m ON m.group_id = caller.group_id
    AND m.left_at IS NULL AND m.verified_at >= now() - INTERVAL '30 days'
JOIN accounts_wechatuser u ON u.id = m.user_id AND u.status = 'active'
LEFT JOIN LATERAL (
    SELECT value, achieved_at FROM groups_score
    WHERE board_id = :board AND period = :period AND scope = 0 AND user_id = m.user_id LIMIT 1
) score ON TRUE
LEFT JOIN LATERAL (
    SELECT value FROM groups_score
    WHERE board_id = :board AND period = :before AND scope = 0 AND user_id = m.user_id LIMIT 1
) previous ON TRUE;
