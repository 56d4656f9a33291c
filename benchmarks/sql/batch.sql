-- A piece of a batch: fifty people are locked in the order of their ids, keys that were used before
-- are looked up, four sums a person are written, and the keys remembered.
BEGIN;
SELECT id, openid FROM accounts_wechatuser
WHERE app_id = :app_id AND openid = ANY (CAST(:openids AS text[])) ORDER BY id FOR UPDATE;
SELECT user_id, key FROM groups_idempotencykey
WHERE source = 'server' AND key = ANY (CAST(:keys AS text[]));
INSERT INTO groups_score
    (board_id, "window", period, scope, user_id, value, achieved_at, source)
SELECT CAST(:board AS bigint), w.name, w.period, 0, u.id, row.value, now(), 'server'
FROM unnest(CAST(:openids AS text[]), CAST(:values AS bigint[])) AS row (openid, value)
JOIN accounts_wechatuser u ON u.app_id = :app_id AND u.openid = row.openid
CROSS JOIN (VALUES ('day', :day), ('week', :week), ('month', :month), ('all', 'all'))
    AS w (name, period)
ON CONFLICT (board_id, period, scope, user_id) DO UPDATE
SET value = groups_score.value + EXCLUDED.value, achieved_at = EXCLUDED.achieved_at,
    source = EXCLUDED.source
RETURNING user_id, period, value;
INSERT INTO groups_idempotencykey (user_id, source, key, digest, answer, created_at)
SELECT u.id, 'server', row.key, row.digest, CAST(row.answer AS jsonb), now()
FROM unnest(CAST(:openids AS text[]), CAST(:keys AS text[]), CAST(:digests AS text[]),
    CAST(:answers AS text[])) AS row (openid, key, digest, answer)
JOIN accounts_wechatuser u ON u.app_id = :app_id AND u.openid = row.openid;
COMMIT;
