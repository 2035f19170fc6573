"""People of an identity provider: who they are there, their sessions, and the words of logout that were heard."""

from alembic import op

revision = "0048"
down_revision = "0047"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE imagesync.web_user ALTER COLUMN password_hash DROP NOT NULL",
    "ALTER TABLE imagesync.web_user ADD COLUMN issuer TEXT",
    "ALTER TABLE imagesync.web_user ADD COLUMN subject TEXT",
    "COMMENT ON COLUMN imagesync.web_user.password_hash IS 'Argon2; none of people of an identity provider'",
    "COMMENT ON COLUMN imagesync.web_user.issuer IS 'the identity provider; none of people of ours'",
    "COMMENT ON COLUMN imagesync.web_user.subject IS 'what the provider knows the person by'",
    "ALTER TABLE imagesync.web_user ADD CONSTRAINT web_user_issuer_subject_key UNIQUE (issuer, subject)",
    """
    ALTER TABLE imagesync.web_user ADD CONSTRAINT web_user_whose_check CHECK (
        (issuer IS NULL) = (subject IS NULL) AND (issuer IS NULL) = (password_hash IS NOT NULL)
    )
    """,
    """
    CREATE TABLE imagesync.oidc_session (
        id BIGINT GENERATED ALWAYS AS IDENTITY NOT NULL,
        user_id BIGINT NOT NULL,
        provider_session TEXT NOT NULL,
        tokens BYTEA NOT NULL,
        checked_at TIMESTAMP WITH TIME ZONE NOT NULL,
        CONSTRAINT oidc_session_pkey PRIMARY KEY (id),
        CONSTRAINT oidc_session_user_id_fkey FOREIGN KEY (user_id) REFERENCES imagesync.web_user (id) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX oidc_session_user_id_idx ON imagesync.oidc_session (user_id)",
    "CREATE INDEX oidc_session_provider_session_idx ON imagesync.oidc_session (provider_session)",
    "COMMENT ON COLUMN imagesync.oidc_session.provider_session IS 'the session as the provider names it (sid)'",
    "COMMENT ON COLUMN imagesync.oidc_session.tokens IS 'encrypted: ID token, refresh token'",
    "COMMENT ON COLUMN imagesync.oidc_session.checked_at IS 'when the provider last said that it goes on'",
    """
    CREATE TABLE imagesync.oidc_logout (
        token TEXT NOT NULL,
        heard_at TIMESTAMP WITH TIME ZONE NOT NULL,
        CONSTRAINT oidc_logout_pkey PRIMARY KEY (token)
    )
    """,
    "COMMENT ON TABLE imagesync.oidc_logout IS 'logout tokens that were heard: none counts twice'",
)


def upgrade() -> None:
    """Make room for them."""
    for statement in STATEMENTS:
        op.execute(statement)
