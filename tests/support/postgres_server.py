"""PostgreSQL server for tests, on a loopback port."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from pathlib import Path

PROGRAM_FOLDERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
USER = "postgres"  # the server refuses to run as root


class PostgresServer:
    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._data, self._output = self._folder / "data", self._folder.with_suffix(".txt")
        if os.getuid() == 0:
            shutil.chown(self._folder, USER)
        self._run("initdb", "-D", self._data, "-A", "trust", "-U", "tester", "--no-sync")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.start()

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self._folder} -F"
        self._run("pg_ctl", "-D", self._data, "-o", options, "-l", self._folder / "log", "-w", "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", self._data, "-m", "immediate", "-w", "stop")

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self._folder)
        self._output.unlink()

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://tester@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Create an empty database; return its URL."""
        name = f"db_{uuid.uuid4().hex}"
        self._run("createdb", "-h", "127.0.0.1", "-p", self.port, "-U", "tester", name)
        return self.url(name)

    def _run(self, program: str, *arguments: object) -> None:
        command = [str(PROGRAM_FOLDERS[-1] / program), *map(str, arguments)]
        if os.getuid() == 0:
            command = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", *command]
        with self._output.open("w+") as output:  # not a pipe: the server, which keeps running, would hold it open
            done = subprocess.run(
                command, cwd=self._folder, stdout=output, stderr=output, stdin=subprocess.DEVNULL, check=False
            )
            output.seek(0)
            assert done.returncode == 0, output.read()
