"""Links, sessions and tokens of the dashboard."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from titan.dashboard.access import LINK_S, SESSION_S, Access, Denied, Role
from titan.errors import Conflict, EnvironmentFault, NotFound


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def access(tmp_path: Path, clock: Clock) -> Access:
    return Access(tmp_path, clock)


def test_a_link_becomes_a_session_once(access: Access) -> None:
    link = access.new_link("ann@host", Role.VIEWER)
    identity = access.use_link(link)
    assert (identity.actor, identity.role) == ("ann@host", Role.VIEWER)
    assert access.session(access.cookie_of(identity)) == identity
    with pytest.raises(Denied, match="used already: get a new link: titan open"):
        access.use_link(link)


def test_an_old_link_is_denied(access: Access, clock: Clock) -> None:
    link = access.new_link("ann@host", Role.VIEWER)
    clock.now += LINK_S + 1
    with pytest.raises(Denied, match="older than 60 s"):
        access.use_link(link)


def test_a_link_from_before_a_restart_is_denied_because_it_may_be_used(tmp_path: Path, access: Access, clock: Clock) -> None:
    link = access.new_link("ann@host", Role.VIEWER)
    access.use_link(link)
    clock.now += 1
    with pytest.raises(Denied, match="the dashboard's start"):
        Access(tmp_path, clock).use_link(link)


@pytest.mark.parametrize("spoil", ["{0}x", "x{0}", "", "a.b", "\x00"])
def test_texts_that_nobody_signed_are_denied(access: Access, spoil: str) -> None:
    identity = access.use_link(access.new_link("ann@host", Role.OPERATOR))
    with pytest.raises(Denied, match="not of this dashboard"):
        access.use_link(spoil.format(access.new_link("ann@host", Role.OPERATOR)))
    assert access.session(spoil.format(access.cookie_of(identity))) is None


def test_a_link_is_no_cookie_and_a_cookie_no_link(access: Access) -> None:
    link = access.new_link("ann@host", Role.OPERATOR)
    assert access.session(link) is None
    with pytest.raises(Denied):
        access.use_link(access.cookie_of(access.use_link(link)))


def test_sessions_end_and_survive_a_restart(tmp_path: Path, access: Access, clock: Clock) -> None:
    cookie = access.cookie_of(access.use_link(access.new_link("ann@host", Role.OPERATOR)))
    again = Access(tmp_path, clock)
    assert again.session(cookie) is not None
    clock.now += SESSION_S
    assert again.session(cookie) is None


def test_the_csrf_token_belongs_to_its_session(access: Access) -> None:
    ann, bob = (access.use_link(access.new_link(name, Role.OPERATOR)) for name in ("ann", "bob"))
    assert access.is_csrf_token(ann, access.csrf_token(ann))
    assert not access.is_csrf_token(bob, access.csrf_token(ann))
    assert not access.is_csrf_token(ann, "")
    assert not access.is_csrf_token(ann, "ü")


def test_tokens_are_made_listed_used_and_removed(tmp_path: Path, access: Access, clock: Clock) -> None:
    text = access.new_token("ci", Role.VIEWER, "ann@host")
    running = Access(tmp_path, clock)
    identity = running.bearer(text)
    assert identity is not None and (identity.actor, identity.role, identity.session) == ("token:ci", Role.VIEWER, "")
    assert [(token.name, token.role, token.created_by) for token in running.tokens()] == [("ci", Role.VIEWER, "ann@host")]
    assert text not in (tmp_path / "dashboard" / "tokens.json").read_text()
    with pytest.raises(Conflict, match="a token 'ci' already"):
        access.new_token("ci", Role.OPERATOR, "ann@host")
    access.remove_token("ci")
    assert running.bearer(text) is None, "a running dashboard sees it at once"
    with pytest.raises(NotFound, match="no token 'ci'"):
        access.remove_token("ci")


def test_the_files_are_private(tmp_path: Path, access: Access) -> None:
    access.new_token("ci", Role.VIEWER, "ann")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "dashboard").iterdir()}
    assert modes == {"key": 0o600, "tokens.json": 0o600}
    assert stat.S_IMODE((tmp_path / "dashboard").stat().st_mode) == 0o700


def test_a_damaged_file_is_named(tmp_path: Path, access: Access, clock: Clock) -> None:
    (tmp_path / "dashboard" / "tokens.json").write_text("[{")
    with pytest.raises(EnvironmentFault, match=r"tokens\.json cannot be read"):
        access.tokens()
    (tmp_path / "dashboard" / "key").write_bytes(b"short")
    with pytest.raises(EnvironmentFault, match="key is damaged"):
        Access(tmp_path, clock)


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFault, match="cannot be used"):
        Access(tmp_path / "file")
