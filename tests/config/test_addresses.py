"""No credential is shown, and a PostgreSQL address works with whichever driver is installed."""

import pytest

from pipeline.config import addresses
from pipeline.config.addresses import mask, with_driver


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://ann:hunter2@db:5432/mlflow",
        "cannot reach https://hunter2@tracking.example/x (https://ann:hunter2@y)",
        "https://bucket.example/x?X-Amz-Signature=hunter2&v=1",
        "mysql://db/mlflow?user=ann&password=hunter2",
    ],
)
def test_credentials_are_masked_wherever_they_stand(text: str) -> None:
    masked = mask(text)
    assert "hunter2" not in masked
    assert "***" in masked


@pytest.mark.parametrize("text", ["https://docs.example/a@b", "mail ann@example.org", "x = {'a': 'b@c'}"])
def test_text_without_credentials_is_unchanged(text: str) -> None:
    assert mask(text) == text


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_the_driver_that_is_installed_is_named(monkeypatch: pytest.MonkeyPatch, driver: str) -> None:
    monkeypatch.setattr(addresses, "find_spec", lambda name: object() if name == driver else None)
    assert with_driver("postgresql://ann@db/x?a=b") == f"postgresql+{driver}://ann@db/x?a=b"


@pytest.mark.parametrize("uri", ["postgresql+asyncpg://db/x", "sqlite:////data/x.db", "http://x"])
def test_other_addresses_are_unchanged(uri: str) -> None:
    assert with_driver(uri) == uri


def test_without_a_driver_the_address_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "find_spec", lambda name: None)
    assert with_driver("postgresql://db/x") == "postgresql://db/x"
