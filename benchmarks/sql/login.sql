-- A member logs in again, after WeChat has answered: their key, and a token more.
SELECT id AS user_id FROM accounts_wechatuser WHERE app_id = :app_id AND openid = :openid \gset
BEGIN;
SELECT session_key, nickname, nickname_state, avatar, avatar_seed, avatar_state
FROM accounts_wechatuser WHERE id = :user_id AND status = 'active' FOR UPDATE \gset
UPDATE accounts_wechatuser
SET unionid = :unionid, session_key = CAST(:sealed AS varchar),
    previous_session_key = CASE WHEN session_key = CAST(:sealed AS varchar) THEN previous_session_key ELSE session_key END,
    session_key_at = CASE WHEN session_key = CAST(:sealed AS varchar) THEN session_key_at ELSE now() END
WHERE id = :user_id;
INSERT INTO accounts_token (user_id, digest, created_at, expires_at)
VALUES (:user_id, :new_digest, now(), now() + INTERVAL '30 days') RETURNING expires_at \gset
COMMIT;
