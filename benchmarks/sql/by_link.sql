-- Whose link it is, and whether they may still see this group.
WITH caller AS (
    SELECT u.id AS user_id, g.id AS group_id, g.label, g.open_gid
    FROM accounts_wechatuser u
    JOIN groups_group g ON g.id = :group_id AND g.app_id = u.app_id AND NOT g.hidden
    JOIN groups_membership mine ON mine.group_id = g.id AND mine.user_id = u.id
        AND mine.left_at IS NULL AND mine.verified_at >= now() - INTERVAL '30 days'
    WHERE u.id = :user_id AND u.status = 'active'
)
