"""What is shipped beside the code: the compose file and the pinned requirements."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from gateway.cli import COMMANDS
from gateway.foundation.embedded.roles import database_statements
from gateway.foundation.settings import Settings, role_names

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def ours(compose) -> dict:
    return {name: service for name, service in compose["services"].items() if "build" in service}


def test_compose_runs_the_servers_and_every_process(compose):
    assert set(compose["services"]) == {"postgres", "valkey", "migrate", "api", "worker", "sandbox"}
    assert compose["services"]["postgres"]["image"] == "postgres:18"


def test_compose_gives_known_commands_and_files(compose):
    for service in ours(compose).values():
        assert service["command"][0] in COMMANDS
        assert (ROOT / service["build"]["dockerfile"]).is_file()
    assert (ROOT / "ops/create_roles.sh").is_file()


def test_compose_variables_are_settings_that_can_be_read(compose):
    for service in ours(compose).values():
        variables = {name: re.sub(r"\$\{.*?\}", "ab" * 32, value) for name, value in service["environment"].items()}
        read = Settings.from_environment(variables).as_environment()
        assert {name: read[name] for name in variables} == variables


def test_owner_login_is_given_to_migrations_only(compose):
    holders = {name for name, service in ours(compose).items() if "DATABASE_OWNER_URL" in service["environment"]}
    assert holders == {"migrate"}


def test_compose_creates_the_roles_that_the_migrations_expect():
    script = (ROOT / "ops/create_roles.sh").read_text()
    for name in role_names({}).values():
        assert f"CREATE ROLE {name} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE" in script
    for statement in database_statements(role_names({}), database="quickkub")[:2]:
        assert statement in script


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_requirements_are_pinned_with_hashes(name):
    entries = re.split(r"\n(?=[a-z0-9])", (ROOT / name).read_text().strip())
    for entry in entries:
        assert re.match(r"[a-z0-9-]+==\S+", entry), entry
        assert "--hash=sha256:" in entry, entry


def test_every_dependency_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    pinned = {
        name: set(re.findall(r"^([a-z0-9-]+)==", (ROOT / name).read_text(), re.MULTILINE))
        for name in ("requirements.txt", "requirements-dev.txt")
    }
    runtime = {re.match(r"[a-z0-9-]+", entry).group() for entry in project["project"]["dependencies"]}
    assert runtime <= pinned["requirements.txt"]
    assert set(project["dependency-groups"]["dev"]) | runtime <= pinned["requirements-dev.txt"]
