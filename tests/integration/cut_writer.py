"""A program: a writer locks a row and is cut off in the middle of what it sends, on a network of
this program's own; says whether another has the row before long."""

from __future__ import annotations

import subprocess
import sys

import psycopg

from controlplane.chaos.fabric import Fabric, leave_network
from controlplane.sim.postgresql import PostgresqlServer

_WAIT = "12s"
"""Longer than the server listens in vain to a machine that is gone."""
_WRITER = """
import sys, time
from controlplane.store.engine import open_engine

connection = open_engine(sys.argv[1], writer=True).connect().connection.driver_connection.pgconn
connection.enter_pipeline_mode()
connection.send_query_params(b"BEGIN", [])
connection.send_query_params(b"SELECT id FROM owned FOR SHARE", [])
connection.send_flush_request()
while connection.flush():
    pass
connection.consume_input()
while connection.is_busy():
    connection.consume_input()
print("locked", flush=True)
time.sleep(600)
"""


def main() -> None:
    if not leave_network():
        print("no namespaces")
        return
    fabric = Fabric(namespaces=True)
    database, node = fabric.add("database"), fabric.add("node")
    with database.inside():
        server = PostgresqlServer(address=database.address, clients=fabric.subnet)
    with server:
        url = server.create("cut")
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE owned (id INTEGER)")
            connection.execute("INSERT INTO owned VALUES (1)")
        with node.inside():
            writer = subprocess.Popen([sys.executable, "-c", _WRITER, url], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"locked\n"
        fabric.cut("node")
        with psycopg.connect(url) as connection:
            connection.execute(f"SET lock_timeout = '{_WAIT}'")
            connection.execute("SELECT id FROM owned FOR UPDATE")
        print("free")
        writer.kill()
        writer.wait()


main()
