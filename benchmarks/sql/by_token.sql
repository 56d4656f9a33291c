-- Who asks, known by the digest of their token, and whether they may see this group.
WITH caller AS (
    SELECT u.id AS user_id, g.id AS group_id, g.label, g.open_gid
    FROM accounts_token t
    JOIN accounts_wechatuser u ON u.id = t.user_id AND u.status = 'active'
    JOIN groups_group g ON g.app_id = u.app_id AND g.open_gid = :open_gid AND NOT g.hidden
    JOIN groups_membership mine ON mine.group_id = g.id AND mine.user_id = u.id
        AND mine.left_at IS NULL AND mine.verified_at >= now() - INTERVAL '30 days'
    WHERE t.digest = :digest AND t.expires_at > now()
)
