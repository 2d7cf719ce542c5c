"""Plant errors one by one in a copy of the project, and see whether the tests notice.

    python -m benchmarks.planted_errors --jobs 2
    python -m benchmarks.planted_errors --only 3.C2      # those that are called so; writes nothing

Each error is one replacement in one file; the tests named beside it must fail. What a program makes
just as well, benchmarks/mutants.py draws at random: here is what a person alone can make. It writes
benchmarks/results/planted-errors.md and exits with 1 if fewer than 95 % are caught.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from kit import runtime

SHARE = 0.95
Error = tuple[str, str, str, str, str]
FOLDERS = ("kit", "tests", "notebooks", "figures", "pyproject.toml", "run_all.py")
STUDIES = "kit/experiments/"
ONE = f"{STUDIES}evolved_perturbations/"
TWO = f"{STUDIES}overfitting_vs_robustness/"
THREE, FOUR = f"{STUDIES}knn_tradeoff/", f"{STUDIES}neuroevolution_gm/"
FIT, LOOP, POPULATION = (f"kit/training/{name}.py" for name in ("fitting", "loop", "population"))
NB2, NB3, NB4 = (
    f"notebooks/{name}.ipynb"
    for name in ("02_overfitting_vs_robustness", "03_knn_tradeoff", "04_neuroevolution_gm")
)
CW = "kit/attacks/carlini_wagner.py"
VERDICTS = "kit/harness/results/verdicts.py"
COMPARISON = "kit/harness/results/comparison.py"
DOUBLE = "kit/training/double_backward.py"
OF_ONE = "test_verdicts_evolved_perturbations test_evolved_perturbations test_evolution"
OF_TWO = "test_verdicts_overfitting test_overfitting_vs_robustness"
OF_KNN = "test_verdicts_knn_tradeoff test_knn_tradeoff"
OF_FOUR = "test_verdicts_neuroevolution_gm test_neuroevolution_gm test_neuroevolution"
# What is wrong, where, the right text, the wrong text, and the test files that have to fail. How the
# right text is spaced and broken into lines does not matter.
ERRORS = [
    ("2.C1 with the wrong sign", f"{TWO}claims.py", 'change(success(c["normal"], attack, beyond', '-change(success(c["normal"], attack, beyond', OF_TWO),
    ("2.C1 with the crafting epoch", f"{TWO}claims.py", '"all errors": climb(),', '"all errors": climb(crafting=True),', OF_TWO),
    ("2.C1 as drawn without the crafting epoch", f"{TWO}claims.py", '"as drawn": climb(crafting=True)', '"as drawn": climb()', OF_TWO),
    ("2.C1 reads the other regime", f"{TWO}claims.py", 'change(c["normal"]["test accuracy"])', 'change(c["overfitting"]["test accuracy"])', OF_TWO),
    ("2.C2 reads the other regime", f"{TWO}claims.py", 'last_third(success(c["overfitting"], attack))', 'last_third(success(c["normal"], attack))', OF_TWO),
    ("2.C1 of one attack alone", f"{TWO}claims.py", "yield from _success_climbs(of, attack)", "yield from _success_climbs(of, 'CW')", OF_TWO),
    ("2.C9 of one attack alone", f"{TWO}claims.py", "lower(c, epochs, attack, beyond", "lower(c, epochs, 'CW', beyond", OF_TWO),
    ("the first third for the last", f"{TWO}claims.py", "return curves[..., -max(1, curves.shape[-1] // 3) :]", "return curves[..., : max(1, curves.shape[-1] // 3)]", OF_TWO),
    ("the epoch that crafts of another fold", f"{TWO}claims.py", 'epochs == curves["crafting epoch"][:, None]', 'epochs == curves["crafting epoch"][::-1, None]', OF_TWO),
    ("2.C6 without L∞", f"{TWO}claims.py", 'for norm in ("L2", "Linf")', 'for norm in ("L2", "L2")', OF_TWO),
    ("2.C7's regimes swapped", f"{TWO}claims.py", '-change(c["normal"][name])', '-change(c["overfitting"][name])', OF_TWO),
    ("2.C7 on one grid alone", f"{TWO}claims.py", '"ε in steps of 0.1": "coarse empirical robustness"', '"ε in steps of 0.1": "empirical robustness"', OF_TWO),
    ("2.C10 of the other regime", f"{TWO}claims.py", 'change(c["normal"][f"{output} mean"]', 'change(c["overfitting"][f"{output} mean"]', OF_TWO),
    ("2.C11 by a fold's own maximum", f"{TWO}claims.py", "at = np.where(known & (counts > 0), others, -np.inf).argmax(-1)", "at = np.where(known, curves, -np.inf).argmax(-1)", OF_TWO),
    ("2.C11 of CW alone", f"{TWO}claims.py", 'where_crafted(c["overfitting"], attack) - others', 'where_crafted(c["overfitting"], "CW") - others', OF_TWO),
    ("other images for each fold", f"{TWO}resampling.py", 'times[:, fold[images]] if images else times', 'times[::-1, fold[images]] if images else times', OF_TWO),
    ("CW as published at another epoch", f"{TWO}plan.py", 'epoch=trained["best"][fold], images', 'epoch=config.epochs, images', OF_TWO),
    ("the coarse grid is fine", f"{TWO}steps.py", 'COARSE = {"eps_step": 0.1', 'COARSE = {"eps_step": 0.01', OF_TWO),
    ("PGD with a tenth of ε", f"{TWO}steps.py", "net, x, y, eps=eps, norm=norm, steps=pgd_steps", "net, x, y, eps=eps / 10, norm=norm, steps=pgd_steps", OF_TWO),
    ("the control without noise", f"{TWO}steps.py", "random_direction(x, eps=eps, norm=norm, seed=seed)", "random_direction(x, eps=1e-6, norm=norm, seed=seed)", OF_TWO),
    ("CLEVER of another epoch", f"{TWO}steps.py", "net = _net(data, snapshots, epoch)", "net = _net(data, snapshots, 1)", OF_TWO),
    ("ASR is accuracy", NB2, "missed = predictions(fold) != truth", "missed = predictions(fold) == truth", OF_TWO),
    ("1.C5 by the shorter trainings", f"{ONE}claims.py", 'long, aim = tables.final(e.courses)', 'long, aim = tables.final(e.curves)', OF_ONE),
    ("1.C6 between the wrong two", f"{ONE}claims.py", '("sgd", "adabound")]', '("adabound", "rmsprop")]', OF_ONE),
    ("1.C10 without what F_m says", f"{ONE}measures.py", '(harm["F_d"] - harm["F_m"] * shared)', 'harm["F_d"]', OF_ONE),
    ("1.C10 across generations", f"{ONE}measures.py", '[names].transform("mean")', '[names].transform("mean") * 0', OF_ONE),
    ("1.C13 by the smallest Np alone", f"{ONE}claims.py", '_more_harmful(several, clean, ', '_more_harmful(ours, clean, ', OF_ONE),
    ("1.C15's edge is a single row", f"{ONE}measures.py", 'max(1, round(EDGE * min(height, width)))', '1', OF_ONE),
    ("the control of 1.C15 takes the last candidate", f"{ONE}search_steps.py", 'tried[int(np.argmax(scores))]', 'tried[-1]', OF_ONE),
    ("an epoch's fractions are its batches", f"{ONE}steps.py", 'watch(batch / batches, model)', 'watch(batch, model)', OF_ONE),
    ("one tie-break for all shortcuts", f"{ONE}noises.py", '"shortcut", noise["draw"])', '"shortcut")', OF_ONE),
    ("1.X2 trained by the wrong optimizer", f"{ONE}claims.py", 'small[small["optimizer"] == config.rival]', 'small[small["optimizer"] == aim]', OF_ONE),
    ("1.X3 against the plain search", f"{ONE}claims.py", '("1.X3", RANDOM, "random search")', '("1.X3", PLAIN, "random search")', OF_ONE),
    ("saturation forgotten", f"{ONE}noises.py", 'shape, saturation=noise["saturation"]', "shape, saturation=1.0", OF_ONE),
    ("candidates trained without noise", f"{ONE}steps.py", "net = _train(data, split.seed, search[\"net\"], eta, start, **options)", "net = _train(data, split.seed, search[\"net\"], 0 * eta, start, **options)", OF_ONE),
    ("tested on training images", f"{ONE}steps.py", "return 1 - kit.training.accuracy(net, data.x_test, data.y_test)", "return 1 - kit.training.accuracy(net, data.x_train, data.y_train)", OF_ONE),
    ("FGSM with twice ε", f"{THREE}steps.py", "net, x, y, eps=eps, classes=len(data.classes)", "net, x, y, eps=2 * eps, classes=len(data.classes)", OF_KNN),
    ("noise of one sign", f"{THREE}steps.py", "generator=generator) * 2 - 1", "generator=generator) * 0 + 1", OF_KNN),
    ("LeNet of another run", f"{THREE}steps.py", 'derive_seed(seed, "net", run)', 'derive_seed(seed, "net", 1 - run)', OF_KNN),
    ("slopes upside down", NB3, "slope=A[j] / A[j + 2]", "slope=A[j + 2] / A[j]", OF_KNN),
    ("3.C1 with the wrong sign", f"{THREE}claims.py", 'step["difference"], "points"', '-step["difference"], "points"', OF_KNN),
    ("3.C1 by the slopes", f"{THREE}claims.py", 'step["difference"], "points"', 'step["slope"], "points"', OF_KNN),
    ("3.C1 on the control set", f"{THREE}claims.py", 'slopes[slopes["set"] == attack]', 'slopes[slopes["set"] == CONTROL]', OF_KNN),
    ("3.C1 finer than one image", f"{THREE}claims.py", "100 / max(images.sum(), 1)", "1 / max(images.sum(), 1)", OF_KNN),
    ("claims of one attack alone", f"{THREE}claims.py", "yield from _beside_noise(noise, attack)", 'yield from _beside_noise(noise, "FGSM")', OF_KNN),
    ("3.C2 against the control", f"{THREE}claims.py", "exceeds(slopes, attack, WRONG, about)", "exceeds(slopes, attack, CONTROL, about)", OF_KNN),
    ("3.C3 by the best and the worst K", f"{THREE}claims.py", "change = whole[1] - whole[max(whole)]", "change = whole.max(axis=1) - whole.min(axis=1)", OF_KNN),
    ("3.C3 on the misclassified images", f"{THREE}claims.py", 'accuracies["set"] == WHOLE', 'accuracies["set"] == WRONG', OF_KNN),
    ("3.C3 with twice the limit", f"{THREE}claims.py", "stays_flat(whole, limit, about)", "stays_flat(whole, 2 * limit, about)", OF_KNN),
    ("3.C4 against the misclassified", f"{THREE}claims.py", "exceeds(slopes, attack, WHOLE, about)", "exceeds(slopes, attack, WRONG, about)", OF_KNN),
    ("3.C5 without what runs share", f"{THREE}claims.py", 'NEAR, "%", one_image, shared, scale', 'NEAR, "%", one_image, scale', OF_KNN),
    ("3.X1 counts each version", f"{THREE}claims.py", "in tables.COUNTED[1:]", "in tables.COUNTED[:2]", OF_KNN),
    ("3.X1 of all images as the shared ones", f"{THREE}tables.py", "images[name].loc[shared]", "images[name]", OF_KNN),
    ("the rise by its first step alone", f"{THREE}tables.py", "for j in js if j <= last", "for j in js if j == last", OF_KNN),
    ("DeepFool with twice ε", f"{THREE}steps.py", "max_eps=eps)", "max_eps=2 * eps)", OF_KNN),
    ("batches in another order", f"{THREE}steps.py", 'derive_seed(seed, "order", run)', 'derive_seed(seed, "order", run + 1)', OF_KNN),
    ("neighbours among the test images", f"{THREE}steps.py", "kit.neighbors.predict(data.x_train, data.y_train, x", "kit.neighbors.predict(data.x_test, data.y_test, x", OF_KNN),
    ("nearest L2 takes any success", "kit/attacks/nearest.py", "nearer = success & (distance < self.distance)", "nearer = success & (distance > 0)", "test_attacks"),
    ("nearest L2 without confidence", "kit/attacks/nearest.py", "(self.confidence + ROUNDING", "(ROUNDING", "test_attacks"),
    ("CW's margin not relative", CW, "ROUNDING * spread(logits)", "ROUNDING * logits.abs().amax(1).detach()", "test_attacks"),
    ("CW goes on searching above what succeeds", CW, "torch.where(hit, lower, c), torch.where(hit, c, upper)", "torch.where(hit, c, lower), torch.where(hit, upper, c)", "test_attacks"),
    ("CW goes on with the last w for the next c", CW, "start.clone().requires_grad_()", "start.requires_grad_()", "test_attacks"),
    ("CW moves images, not w", CW, "((w.tanh() + 1) / 2)", "((w + 1) / 2).clamp(0, 1)", "test_attacks"),
    ("CW succeeds where its last image does", CW, "hit |= success", "hit = success", "test_attacks"),
    ("a pass counts as one image", "kit/watching.py", "count.backward += images", "count.backward += 1", "test_watching"),
    ("K-NN by the last of equals", "kit/neighbors/fast.py", "index, order = index.sort(dim=1)", "index, order = index.sort(dim=1, descending=True)", "test_neighbors"),
    ("GM of the wrong rows", "kit/misalignment.py", "theirs = reference[rows]", "theirs = reference[: len(rows)]", "test_misalignment"),
    ("double backward: batch norm's scale does not depend on the images", DOUBLE, "torch.addcmul(d, c, x, value=-1)", "torch.zeros_like(x)", "test_double_backward"),
    ("double backward: batch norm's γ without the second sum", DOUBLE, "r * v_x, value=-1 / n", "r * v_x, value=0", "test_double_backward"),
    ("double backward: a stride's remainder is forgotten", DOUBLE, "- d * (k - 1) - 1) % s for", "- d * (k - 1) - 1) * 0 for", "test_double_backward"),
    ("fitness by the mean", "kit/neuroevolution/algorithm.py", "float(np.minimum(clean, adversarial))", "(clean + adversarial) / 2", OF_FOUR),
    ("NaN keeps a candidate's place", "kit/neuroevolution/algorithm.py", "return not math.isnan(member.fitness), member.fitness", "return True, member.fitness", "test_neuroevolution"),
    ("fitness of what diverged on adversarial images alone", "kit/neuroevolution/algorithm.py", "float(np.minimum(clean, adversarial))", "min(clean, adversarial)", "test_neuroevolution"),
    ("labels may be of any whole type", "kit/checks.py", "y.dtype != torch.int64", "y.is_floating_point()", "test_checks"),
    ("−1 is the last class", "kit/perturbations/noise.py", "noise.index_select(0, y)", "noise[y]", "test_perturbations"),
    ("pixels from 0 to 255", "kit/checks.py", "if not (low >= 0 and high <= 1):", "if not (low >= 0 and high <= 255):", "test_checks"),
    ("NaN passes for a pixel", "kit/checks.py", "if not (low >= 0 and high <= 1):", "if low < 0 or high > 1:", "test_checks"),
    ("NaN passes for a vector", "kit/checks.py", "if not (low >= -LARGEST and high <= LARGEST):", "if low < -LARGEST or high > LARGEST:", "test_checks"),
    ("weights of 1e30 pass", "kit/checks.py", "LARGEST = 1e16", "LARGEST = 1e38", "test_checks"),
    ("another type of float is torch's to refuse", "kit/checks.py", "except RuntimeError as error:  # torch's", "except ZeroDivisionError as error:  # torch's", "test_checks"),
    ("a batch is read on its way", "kit/perturbations/noise.py", "check_pairs(x, y)", "check_data(x, y)", "test_checks"),
    ("the largest of tied labels wins", "kit/neighbors/voting.py", "ordered.where(elected, ordered[:, -1:]).amin(1)", "ordered.where(elected, ordered[:, :1]).amax(1)", "test_neighbors"),
    ("masks load in silence", "kit/data/readers.py", "DARK = 0.1", "DARK = 0.0", "test_data"),
    ("a step of float32 is no grid", "kit/robustness/measures.py", "> 1e-6 * eps_max", "> 1e-9 * eps_max", "test_checks"),
    ("4.C1 on the reduced data", f"{FOUR}claims.py", '_withstands(e.full, LINF', '_withstands(e.reduced, LINF', OF_FOUR),
    ("4.C1 without Ref+GM", f"{FOUR}claims.py", 'printed) for other in (REF, REF_GM)]', 'printed) for other in (REF, REF)]', OF_FOUR),
    ("4.C2 on the reference's examples", f"{FOUR}claims.py", "_withstands(e.full, source", '_withstands(e.full, LINF', OF_FOUR),
    ("4.C2 without both right", f"{FOUR}claims.py", "_of_what_both_get_right(rows[rows[\"other net\"] == other], other, one_image)", "_above(_on(e.full, source), BEST, other, one_image)", OF_FOUR),
    ("nets that learnt one noise vouch for the other", f"{ONE}claims.py", "if_learnt(others, if_learnt(ours, judged))", "if_learnt(pd.concat([ours, others]), judged)", OF_ONE),
    ("1.C3 against clean training", f"{ONE}claims.py", 'printed.loc["left column [7]"]', 'printed.loc["clean"]', OF_ONE),
    ("1.C3 in points of the paper's accuracy", f"{ONE}claims.py", 'float(share * tables.units(left).mean())', 'float(share * 91)', OF_ONE),
    ("1.C3 against two pixels", f"{ONE}claims.py", 'noise = f"{name} Np = {config.pixels[0]}"', 'noise = f"{name} Np = 2"', OF_ONE),
    ("a small effect of open sign is not reproduced", VERDICTS, "return SMALLER if found == REPRODUCED and self._smaller(high) else found", "return NOT_REPRODUCED if found == UNDECIDED and self._smaller(high) else found", "test_verdicts"),
    ("a border is zero", VERDICTS, "verdict(low - border, high - border)", "verdict(low, high)", "test_verdicts"),
    ("percentages are judged on half of their scale", VERDICTS, "intervals.mean(judged(finite), resolution, shared)", "intervals.mean(judged(finite) / 2, resolution, shared)", "test_verdicts"),
    ("an interval of zero width", "kit/harness/results/intervals.py", "reach = float(np.maximum(reach, self.resolution))", "reach = float(reach)", "test_statistics"),
    ("re-splits share test by all images", "kit/harness/results/intervals.py", "ddof=1) * test / train)", "ddof=1) * test / (test + train))", "test_verdicts"),
    ("a comparison by the committed deviations alone", COMPARISON, "np.sqrt((1 / sizes).sum())", "np.sqrt(1 / sizes[0])", "test_comparison"),
    ("what survives by luck bears no brackets", "kit/harness/results/claims.py", 'return f"({text})" if claim["survives Holm"] is False else text', "return text", "test_claims"),
    ("a printed effect in points", f"{FOUR}claims.py", "float((1 - a / b).min() * np.mean(ours))", "float((b - a).min())", OF_FOUR),
    ("all sizes are the paper's", f"{FOUR}tables.py", "and experiment.split.about.train == PAPERS[scale]", "", OF_FOUR),
    ("runs share no luck of their images", f"{FOUR}evidence.py", "results.of_shared_images(values[:, 1:])", "0.0", OF_FOUR),
    ("every run draws images of its own", f"{FOUR}evidence.py", '@functools.cache def draw(count: int) -> np.ndarray: rng = np.random.default_rng(runtime.derive_seed(seed, "images drawn anew", count))', "rng = np.random.default_rng(seed)\n\n    def draw(count: int) -> np.ndarray:", OF_FOUR),
    ("both right counts clean errors", f"{FOUR}measures.py", "np.all([net.examined[\"clean\"] == true for net in (*pair, *right)], axis=0)[images]", "np.any([net.examined[\"clean\"] == true for net in (*pair, *right)], axis=0)[images]", OF_FOUR),
    ("defences beside NE+GM on all images", f"{FOUR}measures.py", "pairwise(pairs, [LINF], draw, right=[run.nets[REFERENCE]])", "pairwise(pairs, [LINF], draw)", OF_FOUR),
    ("4.C8 by the gradients twice", f"{FOUR}claims.py", 'for column in ("distance", "cosine")', 'for column in ("cosine", "cosine")', OF_FOUR),
    ("4.C8 with the reference's own map as control", f"{FOUR}measures.py", "if k != number]", "if k == number]", OF_FOUR),
    ("4.C9 under L∞-PGD", f"{FOUR}claims.py", "(REF_GM, BEST, SECOND), FGSM)", "(REF_GM, BEST, SECOND), LINF)", OF_FOUR),
    ("4.C10 of the best net alone", f"{FOUR}claims.py", "for net in (REF_GM, HE_GM, BEST, SECOND):", "for net in (BEST,):", OF_FOUR),
    ("4.C11 on NE+GM", f"{FOUR}claims.py", "100 - per_run(_on(e.full, source), REF)", "100 - per_run(_on(e.full, source), BEST)", OF_FOUR),
    ("4.C11: every net has skip connections but LeNet-5", f"{FOUR}settings.py", 'SKIPPING = ("resnet", "densenet", "hand_")', 'SKIPPING = ("resnet", "vgg", "hand_")', OF_FOUR),
    ("4.C4 against the printed rates of L2", f"{FOUR}claims.py", '_printed(e, "reduced", "4.T5", attack=attack)', '_printed(e, "reduced", "4.T5", attack=L2)', OF_FOUR),
    ("4.C3 by an image of the full data", f"{FOUR}claims.py", "_clean_kept(rows, one_image)", '_clean_kept(rows, e.resolution["full"])', OF_FOUR),
    ("4.C4 under FGSM", f"{FOUR}claims.py", 'for attack in (LINF, L2)', 'for attack in (LINF, FGSM)', OF_FOUR),
    ("4.C4 counts clean errors", f"{FOUR}claims.py", "per_run(rows, name, BOTH)", "per_run(rows, name, ALL)", OF_FOUR),
    ("4.C5 against the bare reference", f"{FOUR}claims.py", 'per_run(e.against, net, "fooled")) for net in (BEST, other)', 'per_run(e.against, net, "fooled")) for net in (BEST, REF)', OF_FOUR),
    ("4.C6 without the clean images", f"{FOUR}claims.py", 'for images in ("clean", LINF)]', 'for images in (LINF, LINF)]', OF_FOUR),
    ("4.C7 allows nothing", f"{FOUR}claims.py", '_not_below(against, BEST, REF_GM, one_image)', '_above(against, BEST, REF_GM, one_image)', OF_FOUR),
    ("4.X1 by the white-box examples twice", f"{FOUR}claims.py", "kept = per_run(e.stronger, BEST, examples)", 'kept = per_run(e.stronger, BEST, "white-box")', OF_FOUR),
    ("4.X2 beyond what |cos| reaches", f"{FOUR}claims.py", 'covered = (over.min() <= clean) & (clean <= over.max())', "covered = clean > 0", OF_FOUR),
    ("twice ε for L∞-PGD", f"{FOUR}plan.py", "sizes = (config.epsilon, config.epsilon_l2, 2 * config.epsilon)", "sizes = (2 * config.epsilon, config.epsilon_l2, 2 * config.epsilon)", OF_FOUR),
    ("PGD from another start", f"{FOUR}steps.py", 'seed=runtime.derive_seed(split.seed, "pgd", run),', 'seed=runtime.derive_seed(split.seed, "pgd", run + 1),', OF_FOUR),
    ("the fitness sees the test images", f"{FOUR}training.py", "return data.x_train[:hold_out], data.y_train[:hold_out]", "return data.x_test[:hold_out], data.y_test[:hold_out]", OF_FOUR),
    ("fooled among what the reference gets wrong", NB4, 'of_reference = reference[\\"clean\\"] == true', 'of_reference = reference[\\"clean\\"] != true', OF_FOUR),
    ("steps of one name in two files are one", "kit/harness/steps/task.py", 'return f"{module}.{place}".replace', 'return f"{module.partition(chr(46))[0]}.{self.function.__name__}".replace', "test_steps"),
    ("an edited cell gets the old result", "kit/harness/steps/task.py", "*([step.code] if step.code else [])", "", "test_steps"),
    ("an edited helper gets the old result", "kit/harness/steps/code.py", "self.functions.append(helper)", "pass", "test_steps"),
    ("a changed mapping gets the old result", "kit/harness/steps/code.py", "else self._container(value)", "else None", "test_steps"),
    ("an edited class gets the old result", "kit/harness/steps/code.py", "return self._class(value) if ours else None", "return None", "test_steps"),
    ("a step that fills a list is computed again", "kit/harness/steps/code.py", "self.read(self.names[name], name in changed)", "self.read(self.names[name])", "test_steps"),
    ("queries with their axes in another order", "kit/checks.py", "if x_train.shape[1:] != x.shape[1:]:", "if x_train[0].numel() != x[0].numel():", "test_checks"),
    ("a dark part beside a bright one", "kit/data/readers.py", "if dark:", "if len(dark) == 2:", "test_data"),
    ("a second step of a name takes its place", "kit/harness/steps/task.py", "_check_new(decorated)", "pass", "test_steps"),
    ("closures share their results", "kit/harness/steps/task.py", "if outer := bare.__code__.co_freevars:", "if outer := ():", "test_steps"),
    ("a mapping passes for a task", "kit/harness/steps/task.py", 'if set(keyed) in _MARKS else keyed', "if False else keyed", "test_steps"),
    ("numbers as keys become text", "kit/harness/steps/store.py", "if set(keys) in _MARKS or not all(isinstance(key, str) for key in keys):", "if set(keys) in _MARKS:", "test_steps"),
    ("a mapping passes for an array", "kit/harness/steps/store.py", "if set(keys) in _MARKS or not all(", "if not all(", "test_steps"),
    ("a number that is not finite is lost", "kit/harness/steps/store.py", "return {_NUMBER: str(value)}", "return value", "test_steps"),
    ("masks are dropped", "kit/harness/steps/store.py", " and not isinstance(value, np.ma.MaskedArray)", "", "test_steps"),
    ("a failed task stops all", "kit/harness/steps/schedule.py", "self.fail(task, error)", "raise error", "test_steps"),
    ("what cannot be kept stops all", "kit/harness/steps/schedule.py", "except (TypeError, ValueError, RecursionError) as refused:", "except RecursionError as refused:", "test_steps"),
    ("a failure is not told", "kit/harness/steps/schedule.py", "if self.failed:", "if False:", "test_steps"),
    ("other seeds for plain values", "kit/runtime.py", "sha256(repr(parts)", "sha256(str(list(parts))", "test_seeds"),
    ("equal splits that load different data", "kit/data/splits.py", "object.__setattr__(self, name, constraint.check(name, getattr(self, name)))", "constraint.check(name, getattr(self, name))", "test_data"),
    ("verdicts of a data set of a longer name", "kit/harness/page.py", 'c["dataset"] == title', 'c["dataset"].startswith(title)', "test_page"),
    ("YAML's numbers in lists", "kit/harness/runner/parameters.py", "value = yaml.load(text, _Loader)", "value = yaml.safe_load(text)", "test_run_all"),
    ("YAML's numbers in profiles", "kit/harness/runner/parameters.py", 'yaml.load(path.read_text(encoding="utf-8"), _Loader)', 'yaml.safe_load(path.read_text(encoding="utf-8"))', "test_run_all"),
    ("archives that few programs unpack", "kit/harness/steps/archive.py", "zipfile.ZIP_DEFLATED, compresslevel=9", "zipfile.ZIP_LZMA", "test_archive"),
    ("2.C8 by too few epochs", f"{TWO}claims.py", "if epochs <= PEAK[1]:", "if epochs < 2:", OF_TWO),
    ("one epoch is taken", f"{TWO}settings.py", "epochs: Annotated[int, whole(2)]", "epochs: Annotated[int, whole(1)]", OF_TWO),
    ("two repeats decide", "kit/harness/results/power.py", "MIN_REPEATS = 3", "MIN_REPEATS = 2", "test_statistics test_evolved_perturbations"),
    ("on a GPU: PGD copies to the host in its loop", "kit/attacks/projected_gradient.py", "no_gradient &= ~grad", "no_gradient &= ~grad.cpu().to(x.device)", "test_accelerator"),
    ("on a GPU: PGD starts on the host", "kit/attacks/projected_gradient.py", "change.to(x.device)", "change", "test_accelerator"),
    ("on a GPU: training shuffles by a generator of the host", LOOP, "torch.randperm(count, generator=generator).to(device)", "torch.randperm(count, generator=generator, device=device)", "test_accelerator"),
    ("on a GPU: CLEVER's points stay on the host", "kit/robustness/clever.py", "dtype=x.dtype).to(x.device)", "dtype=x.dtype)", "test_accelerator"),
    ("on a GPU: a net is not moved", f"{ONE}steps.py", "data.classes, seed=initial).to(data.x_train.device)", "data.classes, seed=initial)", "test_accelerator"),
    ("on a GPU: scikit-learn gets its labels", "kit/data/dataset.py", "labels = self.y_train.cpu()", "labels = self.y_train", "test_accelerator"),
    ("on a GPU: missing numbers are looked for in each step", "kit/gradients.py", "channels_last(model), seen_in_the_end():", "channels_last(model):", "test_accelerator"),
    ("on a GPU: a captured step reads old positions", "kit/training/graphs.py", "positions.copy_(rows)", "pass", "test_accelerator"),
    ("on a GPU: where memory is short, a part is left out", "kit/batches.py", "at_once = -(-min(at_once, end) // 2)", "at_once, start = -(-min(at_once, end) // 2), start + 1", "test_accelerator"),
    ("on a GPU: a population short of memory is trained on others' noise", POPULATION, "member_args[first:last]", "member_args[: last - first]", "test_accelerator"),
    ("dropout draws by chance", LOOP, 'runtime.derive_seed(seed, "draws")', "int(torch.randint(1 << 31, ()))", "test_state"),
    ("who watches a training moves its masks", FIT, "with draws.paused():", "if True:", "test_state"),
    ("global generators stay as a training left them", "kit/runtime.py", "self._swap() TURNS.release()", "TURNS.release()", "test_state"),
    ("threads do not take turns", "kit/nets/__init__.py", "with runtime.TURNS:", "with contextlib.nullcontext():", "test_state"),
    ("threads do not take turns at the generators", "kit/runtime.py", "TURNS.acquire() self._swap()", "self._swap(); TURNS.acquire()", "test_state"),
    ("a model in place changes the attacker's images", "kit/gradients.py", "check_logits(model(x.clone()), len(x))", "check_logits(model(x), len(x))", "test_state"),
    ("a model in place changes the images it is run on", "kit/checks.py", "return model(x.clone())", "return model(x)", "test_state"),
    ("images learn with the weights", LOOP, "x.detach().to(device)", "x.to(device)", "test_state"),
    ("fast adversarial training goes on from the training before", FIT, "reset(transform, augment, perturb, loss)", "reset(transform, augment, loss)", "test_state"),
    ("free adversarial training goes on from the training before", FIT, "reset(transform, augment, perturb, loss)", "reset(transform, augment, perturb)", "test_state"),
    ("free adversarial training goes on from net to net", POPULATION, "loop.reset(transform)  # fit sees it wrapped", "pass", "test_state"),
    ("statistics measured with dropout", "kit/explain/landscape.py", "twin = copy.deepcopy(model)", "twin = copy.deepcopy(model).train()", "test_explain"),
    ("a failure spoils statistics", "kit/explain/landscape.py", "twin = copy.deepcopy(model)", "twin = model", "test_state"),
    ("Grad-CAM of a shared ReLU's first call", "kit/explain/grad_cam.py", "features = seen[number - 1]", "features = seen[0]", "test_explain"),
    ("integrated gradients of all steps at once", "kit/explain/attribution.py", "internal_batch_size=BATCH", "internal_batch_size=None", "test_explain"),
    ("integrated gradients of all images at once", "kit/explain/attribution.py", "return in_batches(attribute, x, y, copies=steps)", "return attribute(x, y)", "test_explain"),
    ("a last batch of one image stays alone", LOOP, "return [*sizes[:-2], batch_size + 1]", "return sizes", "test_training"),
    ("a last batch of one image always joins", LOOP, "not _refuses_a_single_image(model, x, y, transform)", "False", "test_training"),
    ("a last batch of one image is left out", LOOP, "return [*sizes[:-2], batch_size + 1]", "return sizes[:-1]", "test_training"),
]  # fmt: skip


def matches(right: str, text: str) -> list[re.Match[str]]:
    """Where it stands in a file, however its words are spaced and broken into lines."""
    words = re.findall(r"\w+|[^\w\s]", right)
    return list(re.finditer(r"\s*".join(map(re.escape, words)), text))


def planted(error: Error) -> dict[str, str]:
    """The file with the error, by its path."""
    _, path, right, wrong, _ = error
    text = (runtime.root() / path).read_text(encoding="utf-8")
    found = matches(right, text)
    if len(found) != 1:
        raise ValueError(f"{path} holds {right!r} {len(found)} times: mend the list of errors.")
    return {path: text[: found[0].start()] + wrong + text[found[0].end() :]}


def fails(scratch: Path, tests: Iterable[str], edited: Mapping[str, str]) -> bool:
    """Do the tests fail, in a copy with files edited, given by their paths?"""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        copy = Path(folder)
        for name in FOLDERS:
            source = runtime.root() / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, copy / name)
        for path, text in edited.items():
            (copy / path).write_text(text, encoding="utf-8")
        files = [f"tests/{name}.py" for name in tests]
        command = [sys.executable, "-m", "pytest", "-qx", "-n0", "-p", "no:cacheprovider"]
        command += ["--timeout=120"]  # who waits for tests that never end notices, too
        options: dict = dict(cwd=copy, env={**os.environ, "PYTHONPATH": str(copy)})
        try:
            done = subprocess.run([*command, *files], capture_output=True, timeout=900, **options)
        except subprocess.TimeoutExpired:
            return True
    return done.returncode != 0


def caught(cases: Sequence[tuple[str, Mapping[str, str]]], jobs: int) -> list[bool]:
    """For tests and the files that are edited for them: do the tests fail?"""
    with (
        tempfile.TemporaryDirectory(prefix="planted-") as scratch,
        ThreadPoolExecutor(jobs) as pool,
    ):
        # What fails anyway would catch everything.
        files = sorted({name for tests, _ in cases for name in tests.split()})
        broken = pool.map(lambda name: fails(Path(scratch), [name], {}), files)
        if wrong := [name for name, fail in zip(files, broken, strict=True) if fail]:
            raise SystemExit(f"these tests fail without any error planted: {', '.join(wrong)}.")
        return list(pool.map(lambda case: fails(Path(scratch), case[0].split(), case[1]), cases))


def main() -> int:
    """Plant them all, write the table; 1 if too few are caught."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.planted_errors", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", default="", help="part of an error's name or of its file's")
    options = parser.parse_args()
    chosen = [error for error in ERRORS if options.only in f"{error[0]} {error[1]}"]
    if not chosen:
        parser.error(f"no planted error or file has {options.only!r} in its name: see ERRORS.")
    found = caught([(error[-1], planted(error)) for error in chosen], options.jobs)
    table = pd.DataFrame(
        [
            (*error[:2], "yes" if hit else "**no**")
            for error, hit in zip(chosen, found, strict=True)
        ],
        columns=["planted error", "file", "caught"],
    )
    summary = f"{sum(found)} of {len(found)} planted errors are caught."
    text = f"# Planted errors\n\n{summary}\n\n{table.to_markdown(index=False)}\n"
    if not options.only:
        out = Path(__file__).parent / "results" / "planted-errors.md"
        out.write_text(text, encoding="utf-8")
    print(
        summary,
        *[
            f"missed: {row[0]} ({row[1]})"
            for row in table.itertuples(index=False)
            if row[2] != "yes"
        ],
        sep="\n",
    )
    return 0 if sum(found) >= SHARE * len(found) else 1


if __name__ == "__main__":
    sys.exit(main())
