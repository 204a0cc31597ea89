"""Real servers that a test starts and stops: an MLflow tracking server, a PostgreSQL."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

START_S = 180.0


def free_port() -> int:
    """A port that nothing listens on at present."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    """Poll until a server is ready; its log is shown when it is not in time."""
    deadline = time.monotonic() + START_S
    while not ready():
        assert process.poll() is None, log.read_text(errors="replace")[-2000:]
        assert time.monotonic() < deadline, log.read_text(errors="replace")[-2000:]
        time.sleep(0.05)


class TrackingServer:
    """`mlflow server` on a folder of its own; it can be killed and started again at the same address."""

    def __init__(self, folder: Path, backend: str | None = None) -> None:
        self.folder, self.port = folder, free_port()
        self.backend = backend or f"sqlite:///{folder / 'server.db'}"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start, and return when it answers."""
        log = self.folder / "server.log"
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", self.backend]
        command += ["--artifacts-destination", str(self.folder / "files")]
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=output, start_new_session=True, env=os.environ | quiet
            )
        wait_until(self._answers, self.process, log)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/health", timeout=5):
                return True
        except OSError:
            return False

    def kill(self) -> None:
        """End it and its workers as a power cut would."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@contextmanager
def tracking_server(folder: Path, backend: str | None = None) -> Iterator[TrackingServer]:
    """A running tracking server for the time of the block."""
    folder.mkdir(parents=True, exist_ok=True)
    server = TrackingServer(folder, backend)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def postgresql_programs() -> Path | None:
    """The folder of initdb and postgres, wherever the system keeps it."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "postgres").exists()), None)


@contextmanager
def postgresql() -> Iterator[str]:
    """The address of an empty PostgreSQL database for the time of the block; it listens on this machine alone."""
    programs = postgresql_programs()
    assert programs is not None
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))  # of its own, since another user may have to enter it
    try:
        with _running_postgresql(programs, folder) as address:
            yield address
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _running_postgresql(programs: Path, folder: Path) -> Iterator[str]:
    as_server = _as_another_user(folder)
    data, log, port = folder / "data", folder / "postgresql.log", free_port()
    make = [str(programs / "initdb"), "-D", str(data), "-U", "test", "-A", "trust", "--no-sync"]
    subprocess.run([*as_server, *make], check=True, capture_output=True, cwd=folder)
    command = [*as_server, str(programs / "postgres"), "-D", str(data), "-p", str(port), "-k", str(folder)]
    command += ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=folder, start_new_session=True)
    is_ready = [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port), "-U", "test", "-d", "postgres"]
    try:
        wait_until(lambda: subprocess.run(is_ready, check=False).returncode == 0, process, log)
        yield f"postgresql://test@127.0.0.1:{port}/postgres"
    finally:
        process.send_signal(signal.SIGINT)  # a fast shutdown: connections that are still open are closed
        process.wait(timeout=120)


def _as_another_user(folder: Path) -> list[str]:
    """PostgreSQL refuses to run as root: there it runs as nobody, to whom the folder is given."""
    if os.geteuid() != 0:
        return []
    shutil.chown(folder, "nobody")
    return ["setpriv", "--reuid=nobody", "--clear-groups"]


class MlflowServer:
    """`mlflow models serve`, asked over HTTP."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, body: object) -> tuple[int, dict[str, Any]]:
        """Status and answer of one request for predictions."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/invocations",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def answers(self) -> bool:
        """Whether it is ready."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ping", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False


@contextmanager
def model_server(model: str, store: str, folder: Path) -> Iterator[MlflowServer]:
    """Serve a registered model from a folder outside the project, as its README says to, and stop it at the end."""
    server = MlflowServer(free_port())
    programs = Path(sys.executable).parent
    command = [programs / "mlflow", "models", "serve", "--env-manager", "local", "-m", model, "-p", str(server.port)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"PATH": f"{programs}:{os.environ['PATH']}", "MLFLOW_TRACKING_URI": store}
    log = folder / "serve.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=environment | {"MLFLOW_DISABLE_TELEMETRY": "true"},
        )
    try:
        wait_until(server.answers, process, log)
        yield server
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=120)
