"""A PostgreSQL of the tests' own, on a loopback port."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from pathlib import Path

INSTALLED = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
USER = "postgres"  # it refuses to be root


class PostgresServer:
    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._data, self._said = self._folder / "data", self._folder.with_suffix(".txt")
        if os.getuid() == 0:
            shutil.chown(self._folder, USER)
        self._do("initdb", "-D", self._data, "-A", "trust", "-U", "tester", "--no-sync")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.start()

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self._folder} -F"
        self._do("pg_ctl", "-D", self._data, "-o", options, "-l", self._folder / "log", "-w", "start")

    def stop(self) -> None:
        self._do("pg_ctl", "-D", self._data, "-m", "immediate", "-w", "stop")

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self._folder)
        self._said.unlink()

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://tester@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Its URL."""
        name = f"db_{uuid.uuid4().hex}"
        self._do("createdb", "-h", "127.0.0.1", "-p", self.port, "-U", "tester", name)
        return self.url(name)

    def _do(self, program: str, *arguments: object) -> None:
        command = [str(INSTALLED[-1] / program), *map(str, arguments)]
        if os.getuid() == 0:
            command = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", *command]
        with self._said.open("w+") as said:  # a server that stays holds pipes open
            done = subprocess.run(
                command, cwd=self._folder, stdout=said, stderr=said, stdin=subprocess.DEVNULL, check=False
            )
            said.seek(0)
            assert done.returncode == 0, said.read()
