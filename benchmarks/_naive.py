"""The route that most Flask and RQ projects begin with: files to disk, one plain RQ job each, 202."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from uuid import uuid4

import flask
import redis
from rq import Queue
from werkzeug.utils import secure_filename


def create_app() -> flask.Flask:
    """The application on REDIS_URL, writing below NAIVE_FOLDER."""
    app = flask.Flask(__name__)
    folder = Path(os.environ["NAIVE_FOLDER"])
    queue = Queue("naive", connection=redis.Redis.from_url(os.environ["REDIS_URL"]))

    @app.get("/readyz")
    def ready() -> str:
        queue.connection.ping()
        return "ok"

    @app.post("/upload")
    def upload() -> Any:
        jobs = []
        for file in flask.request.files.getlist("files"):
            path = folder / f"{uuid4().hex}-{secure_filename(file.filename or 'file')}"
            file.save(path)
            jobs.append(queue.enqueue(process, str(path)).id)
        return {"jobs": jobs}, 202

    return app


def process(path: str) -> int:
    """What a worker would run; none does while the route is measured."""
    return Path(path).stat().st_size
