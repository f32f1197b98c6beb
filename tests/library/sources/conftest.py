"""Real servers for the sources."""

import pytest
import real_servers


@pytest.fixture(scope="session")
def web_server(tmp_path_factory):
    with real_servers.web_server(tmp_path_factory.mktemp("served")) as server:
        yield server


@pytest.fixture(scope="session")
def orthanc(tmp_path_factory):
    """Skipped where the server and its DICOMweb plug-in are not installed."""
    if not real_servers.orthanc_is_installed():
        pytest.skip("Orthanc with its DICOMweb plug-in is not installed")
    with real_servers.orthanc(tmp_path_factory.mktemp("orthanc")) as server:
        yield server
