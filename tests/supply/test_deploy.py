"""The service unit and the container recipe of docs/deploy.md, by the tools that read them where they are there."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST_EXPOSED = 30
"""Of 100, by `systemd-analyze security`; a service without any of these settings has 96."""


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.+?)```", (ROOT / "docs" / "deploy.md").read_text(), re.DOTALL)
    return found


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, with a program that is there."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    file = tmp_path / "dermlens.service"
    file.write_text(re.sub(r"ExecStart=\S+", "ExecStart=/bin/sh", block("ini")))
    return file


def test_the_unit_is_one_that_systemd_reads_without_a_complaint(unit: Path) -> None:
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True)
    assert [line for line in done.stderr.splitlines() if "dermlens" in line] == []


def test_the_unit_shuts_the_service_in(unit: Path) -> None:
    command = ["systemd-analyze", "security", "--offline=yes", f"--threshold={MOST_EXPOSED}", unit]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_recipe_keeps_the_rules_for_recipes() -> None:
    lines = [line for line in block("dockerfile").splitlines() if line]
    words = [line.split() for line in lines]
    assert words[0][0] == "FROM"
    assert re.fullmatch(r"python:3\.1[123]-slim-\w+", words[0][1]), "a version, never the latest"
    orders = [line[0] for line in words]
    known = {"FROM", "RUN", "WORKDIR", "COPY", "USER", "ENV", "EXPOSE", "HEALTHCHECK", "CMD"}
    assert set(orders) <= known
    assert orders.index("USER") > max(i for i, order in enumerate(orders) if order == "RUN"), "root only to build"
    assert words[orders.index("USER")][1] not in ("root", "0")
    installs = next(line for line in lines if "apt-get install" in line)
    assert "--no-install-recommends" in installs
    assert "rm -rf /var/lib/apt/lists" in installs
    assert lines[-1].startswith('CMD ["'), "no shell between the server and its signals"
    assert "pip install" not in block("dockerfile"), "make installs by hashes"


def test_the_container_answers_to_its_own_name_and_to_its_health_check() -> None:
    (hosts,) = re.findall(r'ENV STREAMLIT_SERVER_ALLOWED_HOSTS="(.+)"', block("dockerfile"))
    allowed = hosts.split()  # as Streamlit reads it: no commas
    (asked,) = re.findall(r"HEALTHCHECK .*http://([\w.]+):", block("dockerfile"))
    assert asked in allowed
    assert "dermlens.example.org" in allowed


LINKS = (
    "/predict?case=0123456789ab",
    "/media/0123456789ab.png",
    "/_stcore/upload_file/0123456789ab/file",
    "/base/_stcore/upload_file/0123456789ab/file",
)
"""What no log may hold."""


@pytest.mark.parametrize("link", LINKS)
def test_the_logs_of_the_proxies_name_no_case_and_no_session(link: str) -> None:
    text = (ROOT / "docs" / "deploy.md").read_text()
    (cut,) = re.findall(r'request>uri regexp "(.+)" ""', text)
    assert "0123456789ab" not in re.sub(cut, "", link), "Caddy"
    (shown,) = re.findall(r"map \$uri \$shown_path \{\n(.+?)\}", text, re.DOTALL)
    rules = [(words[0].removeprefix("~"), words[1]) for words in map(str.split, shown.strip().splitlines())]
    assert rules.pop()[0] == "default"
    path = link.partition("?")[0]  # $uri is without the query
    assert "0123456789ab" not in next((said for rule, said in rules if re.search(rule, path)), path), "nginx"


def test_the_log_of_errors_of_nginx_holds_no_lines_of_requests() -> None:
    text = (ROOT / "docs" / "deploy.md").read_text()
    levels = re.findall(r"error_log \S+ (\w+);", text)
    assert levels == ["crit"], "what is refused and what fails behind it is written below that level"
    assert "limit_conn_log_level info;" in text


@pytest.mark.slow
def test_the_image_is_built_and_answers(tmp_path: Path) -> None:
    docker = next((name for name in ("docker", "podman") if shutil.which(name)), None)
    if not docker or subprocess.run([docker, "info"], capture_output=True).returncode:
        pytest.skip("no builder of images answers here; the recipe was read, not built")
    (tmp_path / "Dockerfile").write_text(block("dockerfile"))
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", tmp_path], check=True, input=archive)
    subprocess.run([docker, "build", "--tag", "dermlens-test", tmp_path], check=True)
    asks = "import time, urllib.request as u, subprocess as s; p = s.Popen(['.venv/bin/python', '-m', 'streamlit', "
    asks += "'run', 'Home.py'])\nfor _ in range(300):\n try: print(u.urlopen('http://localhost:8501/_stcore/health')"
    asks += ".status); break\n except OSError: time.sleep(0.2)\np.kill()"
    command = [docker, "run", "--rm", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "dermlens-test"]
    done = subprocess.run([*command, "python", "-c", asks], check=True, capture_output=True, text=True)
    assert "200" in done.stdout
