"""Where the runs are: the URI of the store, its experiment, one process at a time that creates its tables."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sugar.config import InputError
from sugar.data.atomic import atomic_path

if TYPE_CHECKING:
    from mlflow import MlflowClient


def absolute_uri(uri: str, root: Path) -> str:
    """`sqlite:///mlflow.db` as an absolute path under `root`; other URIs as they are."""
    scheme = "sqlite:///"
    if not uri.startswith(scheme) or uri.startswith(f"{scheme}/") or uri == f"{scheme}:memory:":
        return uri
    return f"{scheme}{(root / uri.removeprefix(scheme)).resolve()}"


def artifact_location(artifacts: str, root: Path) -> str:
    """URI of a folder for artifacts under `root`; a URI as it is."""
    return artifacts if "://" in artifacts else (root / artifacts).resolve().as_uri()


@contextlib.contextmanager
def first_user(uri: str) -> Iterator[None]:
    """One process at a time creates the tables of a SQLite store."""
    if not uri.startswith("sqlite:////"):
        yield
        return
    file = Path(uri.removeprefix("sqlite:///"))
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file.with_name(file.name + ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def make_store(uri: str) -> None:
    """Create the tables of a SQLite store that is not there yet: beside it, then renamed.

    A store that is there is whole: MLflow cannot go on with tables of which only some were made.
    """
    if not uri.startswith("sqlite:////"):
        return
    file = Path(uri.removeprefix("sqlite:///"))
    if file.exists():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    for left in file.parent.glob(f".{file.name}.tmp-*"):  # of a killed process, its journal too
        left.unlink()
    with atomic_path(file) as fresh:
        SqlAlchemyStore(f"sqlite:///{fresh}", (file.parent / "mlruns").as_uri()).engine.dispose()


class StoreUnavailable(RuntimeError):
    """The store cannot be reached or opened: one line says which and why."""

    expected = True


@contextlib.contextmanager
def opening(uri: str) -> Iterator[None]:
    """What happens within opens a store: a server that is not there is told in seconds, errors are one line.

    Raises:
        StoreUnavailable: nothing listens there; the file is no database, or of another version; no room.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    if uri.startswith("http"):
        _reach(uri)
    try:
        yield
    except (MlflowException, SQLAlchemyError) as error:
        # The first line says it; SQL and advice follow.
        raise StoreUnavailable(f"tracking.uri {public_uri(uri)}: {str(error).splitlines()[0]}") from error


def _reach(uri: str, pauses: tuple[float, ...] = (1.0, 3.0)) -> None:
    """Three attempts at a connection; MLflow's own client would try for minutes."""
    parts = urlsplit(uri)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    if parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host):
        return
    for pause in (*pauses, None):
        try:
            socket.create_connection((host, port), timeout=10).close()
            return
        except OSError as error:
            if pause is None:
                why = error.strerror or str(error)
                raise StoreUnavailable(
                    f"tracking.uri {public_uri(uri)}: cannot be reached ({why})"
                ) from error
            time.sleep(pause)


def public_uri(uri: str) -> str:
    """The URI without a password."""
    return uri.replace(f"//{urlsplit(uri).netloc}", f"//{urlsplit(uri).netloc.rpartition('@')[2]}", 1)


def experiment_id(client: MlflowClient, name: str, location: str | None) -> str:
    """Id of an experiment, created where it is missing with its artifacts at `location`.

    Raises:
        InputError: it was deleted in MLflow.
    """
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return client.create_experiment(name, artifact_location=location)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # another process was quicker
    assert found is not None
    if found.lifecycle_stage != "active":
        raise InputError(f"tracking.experiment: '{name}' was deleted in MLflow; restore it or name another")
    return found.experiment_id
