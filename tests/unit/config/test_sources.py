"""Prove what is read from files, and when."""

from __future__ import annotations

import subprocess
import sys

import pytest


def test_dotenv_knows_quotes_comments_export_and_other_variables(root) -> None:
    """The notation is that of python-dotenv, which services use today."""
    root.write(
        ".env",
        "\ufeff# c\nexport ORDERS_DB_NAME='my db' # c\nHOST=db\nORDERS_DB_HOST=${HOST}.${ZONE:-x}\n"
        'ORDERS_DB_USER="a\\"b"\nORDERS_DB_PASSWORD="two\nlines"\nORDERS_DB_PORT=1\n',
    )
    database = root.load({"ZONE": "eu"}).database
    assert (database.name, database.host, database.user) == ("my db", "db.eu", 'a"b')
    assert database.password.get_secret_value() == "two\nlines"
    assert database.port == 1


def test_yaml_words_that_look_like_booleans_mean_what_was_written(root) -> None:
    """`access_log: off` is a word of this setting, and `on:` is a key."""
    root.write("config/shared.yml", "http: {access_log: off}\napp: {on: 1, 5: x}\n")
    settings = root.load()
    assert settings.http.access_log == "off"
    assert settings.extra == {"app": {"on": 1, "5": "x"}}


def test_yaml_lists_may_be_written_with_commas(root) -> None:
    """Both notations of a list are understood everywhere."""
    root.write("config/shared.yml", "nats: {servers: 'a:1, b:2'}\nhttp: {exclude: [/x, /y]}\n")
    settings = root.load()
    assert settings.nats.servers == ("nats://a:1", "nats://b:2")
    assert settings.http.exclude == ("/x", "/y")


@pytest.mark.parametrize("text", ["", "---\n", "# nothing\n", "~"])
def test_an_empty_file_says_nothing(root, text: str) -> None:
    """A file may be there before anything is in it."""
    root.write("config/shared.yml", text)
    root.write(".env", text.replace("~", "").replace("---", ""))
    assert root.load().extra == {}


def test_yaml_cannot_make_objects(root) -> None:
    """Only plain data is read."""
    root.write("config/shared.yml", "app: !!python/object/apply:os.getcwd []\n")
    assert "is not valid YAML" in root.refused()


def test_importing_reads_no_file_and_no_variable_and_prints_nothing() -> None:
    """Nothing happens before a function is called."""
    script = """
import os, sys
import dotenv.parser, pydantic, yaml
read, opened = [], []
class Watched(dict):
    def __getitem__(self, name):
        read.append(name)
        return super().__getitem__(name)
    def get(self, name, default=None):
        read.append(name)
        return super().get(name, default)
os.environ = Watched(os.environ)
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
import glam_sdk.config
ours = ("OTEL_", "GLAM_", "NATS_", "LOG_", "APP_")
assert not [name for name in read if name.startswith(ours)], read
assert not [name for name in opened if name.endswith((".yml", ".env"))], opened
frameworks = {"fastapi", "sqlalchemy", "nats", "httpx", "opentelemetry.sdk", "asyncio"}
assert not frameworks & set(sys.modules), frameworks & set(sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
