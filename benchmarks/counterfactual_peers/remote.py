"""A model that lives in the process that runs the benchmark: the same one for every peer, and its calls are counted.

Peers pin versions of scikit-learn that cannot read each other's pickles, so that rows and probabilities travel as
JSON through a local socket.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from multiprocessing.connection import Client

import numpy as np


class Remote:
    """What peers take for a scikit-learn classifier; `transport` is the time that travelling has cost."""

    def __init__(self, job):
        self.columns = job["columns"]
        self.classes_ = np.arange(job["classes"])
        self.transport = 0.0
        self._line = Client(tuple(job["address"]), authkey=bytes.fromhex(job["key"]))

    def predict_proba(self, rows):
        """Return the probability of each class, ``(B, C)``, for a frame or an array of rows."""
        start = time.process_time()
        table = rows[self.columns].to_numpy().tolist() if hasattr(rows, "columns") else np.asarray(rows).tolist()
        self._line.send_bytes(json.dumps(table).encode())
        answer = np.array(json.loads(self._line.recv_bytes()))
        self.transport += time.process_time() - start
        return answer

    def predict(self, rows):
        """Return the label of each row, ``(B,)``."""
        return self.predict_proba(rows).argmax(axis=1)


def run(job, folder, explain, remote, version):
    """Answer a job's queries one by one until its time is up; each is written down before the next begins.

    Arguments:
        job: as the benchmark has written it.
        folder: where ``answers.json`` is written.
        explain: from a query's position to a row as a list, or None.
        remote: the model that was asked; what travelling has cost is taken off the time.
        version: name and version of the peer.
    """
    start, travelled = time.process_time(), remote.transport
    rows, errors, spent = [], Counter(), 0.0
    for position in range(job["queries"]):
        if spent > job["limit_s"]:
            break
        try:
            rows.append(explain(position))
        except Exception as error:
            # "None found" is an exception in some peers.
            rows.append(None)
            errors[f"{type(error).__name__}: {error}"[:200]] += 1
        spent = time.process_time() - start - (remote.transport - travelled)
        answers = {"rows": rows, "cpu_s": spent, "errors": errors, "version": version}
        (folder / "answers.json").write_text(json.dumps(answers, default=float))
