"""`ingest.doctor.secrets_of`: every secret, in each of its spellings."""

from ingest.config import load_settings
from ingest.doctor.secrets_of import secrets_of


def test_every_secret_of_the_configuration_is_known() -> None:
    """Percent-encoded ones both ways; a file's name is none, and what is too short to be one is left out."""
    settings = load_settings(
        environment={
            "INGEST_DATABASE_URL": "postgresql://me:p%40ss1@db/x?sslpassword=pass2&passfile=/etc/pass3",
            "INGEST_ALERTS_URLS": "json://user:pass4@host mailto://a:b@c",
            "INGEST_SPOT_REST_URL": "https://me:pass5@host",
            "INGEST_HTTP_PASSWORD": "pass6",
            "INGEST_HTTP_TOKEN": "pass7",
        }
    )

    found = secrets_of(settings)

    assert {"p%40ss1", "p@ss1", "pass2", "pass4", "json://user:pass4@host"} <= set(found)
    assert {"pass5", "pass6", "pass7"} <= set(found)
    assert "b" not in found
    assert not any("pass3" in secret for secret in found)
