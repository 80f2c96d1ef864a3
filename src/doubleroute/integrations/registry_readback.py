"""Load a registered model in a process of its own and answer golden rows: run by path, never imported.

    python -P registry_readback.py MODEL_FOLDER REQUEST.json ANSWERS.json

It imports nothing of doubleroute, so that the code stored with the model is what answers.
"""

import ctypes
import json
import sys
import warnings
from pathlib import Path


def main(folder: str, request: str, answers: str) -> None:
    """Answer the rows of ``request`` (a JSON list of objects) with the model in ``folder``."""
    warnings.simplefilter("ignore")
    import mlflow.pyfunc
    import pandas

    rows = json.loads(Path(request).read_text(encoding="utf-8"))
    model = mlflow.pyfunc.load_model(folder)
    found = model.predict(pandas.DataFrame(rows))
    Path(answers).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    if sys.platform == "linux":  # as doubleroute.processes, which is not to be imported here
        ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL: end when the run is killed
    main(*sys.argv[1:])
