"""What a url asks of TLS is had: a certificate of somebody else's is refused, and told how."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from sqlalchemy import make_url
from workflow_adaptertest.servers import Space
from workflow_adaptertest.servers.kinds.certificates import certify
from workflow_adaptertest.servers.place import Tools
from workflow_core.errors import AdapterUnavailableError, ConfigurationError
from workflow_sql import Database, upgrade


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """The certificate of somebody who has signed no server's."""
    certify(tmp_path, Tools(tmp_path))
    return tmp_path / "ca.pem"


def changed(space: Space, *, host: str = "127.0.0.1", **query: str) -> str:
    url = make_url(str(space.url)).set(host=host).update_query_dict(query)
    return url.render_as_string(hide_password=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_postgres_is_reached_when_its_certificate_is_as_the_url_asks(
    host: str, postgres_secure_space: Space
) -> None:
    url = changed(postgres_secure_space, host=host)
    assert "sslmode=verify-full" in url
    upgrade(url)
    with Database(url) as database, database.reading("looking") as cursor:
        cursor.execute("select ssl from pg_stat_ssl where pid = pg_backend_pid()")
        assert cursor.fetchone() == (True,)


@pytest.mark.parametrize("file", ["{authority}", "/nowhere/ca.pem"])
def test_postgres_is_refused_when_its_certificate_is_not_as_the_url_asks(
    file: str, authority: Path, postgres_secure_space: Space
) -> None:
    """Seen to fail without words on it: one looked for a server that was away."""
    url = changed(postgres_secure_space, sslrootcert=file.format(authority=authority))
    with pytest.raises(AdapterUnavailableError, match="TLS") as caught:
        Database(url)
    assert "sslrootcert" in str(caught.value.hint)


def test_postgres_is_refused_when_it_has_no_tls_and_the_url_asks_for_it(
    postgres_space: Space,
) -> None:
    with pytest.raises(AdapterUnavailableError, match="TLS") as caught:
        Database(changed(postgres_space, sslmode="require"))
    assert "sslmode" in str(caught.value.hint)


def test_postgres_is_refused_when_its_certificate_is_of_another_host(
    postgres_secure_space: Space,
) -> None:
    """By name the url asks for another than the one that answers there."""
    url = changed(postgres_secure_space, host="elsewhere.example", hostaddr="127.0.0.1")
    with pytest.raises(AdapterUnavailableError, match="TLS"):
        Database(url)


@pytest.fixture(params=["mysql", "mariadb"])
def space(request: pytest.FixtureRequest) -> Space:
    found: Space = request.getfixturevalue(f"{request.param}_space")
    return found


@pytest.fixture
def own_authority(space: Space) -> str:
    """Who has signed the server's certificate."""
    with Database(str(space.url), upgrade=True) as database:
        return asked(database, "show variables like 'ssl_ca'")


def asked(database: Database, question: str) -> str:
    with database.reading("asking") as cursor:
        cursor.execute(question)
        return str(cursor.fetchone()[1])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_mysql_is_reached_when_its_certificate_is_as_the_url_asks(
    host: str, space: Space, own_authority: str
) -> None:
    url = changed(space, host=host, ssl_ca=own_authority, ssl_verify_identity="true")
    with Database(url) as database:
        assert asked(database, "show status like 'Ssl_version'").startswith("TLS")


def test_mysql_is_refused_when_its_certificate_is_somebody_elses(
    authority: Path, space: Space
) -> None:
    with pytest.raises(AdapterUnavailableError, match="TLS") as caught:
        Database(changed(space, ssl_ca=str(authority)))
    assert "ssl_ca" in str(caught.value.hint)


def test_mysql_is_refused_when_its_certificate_is_of_another_host(
    space: Space, own_authority: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail with PyMySQL's way: an authority beside ssl_verify_identity was forgotten."""
    find = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest: find("127.0.0.1", *rest))
    url = changed(
        space, host="elsewhere.example", ssl_ca=own_authority, ssl_verify_identity="false"
    )
    with Database(url) as database:
        assert asked(database, "show status like 'Ssl_version'").startswith("TLS")
    with pytest.raises(AdapterUnavailableError, match="TLS") as caught:
        Database(
            changed(
                space, host="elsewhere.example", ssl_ca=own_authority, ssl_verify_identity="true"
            )
        )
    assert "ssl_ca" in str(caught.value.hint)


def test_mysql_speaks_openly_when_tls_is_switched_off(space: Space) -> None:
    """Seen to fail with the driver's own reading: "false" switched it off as well."""
    with Database(changed(space, ssl_disabled="true"), upgrade=True) as database:
        assert asked(database, "show status like 'Ssl_version'") == ""
    with Database(changed(space, ssl_disabled="false")) as database:
        assert asked(database, "show status like 'Ssl_version'").startswith("TLS")


@pytest.mark.parametrize(
    ("options", "because"),
    [
        ({"ssl_ca": "/nowhere/ca.pem"}, "cannot be read"),
        ({"ssl_cert": "/nowhere/client.pem"}, "cannot be read"),
        ({"ssl_verify_identity": "perhaps"}, "ssl_verify_identity is neither true nor false"),
        ({"ssl_mode": "VERIFY_IDENTITY"}, "ssl_mode"),
    ],
    ids=str,
)
def test_tls_options_are_refused_by_name_when_they_make_no_sense(
    options: dict[str, str], because: str
) -> None:
    url = make_url("mysql://nobody@127.0.0.1:1/nothing").update_query_dict(options)
    with pytest.raises(ConfigurationError, match=because) as caught:
        Database(url.render_as_string())
    assert "/nowhere" not in str(caught.value)
