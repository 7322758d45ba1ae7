"""The database URL: every form a person writes, checked against asyncpg's own reading of the result."""

import os
import string

import pytest
from asyncpg.connect_utils import _parse_connect_dsn_and_args
from hypothesis import given
from hypothesis import strategies as st

from app.infra.dsn import Dsn, Host


def seen_by_asyncpg(dsn):
    arguments = dict.fromkeys(
        ["host", "port", "user", "password", "passfile", "database", "service", "servicefile", "direct_tls"]
    )
    arguments |= dict.fromkeys(["server_settings", "krbsrvname", "gsslib"])
    return _parse_connect_dsn_and_args(dsn=dsn.asyncpg_dsn, **arguments, **dsn.connect_kwargs)


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("postgresql://kassa:pw@db.example.org/crm", [("db.example.org", 5432)]),
        ("postgres://kassa:pw@db.example.org:6432/crm", [("db.example.org", 6432)]),
        ("postgresql+asyncpg://kassa:pw@127.0.0.1/crm", [("127.0.0.1", 5432)]),
        ("  POSTGRESQL://kassa:pw@db/crm\n", [("db", 5432)]),
        ("postgresql://kassa:pw@[::1]:5433/crm", [("::1", 5433)]),
        ("postgresql://kassa:pw@[::1],[2001:db8::2]:5433/crm", [("::1", 5432), ("2001:db8::2", 5433)]),
        ("postgresql://kassa:pw@h1:5432,h2:5433/crm", [("h1", 5432), ("h2", 5433)]),
        ("postgresql://kassa:pw@h1,h2/crm?port=6432", [("h1", 6432), ("h2", 6432)]),
        ("postgresql://kassa:pw@/crm?host=h1,h2&port=1,2", [("h1", 1), ("h2", 2)]),
        ("postgresql+asyncpg://kassa:pw@/crm?host=h1:5432&host=h2:5433", [("h1", 5432), ("h2", 5433)]),
        ("postgresql://kassa:pw@/crm?host=/run/postgresql", ["/run/postgresql/.s.PGSQL.5432"]),
        ("postgresql://kassa:pw@/crm?host=/run/a%20b%2520:6432", ["/run/a b%20/.s.PGSQL.6432"]),
        ("postgresql://kassa:pw@%2Frun%2Fpostgresql/crm", ["/run/postgresql/.s.PGSQL.5432"]),
        ("postgresql:///crm?host=h1&user=kassa&password=pw", [("h1", 5432)]),
        ("postgresql://kassa:pw@h1?dbname=crm", [("h1", 5432)]),
    ],
)
def test_every_spelling_reaches_asyncpg(text, addresses):
    dsn = Dsn.parse(text)

    addrs, parameters = seen_by_asyncpg(dsn)

    assert addrs == addresses
    assert (parameters.user, parameters.password, parameters.database) == ("kassa", "pw", "crm")
    assert Dsn.parse(dsn.asyncpg_dsn) == dsn


def test_several_hosts_mean_the_primary_unless_said_otherwise():
    assert seen_by_asyncpg(Dsn.parse("postgresql://u@h1,h2/d"))[1].target_session_attrs == "primary"
    assert seen_by_asyncpg(Dsn.parse("postgresql://u@h1/d"))[1].target_session_attrs == "any"
    chosen = Dsn.parse("postgresql://u@h1,h2/d?target_session_attrs=read-write")
    assert seen_by_asyncpg(chosen)[1].target_session_attrs == "read-write"


def test_the_environment_does_not_change_what_the_url_says(monkeypatch):
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    monkeypatch.setenv("PGTARGETSESSIONATTRS", "standby")
    monkeypatch.setenv("PGPORT", "7777")
    monkeypatch.setenv("PGHOST", "elsewhere.example.org")

    addrs, parameters = seen_by_asyncpg(Dsn.parse("postgresql://u@/d?host=/run/postgresql"))

    assert addrs == ["/run/postgresql/.s.PGSQL.5432"]
    assert parameters.ssl is False
    assert parameters.target_session_attrs == "any"


def test_tls_and_server_parameters_are_passed_on():
    text = "postgresql://u@h/d?sslmode=require&application_name=crm%20kassa&ssl_min_protocol_version=TLSv1.3"

    _, parameters = seen_by_asyncpg(Dsn.parse(text))

    assert parameters.sslmode.name == "require"
    assert parameters.ssl.minimum_version.name == "TLSv1_3"
    assert parameters.server_settings == {"application_name": "crm kassa"}


def test_an_at_sign_in_the_password_may_stand_bare():
    assert Dsn.parse("postgresql://u:p@ss:w@h/d").password == "p@ss:w"


text_of_people = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=20)
host_names = st.text(string.ascii_letters + string.digits + ".-_", min_size=1, max_size=20)
socket_folders = st.text(string.ascii_letters + " /&=?%#@+é[]", min_size=1, max_size=30).map(lambda text: f"/{text}")


@given(
    user=text_of_people,
    password=text_of_people,
    database=text_of_people,
    hosts=st.lists(st.builds(Host, host_names | socket_folders, st.integers(1, 65535)), min_size=1, max_size=4),
)
def test_whatever_a_name_or_password_holds_arrives_unchanged(user, password, database, hosts):
    dsn = Dsn(user, password, tuple(hosts), database)

    addrs, parameters = seen_by_asyncpg(dsn)

    assert (parameters.user, parameters.password, parameters.database) == (user, password, database)
    sockets = [os.path.join(host.name, f".s.PGSQL.{host.port}") for host in hosts]  # noqa: PTH118 - // is kept
    assert addrs == [
        path if host.is_socket else (host.name, host.port) for host, path in zip(hosts, sockets, strict=True)
    ]
    assert Dsn.parse(dsn.asyncpg_dsn) == dsn


def test_the_password_is_in_no_text_but_the_connecting_one():
    dsn = Dsn.parse("postgresql://kassa:hidden-1@h1:5432,[::1]:5433/crm?sslkey=/k&sslpassword=hidden-2")

    assert dsn.redacted == (
        "postgresql://kassa:***@h1:5432,[::1]:5433/crm"
        "?sslmode=prefer&target_session_attrs=primary&sslkey=/k&sslpassword=***"
    )
    assert "hidden" not in f"{dsn} {dsn!r} {dsn.connect_kwargs}"
    assert "hidden-1" in dsn.asyncpg_dsn


def test_another_database_on_the_same_server():
    dsn = Dsn.parse("postgresql://u:p@h1,h2/crm?application_name=x")

    other = dsn.with_database("te st/1")

    assert seen_by_asyncpg(other)[1].database == "te st/1"
    assert other.with_database("crm") == dsn
    with pytest.raises(ValueError, match="must not be empty"):
        dsn.with_database("")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no scheme"),
        ("host=h dbname=d password=hidden", "no scheme"),
        ("mysql://u:hidden@h/d", "must be PostgreSQL"),
        ("postgresql+psycopg2://u:hidden@h/d", "another driver"),
        ("postgresql://u:hidden@h", "no database"),
        ("postgresql://u:hidden@h/", "no database"),
        ("postgresql://u:hidden@/d", "no host"),
        ("postgresql:///d", "no host"),
        ("postgresql://u:hidden@h1,,h2/d", "empty or not a host name"),
        ("postgresql://u:hidden@h 1/d", "space or control"),
        ("postgresql://u:hid#den@h/d", "holds a #"),
        ("postgresql://u:hid/den@h/d", "name of the database"),
        ("postgresql://u:hid?den@h/d", "a password as %3F"),
        ("postgresql://u:hidden@h:0/d", "from 1 to 65535"),
        ("postgresql://u:hidden@h:70000/d", "from 1 to 65535"),
        ("postgresql://u:hidden@h:port/d", "from 1 to 65535"),
        ("postgresql://u:hidden@[::1/d", "not written as"),
        ("postgresql://u:hidden@[::1]x/d", "not written as"),
        ("postgresql://u:hidden@[h]/d", "not an IPv6"),
        ("postgresql://u:hidden@h1/d?host=h2", "host.*twice"),
        ("postgresql://u:hidden@h/d?user=v", "'user' twice"),
        ("postgresql://u:hidden@h/d?dbname=e", "'database' twice"),
        ("postgresql://u:hidden@h:1/d?port=2", "ports twice"),
        ("postgresql://u:hidden@h1,h2,h3/d?port=1,2", "2 ports for 3 hosts"),
        ("postgresql://u:hidden@h/d?sslmode=require&sslmode=disable", "'sslmode' twice"),
        ("postgresql://u:hidden@h/d?sslmode=strict", "sslmode .* must be one of"),
        ("postgresql://u:hidden@h/d?sslmod=require", "'sslmod' .* not supported"),
        ("postgresql://u:hidden@h/d?connect_timeout=5", "'connect_timeout' .* not supported"),
        ("postgresql://u:hidden@h/d?sslmode", "no value"),
        ("postgresql://u:hidden@h/d?target_session_attrs=master", "must be one of any, primary"),
        ("postgresql://u:hidden@h1,h2/d?target_session_attrs=standby", "cannot be written to; use primary"),
        ("postgresql://u:hidden%ff@h/d", "not UTF-8"),
        ("postgresql://u:hidden%00@h/d", "NUL"),
    ],
)
def test_a_url_that_cannot_work_is_refused_in_one_sentence_without_the_password(text, problem):
    with pytest.raises(ValueError, match=problem) as refusal:
        Dsn.parse(text)

    sentence = str(refusal.value)
    assert sentence.endswith(".")
    assert not any(secret in sentence for secret in ("hidden", "hid", "den@"))
    assert "\n" not in sentence
    assert refusal.value.__cause__ is None
    assert refusal.value.__suppress_context__ or refusal.value.__context__ is None
