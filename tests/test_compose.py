"""docker-compose.yml starts the server that the program starts: same version, same safety settings."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from conftest import ROOT

from tosg_graph import browser
from tosg_graph.jars import locked_versions
from tosg_graph.server_config import BOLT_PORT, HTTP_PORT, SAFETY


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def service(compose: dict[str, Any]) -> dict[str, Any]:
    return compose["services"]["neo4j"]


def setting(name: str) -> str:
    """Name of the environment variable that the image reads for a setting of neo4j.conf."""
    return "NEO4J_" + name.replace("_", "__").replace(".", "_")


def test_versions_are_those_of_the_lock(compose: dict[str, Any], service: dict[str, Any]) -> None:
    assert compose["x-versions"] == locked_versions()
    assert service["image"] == f"neo4j:{locked_versions()['neo4j']}-community"


def test_the_health_check_looks_for_the_locked_gds(service: dict[str, Any]) -> None:
    major, minor, _ = locked_versions()["gds"].split(".")
    assert f"'{major}[.]{minor}[.]'" in service["healthcheck"]["test"][1]


@pytest.mark.parametrize("name", sorted(set(SAFETY) - {"server.directories.import"}))
def test_safety_settings_are_those_of_the_local_server(service: dict[str, Any], name: str) -> None:
    # YAML folds the long lists at their line ends, which leaves a space behind each comma.
    assert service["environment"][setting(name)].replace(", ", ",") == SAFETY[name]


def test_there_is_an_import_folder_on_a_volume(service: dict[str, Any]) -> None:
    assert service["environment"][setting("server.directories.import")] == "/import"
    assert "import:/import" in service["volumes"]


def test_no_other_setting_is_loosened(service: dict[str, Any]) -> None:
    told = {k for k in service["environment"] if k.startswith("NEO4J_")} - {
        *map(setting, browser.settings(0))
    }
    memory = {setting(f"server.memory.{n}") for n in ("heap.initial_size", "heap.max_size", "pagecache.size")}
    plain = {"NEO4J_AUTH", "NEO4J_PLUGINS", setting("server.jvm.additional")}
    assert told == {setting(name) for name in SAFETY} | memory | plain


def test_ports_are_bound_to_loopback(service: dict[str, Any]) -> None:
    assert service["ports"] == [f"127.0.0.1:{port}:{port}" for port in (BOLT_PORT, HTTP_PORT)]


def test_browser_gets_the_style_and_the_guide_of_the_local_server(
    compose: dict[str, Any], service: dict[str, Any]
) -> None:
    files = compose["services"]["browser-files"]
    address = files["ports"][0].removesuffix(":80")
    told = {name: service["environment"][setting(name)] for name in browser.settings(0)}
    assert told == {**browser.settings(0), "browser.post_connect_cmd": browser.commands(f"http://{address}")}
    assert address.startswith("127.0.0.1:")
    mounted = {v.split(":")[0] for v in files["volumes"]}
    assert {f"./tosg_graph/web/{name}" for name in ("style.grass", "guide.html", "nginx.conf")} == mounted
    assert all((ROOT / path).is_file() for path in mounted)
    assert all(v.endswith(":ro") for v in files["volumes"])


def test_a_password_is_required_and_none_is_written_down(service: dict[str, Any]) -> None:
    assert service["environment"]["NEO4J_AUTH"].startswith("neo4j/${TOSG_NEO4J_PASSWORD:?")


def test_data_outlive_the_container(compose: dict[str, Any], service: dict[str, Any]) -> None:
    named = {v.partition(":")[0]: v.partition(":")[2] for v in service["volumes"]}
    assert set(named) <= set(compose["volumes"])
    assert {"/data", "/logs", "/plugins"} <= set(named.values())
