-- A member who has been in the group enters it again, on the same day.
SELECT u.id AS user_id, u.app_id, u.session_key, u.stale_count, u.nickname, u.nickname_state,
    u.avatar, u.avatar_seed, u.avatar_state
FROM accounts_token t JOIN accounts_wechatuser u ON u.id = t.user_id AND u.status = 'active'
WHERE t.digest = :digest AND t.expires_at > now() \gset
BEGIN;
SELECT id FROM accounts_wechatuser WHERE id = :user_id FOR UPDATE;
SELECT id AS group_id, label FROM groups_group
WHERE app_id = :app_id AND open_gid = :open_gid AND NOT hidden \gset
UPDATE groups_membership
SET verified_at = GREATEST(verified_at, now()), scene = NULL, watermarked = TRUE, left_at = NULL,
    joined_at = CASE WHEN left_at IS NULL THEN joined_at ELSE now() END
WHERE group_id = :group_id AND user_id = :user_id
RETURNING joined_at, verified_at, hidden OR withheld AS is_hidden, alias, alias_state \gset
COMMIT;
SELECT count(*) AS members,
    array_to_string((array_agg(COALESCE(NULLIF(m.alias, ''), u.nickname) ORDER BY m.joined_at, m.user_id)
        FILTER (WHERE NOT m.hidden AND NOT m.withheld AND (m.alias <> '' OR u.nickname <> '')))[1:2], '、')
    AS names
FROM groups_membership m JOIN accounts_wechatuser u ON u.id = m.user_id AND u.status = 'active'
WHERE m.group_id = :group_id AND m.left_at IS NULL
    AND m.verified_at >= now() - INTERVAL '30 days' \gset
