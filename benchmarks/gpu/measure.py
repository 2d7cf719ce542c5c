"""What a card takes: one part after another, as far as the time goes, each written at once.

A part that has been finished is not measured again: a second call goes on where the first one had to
stop, within a profile too, whose steps are kept. Times are medians after a warm-up, by the device's own events where it has them.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import kit
from kit import runtime
from kit.harness import machine, steps

Rows = list[dict[str, Any]]
OVER = 124  # exit status of a command whose time was over


@dataclasses.dataclass(frozen=True)
class Session:
    """Where is measured, how long, and whether only to see that it runs (`tiny`)."""

    device: torch.device
    data: str
    out: Path
    deadline: float
    tiny: bool = False

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()

    def load(self, name: str, train: int, test: int) -> kit.data.Dataset:
        """Images on the device; digits where the data set is not there."""
        if self.tiny or not kit.data.present(name, self.data):
            return kit.data.load("digits", train=100, test=20).to(self.device)
        return kit.data.load(name, self.data, train=train, test=test).to(self.device)

    def net(self, name: str, data: kit.data.Dataset, seed: int = 0) -> torch.nn.Module:
        """A net on the device."""
        name = "lenet5" if self.tiny else name
        return kit.nets.build(name, data.shape, data.classes, seed=seed).to(self.device)

    def seconds(self, way: Callable[[], Any], runs: int = 5) -> float:
        """Median of some runs, after one that warms up."""
        return statistics.median(
            [self._once(way) for _ in range(1 if self.tiny else runs + 1)][-runs:]
        )

    def _once(self, way: Callable[[], Any]) -> float:
        if self.device.type != "cuda":
            started = time.perf_counter()
            way()
            return time.perf_counter() - started
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        way()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) / 1000

    def run(self, *command: str, **environment: str) -> tuple[int, str]:
        """Exit status and end of the output of a command, which has the time that is left."""
        where = {"KIT_DATA": self.data} if self.data else {}
        try:
            done = subprocess.run(
                [sys.executable, *command],
                cwd=runtime.root(),
                check=False,
                text=True,
                env=os.environ | where | environment,
                timeout=max(self.left, 1),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        except subprocess.TimeoutExpired as stopped:
            return OVER, (stopped.output or b"").decode(errors="replace")[-2000:]
        return done.returncode, done.stdout[-2000:]


def main(session: Session) -> None:
    """Measure all parts that have not been, until the time is over."""
    session.out.mkdir(parents=True, exist_ok=True)
    if session.device.type == "cuda":
        torch.cuda.set_device(session.device)  # whose events are timed
    for name, (least, part) in PARTS.items():
        path = session.out / f"{name}.json"
        done = path.is_file() and json.loads(path.read_text(encoding="utf-8"))["finished"]
        if done or session.left < least:
            print(f"{name}: {'there' if done else 'no time'}", flush=True)
            continue
        started = time.monotonic()
        try:
            rows = part(session)
        except Exception as error:  # the others may still be measured
            rows = [{"failed": f"{type(error).__name__}: {error}"[:300]}]
        found = {
            "seconds": round(time.monotonic() - started, 1),
            "finished": not any("failed" in row or row.get("status") == OVER for row in rows),
            "rows": rows,
        }
        path.write_text(json.dumps(found, indent=1), encoding="utf-8")
        (session.out / "gpu.md").write_text(as_text(session), encoding="utf-8")
        print(f"{name}: {found['seconds']} s", flush=True)


def as_text(session: Session) -> str:
    """All that has been measured, as Markdown."""
    hardware = machine.hardware(session.device)
    text = [
        f"# On {hardware['processor']}",
        "",
        f"torch {hardware['torch']}; by `benchmarks.gpu`.",
        "",
    ]
    for name, (_, part) in PARTS.items():
        path = session.out / f"{name}.json"
        if path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
            title = (part.__doc__ or name).splitlines()[0]
            text += [f"## {title}", "", tabulate(found["rows"], "keys", "pipe", floatfmt=".4g"), ""]
    return "\n".join(text)


# --- parts -----------------------------------------------------------------------------------------


def tests(session: Session) -> Rows:
    """The tests of the emulated accelerator, on this one."""
    command = ("-m", "pytest", "-q", "-n0", "tests/test_accelerator.py")
    status, said = session.run(*command, KIT_TEST_DEVICE=str(session.device))
    lines = [line for line in said.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return [
        {"status": status, "says": line} for line in [*lines[:20], said.strip().splitlines()[-1]]
    ]


def quick(session: Session) -> Rows:
    """run_all.py at profile quick, all notebooks."""
    rows = []
    for notebook in ("00", "01", "02", "03", "04"):
        started = time.monotonic()
        options = (
            "--only",
            notebook,
            "--device",
            str(session.device),
            "--out",
            str(session.out / "quick"),
        )
        status, said = session.run(
            "run_all.py", *options, KIT_IGNORE_COMMITTED="1", KIT_STEPS=str(session.out / "steps")
        )
        seconds = time.monotonic() - started
        rows.append(
            {
                "notebook": notebook,
                "seconds": seconds,
                "status": status,
                "says": said[-200:] if status else "",
            }
        )
    return rows


def stacked(session: Session) -> Rows:
    """A generation's nets trained as one stacked model, and one after another."""
    data, rows = session.load("mnist", 4000, 1000), []
    for members in (1, 4) if session.tiny else (1, 4, 16, 64):
        noise = torch.stack(
            [kit.perturbations.uniform(10, 5, data.shape, seed=seed) for seed in range(members)]
        ).to(session.device)

        def train(
            on: bool, captured: bool = False, members: int = members, noise: Any = noise
        ) -> None:
            kit.training.fit_many(
                [session.net("graynet", data) for _ in range(members)],
                data.x_train,
                data.y_train,
                epochs=1,
                member_args=noise,
                stacked=on,
                captured=captured,
                transform=lambda noise, x, y: (kit.perturbations.apply(noise, x, y), y),
            )

        row = {
            "members": members, "one by one (s)": session.seconds(lambda: train(False), 3),
            "stacked (s)": session.seconds(lambda: train(True), 3),
        }  # fmt: skip
        if session.device.type == "cuda":
            row["stacked, as a graph (s)"] = session.seconds(lambda: train(True, True), 3)
        rows.append(row)
    return rows


def graphs(session: Session) -> Rows:
    """An epoch as CUDA graphs: seconds, and how far the weights lie apart."""
    data, rows = session.load("cifar10", 6400, 1000), []
    reference = session.net("resnet8", data, seed=1)
    units = kit.misalignment.reference_gradients(reference, data.x_train, data.y_train)
    losses = {"plain": None, "GM": kit.misalignment.misaligned(units)}
    for name in ("lenet5", "resnet8", "hand_a"):
        for label, loss in losses.items():

            def train(captured: bool, name: str = name, loss: Any = loss) -> torch.nn.Module:
                net = session.net(name, data)
                kit.training.fit(
                    net, data.x_train, data.y_train, epochs=2, loss=loss, captured=captured
                )
                return net

            ends = [
                torch.nn.utils.parameters_to_vector(train(on).parameters()) for on in (False, True)
            ]
            rows.append(
                {
                    "net": name, "loss": label,
                    "two epochs (s)": session.seconds(lambda: train(False), 3),
                    "as graphs (s)": session.seconds(lambda: train(True), 3),
                    "weights apart": ((ends[0] - ends[1]).norm() / ends[0].norm()).item(),
                }
            )  # fmt: skip
    return rows


def jobs(session: Session) -> Rows:
    """Tasks of notebook 01 on one card, by so many processes."""
    from kit.experiments.evolved_perturbations.steps import train_perturbed
    from kit.experiments.images import split

    images = split("digits")
    options = dict(
        net="graynet", optimizer="adam", lr=1e-3, epochs=3, batch_size=32, crop=0, flip=False
    )
    rows = []
    for count in (1,) if session.tiny else (1, 4, 8, 16):
        os.environ["KIT_STEPS"] = str(session.out / f"jobs-{count}")
        tasks = [
            train_perturbed.task(
                split=images,
                noise={"kind": "uniform", "pixels": 1, "draw": n + 1},
                repeat=1,
                **options,
            )
            for n in range(2 if session.tiny else 64)
        ]
        started = time.monotonic()
        steps.compute(tasks, jobs=count, device=str(session.device))
        rows.append({"jobs": count, "64 tasks (s)": time.monotonic() - started})
    return rows


def attacks(session: Session) -> Rows:
    """Attacks and metrics per 1,000 images, without TF32 and with it."""
    data, rows = session.load("cifar10", 10_000, 1000), []
    net = session.net("resnet20", data)
    kit.training.fit(net, data.x_train, data.y_train, epochs=2)
    x, y = data.x_test, data.y_test
    ways = {
        "PGD, 40 steps": lambda: kit.attacks.pgd(net, x, y, eps=8 / 255),
        "nearest L2": lambda: kit.attacks.nearest_l2(net, x, y),
        "CW, 5 × 100 steps": lambda: kit.attacks.cw_l2(net, x, y, steps=100, search_steps=5),
        "DeepFool": lambda: kit.attacks.deepfool(net, x, y),
        "CLEVER": lambda: kit.robustness.clever(net, x[:10], batches=10, batch_size=100),
        "K-NN": lambda: kit.neighbors.predict(data.x_train, data.y_train, x),
    }
    exact = kit.neighbors.nearest(data.x_train.cpu(), x.cpu(), 7)
    for name, way in ways.items():
        images = 10 if name == "CLEVER" else len(x)
        row: dict[str, Any] = {"work": name}
        for label, allowed in (("float32 (s)", False), ("TF32 (s)", True)):
            torch.backends.cuda.matmul.allow_tf32 = allowed
            torch.backends.cudnn.allow_tf32 = allowed
            row[label] = session.seconds(way, 3) * 1000 / images
            if name == "K-NN":
                found = kit.neighbors.nearest(data.x_train, x, 7).cpu()
                row[f"{label[:7].strip()}: neighbours as in float64"] = float(
                    (found == exact).float().mean()
                )
        rows.append(row)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = True
    return rows


def loader(session: Session) -> Rows:
    """An epoch of ResNet-20 on CIFAR-10, against a DataLoader's loop."""
    data = session.load("cifar10", 50_000, 1000)
    ours, theirs = session.net("resnet20", data), session.net("resnet20", data)
    images = TensorDataset(data.x_train.cpu(), data.y_train.cpu())
    batches = DataLoader(images, batch_size=128, shuffle=True, num_workers=0 if session.tiny else 8)
    update = torch.optim.Adam(theirs.parameters())

    def loop() -> None:
        theirs.train()
        for x, y in batches:
            loss = cross_entropy(theirs(x.to(session.device)), y.to(session.device))
            update.zero_grad()
            loss.backward()
            update.step()

    ways = {
        "kit": lambda: kit.training.fit(ours, data.x_train, data.y_train, epochs=1),
        "DataLoader": loop,
    }
    return [{"loop": name, "epoch (s)": session.seconds(way, 3)} for name, way in ways.items()]


def profile(session: Session, name: str) -> Rows:
    """A profile by run_all.py; what is finished is kept for the next call."""
    status, said = session.run(
        "run_all.py",
        "--profile",
        name,
        "--device",
        str(session.device),
        "--out",
        str(session.out / name),
        "--compare",
        f"figures/{name}",
        KIT_IGNORE_COMMITTED="1",
        KIT_STEPS=str(session.out / "steps"),
    )
    return [{"status": status, "says": line} for line in said.splitlines()[-15:]]


def ci(session: Session) -> Rows:
    """Profile ci, compared with the committed results (status 124: the time was over)."""
    return profile(session, "ci")


def paper(session: Session) -> Rows:
    """Profile paper, as far as the time went (status 124: the time was over)."""
    return profile(session, "paper")


# In this order; each with the seconds that it needs at least.
PARTS: dict[str, tuple[float, Callable[[Session], Rows]]] = {
    "tests": (60, tests), "quick": (60, quick), "stacked": (30, stacked), "graphs": (30, graphs),
    "jobs": (60, jobs), "attacks": (30, attacks), "loader": (30, loader), "ci": (30, ci),
    "paper": (30, paper),
}  # fmt: skip
