"""Credentials: kept where only their owner reads them, and good for one name and one role."""

import stat

import pytest
from click.testing import CliRunner

from gandask.__main__ import main
from gandask.clients import credentials
from gandask.core import SettingError


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_an_authority_is_made_once_and_for_its_owner_alone(tmp_path):
    folder = tmp_path / "of" / "authority"
    made = credentials.kept_authority(folder)
    assert (mode(folder), mode(folder / "authority.pem")) == (0o700, 0o600)
    assert credentials.kept_authority(folder) == made
    assert [path.name for path in folder.iterdir()] == ["authority.pem"]
    assert made.key.strip() not in repr(made)
    (folder / "authority.pem").chmod(0o640)
    folder.chmod(0o755)
    folder.parent.chmod(0o755)
    if all(above.stat().st_mode & 0o011 for above in folder.parents):
        with pytest.raises(SettingError, match="chmod 600"):
            credentials.kept_authority(folder)
    (folder / "authority.pem").chmod(0o622)
    with pytest.raises(SettingError, match="chmod 600"):
        credentials.kept_authority(folder)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../a", "a/b", "-a", "a b", "a\n", "ü", "a" * 65, "gandask server"]
)
def test_a_name_is_plain(name):
    with pytest.raises(SettingError, match="expected a name"):
        credentials.issue(credentials.authority(), name)


def test_a_client_is_issued_a_file_by_the_command_line(tmp_path):
    def called(*words):
        return CliRunner().invoke(main, ["credentials", "--folder", str(tmp_path / "own"), *words])

    file = tmp_path / "hospital.pem"
    issued = called("--for", "hospital", "-o", str(file))
    assert issued.exit_code == 0, issued.output
    assert str(file) in issued.output and "gandask client --name hospital" in issued.output
    assert mode(file) == 0o600
    assert credentials.name_in(credentials.read(file)) == "hospital"
    assert "PRIVATE KEY" not in issued.output
    credentials.context(credentials.read(file))

    again = called("--for", "hospital", "-o", str(file))
    assert again.exit_code == 1 and "there already" in again.output
    # and nothing half written
    assert {path.name for path in tmp_path.iterdir()} == {"hospital.pem", "own"}
    wrong = called("--for", "a/b")
    assert wrong.exit_code == 1 and "expected a name" in wrong.output


@pytest.mark.parametrize("text", ["", "hospital", "-----BEGIN CERTIFICATE-----\nAA==\n", "\0" * 9])
def test_what_are_no_credentials_is_refused(text, tmp_path):
    file = tmp_path / "a.pem"
    credentials.write(text, file)
    with pytest.raises(SettingError, match="gandask credentials"):
        credentials.read(file)
    with pytest.raises(SettingError, match="gandask credentials"):
        credentials.context(text)


def test_credentials_without_their_key_are_refused():
    whole = credentials.issue(credentials.authority(), "hospital")
    begin = whole.index(credentials.BEGIN)
    other = credentials.issue(credentials.authority(), "hospital")
    for key in ("", other[: other.index(credentials.BEGIN)]):
        with pytest.raises(SettingError, match="gandask credentials"):
            credentials.context(key + whole[begin:])
