-- A score of mine meets the sums of four periods.
SELECT u.id AS user_id
FROM accounts_token t JOIN accounts_wechatuser u ON u.id = t.user_id AND u.status = 'active'
WHERE t.digest = :digest AND t.expires_at > now() \gset
BEGIN;
SELECT id FROM accounts_wechatuser WHERE id = :user_id FOR UPDATE;
INSERT INTO groups_score
    (board_id, "window", period, scope, user_id, value, achieved_at, source)
VALUES (:board, 'day', :day, 0, :user_id, :value, now(), 'client'),
    (:board, 'week', :week, 0, :user_id, :value, now(), 'client'),
    (:board, 'month', :month, 0, :user_id, :value, now(), 'client'),
    (:board, 'all', 'all', 0, :user_id, :value, now(), 'client')
ON CONFLICT (board_id, period, scope, user_id) DO UPDATE
SET value = groups_score.value + EXCLUDED.value, achieved_at = EXCLUDED.achieved_at,
    source = EXCLUDED.source
RETURNING period, value;
COMMIT;
