"""scikit-learn's check with array-API dispatch, which scipy allows only where it was asked for at the start."""

import os
import subprocess
import sys
from pathlib import Path

from tests.array_api import ESTIMATORS


def test_every_estimator_passes_the_array_api_check():
    root = Path(__file__).parent.parent
    paths = os.pathsep.join([str(root), str(root / "src")])
    environment = {**os.environ, "SCIPY_ARRAY_API": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    done = subprocess.run(
        [sys.executable, "-m", "tests.array_api"], env=environment, cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == [type(estimator).__name__ for estimator in ESTIMATORS]
