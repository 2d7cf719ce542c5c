"""All tests: a step store of their own, and no results among the project's."""

import gc
import os
import shutil
import tempfile

import joblib
import pytest

# Set before anything imports kit, and inherited by every process that a test starts.
# The workers share it with the process that starts them: a step computed by one serves the others.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["KIT_TESTS"] = tempfile.mkdtemp(prefix="kit-tests-")
_SCRATCH = os.environ["KIT_TESTS"]
os.environ["KIT_STEPS"] = os.path.join(_SCRATCH, "steps")
os.environ["KIT_FIGURES"] = os.path.join(_SCRATCH, "figures")
# Tests run side by side: two threads in each of two kernels would wait for each other.
os.environ["OMP_NUM_THREADS"] = "1"
gc.set_threshold(50_000)  # by default a fifth of the time goes into looking for garbage

import kit.harness.runner.fast_papermill  # noqa: E402, F401  # before anything of Jupyter's

LONGEST = (
    "test_cluster.py", "test_site.py", "test_notebooks.py", "test_attacks.py",
    "test_accelerator.py", "test_browser_lab.py", "test_recompute.py", "test_solutions.py",
    "test_run_all.py", "test_steps.py", "test_start_here.py", "test_runner.py",
    "test_gpu_benchmark.py", "test_template.py",
)  # fmt: skip


def pytest_xdist_auto_num_workers():
    """One worker more than there are cores: each of them often waits for what it started."""
    return joblib.cpu_count() + 1  # of the cores that a container may use


def pytest_collection_modifyitems(items):
    """Files that take longest come first, so that in the end no worker waits for another."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.fixture
def store(tmp_path, monkeypatch):
    """An empty step store."""
    monkeypatch.setenv("KIT_STEPS", str(tmp_path / "steps"))
    return tmp_path / "steps"


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """One thread each: the nets of the tests are so small that more would wait for each other."""
    from kit import runtime

    with runtime.threads(1):
        yield


@pytest.fixture(scope="session")
def shared_data():
    """The folder with the real MNIST beside the checkout; without it a test is skipped."""
    from kit import runtime

    folder = runtime.root() / ".." / "shared" / "data"
    if not (folder / "mnist.npz").is_file():
        pytest.skip("no shared/data/mnist.npz beside the checkout")
    return folder


@pytest.fixture(scope="session")
def browser():
    """Debian's chromium, driven by Playwright; without one of them a test is skipped."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is missing")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium: apt install chromium")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()
