"""Whether somebody must sign in, by every file that Streamlit reads its secrets from."""

from pathlib import Path

import pytest

from dermlens.api import secret_files
from dermlens.api.secret_files import auth_section
from dermlens.errors import ConfigError

PLACES = ("home", "started", "code")


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home, a folder that the server is started in, and one of the code."""
    for name in PLACES:
        (tmp_path / name / ".streamlit").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv(secret_files.NAMED, raising=False)
    monkeypatch.chdir(tmp_path / "started")
    monkeypatch.setattr(secret_files, "REPOSITORY", tmp_path / "code")


def write(file: Path, who: str) -> Path:
    file.write_text(f'[auth]\nclient_id = "{who}"\n')
    return file


@pytest.mark.parametrize("place", PLACES)
def test_each_place_counts_and_without_any_nobody_signs_in(tmp_path: Path, place: str) -> None:
    assert auth_section() is None
    write(tmp_path / place / ".streamlit" / "secrets.toml", place)
    assert auth_section() == {"client_id": place}


def test_streamlit_would_read_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from streamlit import config

    monkeypatch.setattr(config, "_main_script_path", str(tmp_path / "code" / "Home.py"))
    assert config.get_config_files("secrets.toml") == list(map(str, secret_files._beside_settings("secrets.toml")))


def test_a_later_file_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    for place in PLACES[:2]:
        write(tmp_path / place / ".streamlit" / "secrets.toml", place)
    assert auth_section() == {"client_id": "started"}
    (tmp_path / "code" / ".streamlit" / "secrets.toml").write_text("other = 1\n")
    assert auth_section() == {"client_id": "started"}, "by section"


def test_files_that_the_settings_name_are_read_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "home" / ".streamlit" / "secrets.toml", "home")
    by_config, by_variable = write(tmp_path / "config.toml", "config"), write(tmp_path / "variable.toml", "variable")
    settings = tmp_path / "started" / ".streamlit" / "config.toml"
    settings.write_text(f'[secrets]\nfiles = ["{by_config}"]\n')
    assert auth_section() == {"client_id": "config"}
    monkeypatch.setenv(secret_files.NAMED, f"{by_config} {by_variable}")
    assert auth_section() == {"client_id": "variable"}
    monkeypatch.setenv(secret_files.NAMED, str(tmp_path / "gone.toml"))
    with pytest.raises(ConfigError, match=r"gone\.toml cannot be read, so it is not known who may"):
        auth_section()


def test_a_folder_as_kubernetes_mounts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mounted" / "auth").mkdir(parents=True)
    monkeypatch.setenv(secret_files.NAMED, str(tmp_path / "mounted"))
    for name in ("client_id", "client_secret"):
        (tmp_path / "mounted" / "auth" / name).write_text(f"{name}\n")
    assert auth_section() == {"client_id": "client_id", "client_secret": "client_secret"}
    (tmp_path / "mounted" / "auth" / "client_id").unlink()
    with pytest.raises(ConfigError, match=r"\[auth\] of the secrets must be a section"):
        auth_section()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("secrets.toml", "[auth"),
        ("config.toml", "[secrets"),
        ("config.toml", '[secrets]\nfiles = "a"'),
        ("config.toml", "secrets = 1"),
    ],
)
def test_what_cannot_be_read_lets_nobody_in(tmp_path: Path, file: str, content: str) -> None:
    (tmp_path / "started" / ".streamlit" / file).write_text(content)
    with pytest.raises(ConfigError, match="not known who may|list of paths"):
        auth_section()
