"""Plant errors one by one in a copy of the project, and see whether the tests notice.

    python -m benchmarks.planted_errors --jobs 2
    python -m benchmarks.planted_errors --only 3.C2      # those that are called so; writes nothing

Each error is one replacement in one file; the tests named beside it must fail. It writes
benchmarks/results/planted-errors.md and exits with 1 if fewer than 95 % are caught.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
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
DOUBLE = "kit/training/double_backward.py"
OF_ONE = "test_verdicts_evolved_perturbations test_evolved_perturbations test_evolution"
OF_TWO = "test_verdicts_overfitting test_overfitting_vs_robustness"
OF_KNN = "test_verdicts_knn_tradeoff test_knn_tradeoff"
OF_FOUR = "test_verdicts_neuroevolution_gm test_neuroevolution_gm test_neuroevolution"
# What is wrong, where, the right text, the wrong text, and the test files that have to fail.
ERRORS = [
    ("2.C1 with the wrong sign", f"{TWO}claims.py", "climbs = results.positive(climb,", "climbs = results.positive(-climb,", OF_TWO),
    ("2.C1 with the crafting epoch", f"{TWO}claims.py", 'climb = change(rates, without=normal["crafting epoch"])', "climb = change(rates)", OF_TWO),
    ("2.C1 adds the clean errors", f"{TWO}claims.py", "success - clean_errors", "success + clean_errors", OF_TWO),
    ("2.C1 reads the other regime", f"{TWO}claims.py", 'change(normal["test accuracy"])', 'change(overfitting["test accuracy"])', OF_TWO),
    ("2.C2 reads the other regime", f"{TWO}claims.py", 'settled(overfitting["ASR CW"]', 'settled(normal["ASR CW"]', OF_TWO),
    ("2.C2's band moved down", f"{TWO}claims.py", "SETTLED = (45, 65)", "SETTLED = (35, 55)", OF_TWO),
    ("2.C2's band moved up", f"{TWO}claims.py", "SETTLED = (45, 65)", "SETTLED = (50, 90)", OF_TWO),
    ("2.C2 allows a climb", f"{TWO}claims.py", "CLIMB = 5", "CLIMB = 15", OF_TWO),
    ("2.C2 over the first third", f"{TWO}claims.py", "[-max(1, rates.shape[1] // 3) :]", "[: max(1, rates.shape[1] // 3)]", OF_TWO),
    ("2.C2 with the epoch that crafts", f"{TWO}claims.py", "changes = change(rates, without=crafting)", "changes = change(rates)", OF_TWO),
    ("2.C2's level with the epoch that crafts", f"{TWO}claims.py", "counted = [last[last != epoch] for epoch in crafting]", "counted = [last for epoch in crafting]", OF_TWO),
    ("2.C3's regimes swapped", f"{TWO}claims.py", 'overfitting["spread"] - normal["spread"]', 'normal["spread"] - overfitting["spread"]', OF_TWO),
    ("2.C3 always by the mean", f"{TWO}claims.py", "    if by_spread:", "    if False:", OF_TWO),
    ("2.C3 with means that differ", f"{TWO}claims.py", "SIMILAR = 2.0", "SIMILAR = 20.0", OF_TWO),
    ("2.C8 peaks late", f"{TWO}claims.py", "PEAK = (5, 10)", "PEAK = (5, 35)", OF_TWO),
    ("2.C4's limit moved", f"{TWO}claims.py", "BETWEEN = 2.0", "BETWEEN = 5.0", OF_TWO),
    ("2.C4 takes the end for the peak", f"{TWO}claims.py", 'curves["normal"]["loss sensitivity"].max(1)', 'curves["normal"]["loss sensitivity"].min(1)', OF_TWO),
    ("2.C5's limit moved", f"{TWO}claims.py", "CONSISTENT = 50", "CONSISTENT = 10", OF_TWO),
    ("2.C5 by the best epoch", f"{TWO}claims.py", "rates.min(1) - CONSISTENT", "rates.max(1) - CONSISTENT", OF_TWO),
    ("2.C6 with the wrong sign", f"{TWO}claims.py", 'norms[other][norm] - norms["CW"][norm]', 'norms["CW"][norm] - norms[other][norm]', OF_TWO),
    ("2.C6 without L∞", f"{TWO}claims.py", 'for norm in ("L2", "Linf")', 'for norm in ("L2", "L2")', OF_TWO),
    ("2.C7's regimes swapped", f"{TWO}claims.py", '-change(normal["empirical robustness"])', '-change(overfitting["empirical robustness"])', OF_TWO),
    ("2.C8 with the wrong sign", f"{TWO}claims.py", "falls = peaks - stretches[:, -1]", "falls = stretches[:, -1] - peaks", OF_TWO),
    ("2.X1 without the control", f"{TWO}claims.py", 'rates - late(curves[f"ASR {CONTROL}"])', "rates", OF_TWO),
    ("2.X2's regimes swapped", f"{TWO}claims.py", 'norms["overfitting"]["CW, last"]["L2"] - norms["normal"]["CW, last"]["L2"]', 'norms["normal"]["CW, last"]["L2"] - norms["overfitting"]["CW, last"]["L2"]', OF_TWO),
    ("2.X3 with the crafting epoch", f"{TWO}claims.py", 'overfitting["ASR CW, last"][:, :-1]', 'overfitting["ASR CW, last"]', OF_TWO),
    ("curves from epoch 1", f"{TWO}claims.py", "FROM = 5", "FROM = 1", OF_TWO),
    ("PGD with a tenth of ε", f"{TWO}steps.py", "net, x, y, eps=eps, norm=norm, steps=pgd_steps", "net, x, y, eps=eps / 10, norm=norm, steps=pgd_steps", OF_TWO),
    ("the control without noise", f"{TWO}steps.py", "random_direction(x, eps=eps, norm=norm, seed=seed)", "random_direction(x, eps=1e-6, norm=norm, seed=seed)", OF_TWO),
    ("norms over the wrong channel", f"{TWO}steps.py", "for channel in (None, 0)", "for channel in (None, 1)", OF_TWO),
    ("the crafting snapshot one epoch off", f"{TWO}steps.py", "net = nets[epoch - 1]", "net = nets[epoch - 2]", OF_TWO),
    ("images that the net gets wrong", f"{TWO}steps.py", "(kit.training.predict(net, data.x_test) == data.y_test)", "(kit.training.predict(net, data.x_test) != data.y_test)", OF_TWO),
    ("CLEVER of another epoch", f"{TWO}steps.py", "    net = _net(data, snapshots, epoch)", "    net = _net(data, snapshots, 1)", OF_TWO),
    ("best by training accuracy", f"{TWO}steps.py", "(1 + validation.argmax(1)).tolist()", "(1 + validation.argmin(1)).tolist()", OF_TWO),
    ("ASR is accuracy", NB2, "missed = predictions(fold) != truth", "missed = predictions(fold) == truth", OF_TWO),
    ("1.C1 with the wrong sign", f"{ONE}measures.py", '(s.last["error"].mean() - s.first["error"].mean())', '(s.first["error"].mean() - s.last["error"].mean())', OF_ONE),
    ("1.C2 over trainings, not searches", f"{ONE}tables.py", 'return table.groupby("search")[value].mean() if searched else table[value]', "return table[value]", OF_ONE),
    ("1.C2 with the wrong sign", f"{ONE}claims.py", "welch(tables.units(others), tables.units(ours), other, name", "welch(tables.units(ours), tables.units(others), other, name", OF_ONE),
    ("1.C4's numbers swapped", f"{ONE}claims.py", "for pixels in (more, fewer))", "for pixels in (fewer, more))", OF_ONE),
    ("1.C5 without RMSProp", f"{ONE}claims.py", 'for name in ("adam", "rmsprop")', 'for name in ("adam", "adam")', OF_ONE),
    ("1.C6 between the wrong two", f"{ONE}claims.py", '("sgd", "adabound")]', '("adabound", "rmsprop")]', OF_ONE),
    ("1.C7 with the wrong sign", f"{ONE}claims.py", '"optimizer", "sgd", "adam", "rise")', '"optimizer", "adam", "sgd", "rise")', OF_ONE),
    ("1.C8 with the wrong sign", f"{ONE}claims.py", "perturbed - clean", "clean - perturbed", OF_ONE),
    ("1.C9 with the wrong sign", f"{ONE}claims.py", '"epoch", 1, last)', '"epoch", last, 1)', OF_ONE),
    ("1.X2 trained by the wrong optimizer", f"{ONE}claims.py", 'small[small["optimizer"] == config.rival]', 'small[small["optimizer"] == aim]', OF_ONE),
    ("1.X3 against the plain search", f"{ONE}claims.py", '("1.X3", RANDOM, "random search")', '("1.X3", PLAIN, "random search")', OF_ONE),
    ("nets that learnt nothing count", f"{ONE}claims.py", "LEARNT = 50", "LEARNT = 5", OF_ONE),
    ("the search maximises the wrong score", "kit/evolution/strategies.py", "return -np.where(np.isnan(total), worst, total)", "return np.where(np.isnan(total), worst, total)", OF_ONE),
    ("F_m with the printed sign", "kit/evolution/scoring.py", "rows.append((clean - corrupted, learnt))", "rows.append((corrupted - clean, learnt))", OF_ONE),
    ("the worst is chosen", f"{ONE}search_steps.py", "genomes[int(mean.argmax())]", "genomes[int(mean.argmin())]", OF_ONE),
    ("fresh scores that are not fresh", f"{ONE}search_steps.py", 'derive_seed(seed, "again", repeat)', 'derive_seed(seed, "again", 0)', OF_ONE),
    ("saturation forgotten", f"{ONE}noises.py", 'shape, saturation=noise["saturation"]', "shape, saturation=1.0", OF_ONE),
    ("candidates trained without noise", f"{ONE}steps.py", "net = _train(data, split.seed, search[\"net\"], eta, start, **options)", "net = _train(data, split.seed, search[\"net\"], 0 * eta, start, **options)", OF_ONE),
    ("tested on training images", f"{ONE}steps.py", "return 1 - kit.training.accuracy(net, data.x_test, data.y_test)", "return 1 - kit.training.accuracy(net, data.x_train, data.y_train)", OF_ONE),
    ("the search starts in the middle", "kit/evolution/strategies.py", 'if start == "uniform":', 'if start == "middle":', OF_ONE),
    ("Z-NN's failures left in", f"{THREE}tables.py", "attacked & (votes[:, z // 2] != truth)", "votes[:, z // 2] != truth", OF_KNN),
    ("the adversarial set is what Z-NN gets right", f"{THREE}tables.py", "(votes[:, z // 2] != truth)", "(votes[:, z // 2] == truth)", OF_KNN),
    ("DeepFool without its bound", f"{THREE}steps.py", "deepfool(net, x, y, max_eps=eps)", "deepfool(net, x, y)", OF_KNN),
    ("FGSM with twice ε", f"{THREE}steps.py", "net, x, y, eps=eps, classes=len(data.classes)", "net, x, y, eps=2 * eps, classes=len(data.classes)", OF_KNN),
    ("noise of one sign", f"{THREE}steps.py", "generator=generator) * 2 - 1", "generator=generator) * 0 + 1", OF_KNN),
    ("LeNet of another run", f"{THREE}steps.py", 'derive_seed(seed, "net", run)', 'derive_seed(seed, "net", 1 - run)', OF_KNN),
    ("slopes upside down", NB3, "slope=A[j] / A[j + 2]", "slope=A[j + 2] / A[j]", OF_KNN),
    ("3.C1 with the wrong sign", f"{THREE}claims.py", 'step["difference"], "points"', '-step["difference"], "points"', OF_KNN),
    ("3.C1 by the slopes", f"{THREE}claims.py", 'step["difference"], "points"', 'step["slope"], "points"', OF_KNN),
    ("3.C1 on the control set", f"{THREE}claims.py", 'slopes[slopes["set"] == attack]', 'slopes[slopes["set"] == CONTROL]', OF_KNN),
    ("3.C1 of one pool's luck", f"{THREE}claims.py", 'one_image, shared=_shared(step["difference"], about)', "one_image", OF_KNN),
    ("3.C1 finer than one image", f"{THREE}claims.py", "100 / max(images.sum(), 1)", "1 / max(images.sum(), 1)", OF_KNN),
    ("claims of one attack alone", f"{THREE}claims.py", "_beside_noise(noise, attack)\n", '_beside_noise(noise, "FGSM")\n', OF_KNN),
    ("3.C2 with S_1 alone", f"{THREE}tables.py", "for j in js[:-1]}", "for j in js[:-2]}", OF_KNN),
    ("3.C2 with the infinite slope", f"{THREE}tables.py", "for j in js[:-1]}", "for j in js}", OF_KNN),
    ("3.C2 against the control", f"{THREE}claims.py", "exceeds(slopes, attack, WRONG, about)", "exceeds(slopes, attack, CONTROL, about)", OF_KNN),
    ("3.C2: to differ is to be larger", f"{THREE}claims.py", "(smaller if below else larger)[name]", "larger[name]", OF_KNN),
    ("3.C2 without what runs share", f"{THREE}claims.py", "_shared(beyond, about) if about else 0.0", "0.0", OF_KNN),
    ("3.C2 with the sets swapped", f"{THREE}tables.py", "sample[[attack, other]]", "sample[[other, attack]]", OF_KNN),
    ("3.C2 without the runs that have no slope", f"{THREE}claims.py", "found.doubted(why) if ratios and not finite.all() else found", "found", OF_KNN),
    ("3.C3 to one side alone", f"{THREE}claims.py", "for end in (limit, -limit)", "for end in (limit,)", OF_KNN),
    ("3.C3 by the best and the worst K", f"{THREE}claims.py", "change, shared = whole[1] - whole[max(whole)],", "change, shared = whole.max(axis=1) - whole.min(axis=1),", OF_KNN),
    ("3.C3 on the misclassified images", f"{THREE}claims.py", 'accuracies["set"] == WHOLE', 'accuracies["set"] == WRONG', OF_KNN),
    ("3.C3 with twice the limit", f"{THREE}claims.py", "stays_flat(whole, limit, about)\n", "stays_flat(whole, 2 * limit, about)\n", OF_KNN),
    ("3.C4 against the misclassified", f"{THREE}claims.py", "exceeds(slopes, attack, WHOLE, about)", "exceeds(slopes, attack, WRONG, about)", OF_KNN),
    ("3.C5 at the best K", f"{THREE}claims.py", "whole.min(axis=1), about", "whole.max(axis=1), about", OF_KNN),
    ("3.C5 without what runs share", f"{THREE}claims.py", 'NEAR, "%", one_image, shared, scale', 'NEAR, "%", one_image, scale', OF_KNN),
    ("3.X1 with the wrong sign", f"{THREE}claims.py", "[attack, counted], attack, CONTROL)", "[attack, counted], CONTROL, attack)", OF_KNN),
    ("3.X1 counts each version", f"{THREE}claims.py", "in tables.COUNTED[1:]", "in tables.COUNTED[:2]", OF_KNN),
    ("3.X1 of all images as the shared ones", f"{THREE}tables.py", "images[name].loc[shared]", "images[name]", OF_KNN),
    ("the rise by its first step alone", f"{THREE}tables.py", "for j in js if j <= last", "for j in js if j == last", OF_KNN),
    ("DeepFool with twice ε", f"{THREE}steps.py", "max_eps=eps)", "max_eps=2 * eps)", OF_KNN),
    ("batches in another order", f"{THREE}steps.py", 'derive_seed(seed, "order", run)', 'derive_seed(seed, "order", run + 1)', OF_KNN),
    ("only what every K gets right is attacked", f"{THREE}steps.py", "np.flatnonzero(right.any(1))", "np.flatnonzero(right.all(1))", OF_KNN),
    ("neighbours among the test images", f"{THREE}steps.py", "kit.neighbors.predict(data.x_train, data.y_train, x", "kit.neighbors.predict(data.x_test, data.y_test, x", OF_KNN),
    ("the sets of a smaller Z", f"{THREE}tables.py", "columns = z // 2 + 1", "columns = z // 2", OF_KNN),
    ("nearest L2 takes any success", "kit/attacks/nearest.py", "nearer = success & (distance < self.distance)", "nearer = success & (distance > 0)", "test_attacks"),
    ("nearest L2 without confidence", "kit/attacks/nearest.py", "return self.confidence + ROUNDING", "return ROUNDING", "test_attacks"),
    ("nearest L2's margin not relative", "kit/attacks/nearest.py", "ROUNDING * _spread(logits)", "ROUNDING * logits.abs().amax(1).detach()", "test_attacks"),
    ("PGD does not project", "kit/attacks/projected_gradient.py", "return change.clamp(-eps, eps)", "return change.clamp(-2 * eps, 2 * eps)", "test_attacks"),
    ("targeted FGSM goes uphill", "kit/attacks/fast_gradient.py", 'model, x, aim, -eps, "linf"', 'model, x, aim, eps, "linf"', "test_attacks test_knn_tradeoff"),
    ("a pass counts as one image", "kit/watching.py", "count.backward += images", "count.backward += 1", "test_watching"),
    ("each gradient by the logits is a pass of its own", "kit/watching.py", "and task not in tasks", "", "test_watching"),
    ("a second derivative is no pass", "kit/watching.py", "gradient.register_hook(note)", "pass", "test_watching"),
    ("a trace loses its order", "kit/watching.py", "np.minimum.accumulate(total)", "total", "test_watching"),
    ("K-NN by the last of equals", "kit/neighbors/fast.py", "index, order = index.sort(dim=1)", "index, order = index.sort(dim=1, descending=True)", "test_neighbors"),
    ("CLEVER: the largest class decides", "kit/robustness/clever.py", "scores.argmin(0", "scores.argmax(0", "test_robustness"),
    ("CLEVER without the cap", "kit/robustness/clever.py", "scores[least].clamp_max(radius)", "scores[least]", "test_robustness"),
    ("CLEVER's dual norm", "kit/robustness/clever.py", 'dual = {"l2": 2, "linf": 1}[norm]', 'dual = {"l2": 2, "linf": 2}[norm]', "test_robustness"),
    ("GM of the wrong rows", "kit/misalignment.py", "theirs = reference[rows]", "theirs = reference[: len(rows)]", "test_misalignment"),
    ("GM rewards alignment", "kit/misalignment.py", "entropy + strength * combine", "entropy - strength * combine", "test_misalignment"),
    ("double backward: kernels from images are taken for constants", DOUBLE, "weight.is_leaf and ", "", "test_double_backward"),
    ("double backward: batch norm's scale does not depend on the images", DOUBLE, "torch.addcmul(d, c, x, value=-1)", "torch.zeros_like(x)", "test_double_backward"),
    ("double backward: batch norm's γ without the second sum", DOUBLE, "r * v_x, value=-1 / n", "r * v_x, value=0", "test_double_backward"),
    ("double backward: a stride's remainder is forgotten", DOUBLE, "- d * (k - 1) - 1) % s for", "- d * (k - 1) - 1) * 0 for", "test_double_backward"),
    ("double backward: views are overwritten", DOUBLE, "inplace and (input.is_leaf or input._base is not None)", "inplace and input.is_leaf", "test_double_backward"),
    ("double backward: weights' gradients in the first pass too", DOUBLE, "mode.images_alone = True", "mode.images_alone = False", "test_double_backward"),
    ("fitness by the mean", "kit/neuroevolution/algorithm.py", "float(np.minimum(clean, adversarial))", "(clean + adversarial) / 2", OF_FOUR),
    ("a child replaces on ties", "kit/neuroevolution/algorithm.py", "rank(population[closest]) < rank(child)", "rank(population[closest]) <= rank(child)", OF_FOUR),
    ("NaN keeps a candidate's place", "kit/neuroevolution/algorithm.py", "return not math.isnan(member.fitness), member.fitness", "return True, member.fitness", "test_neuroevolution"),
    ("fitness of what diverged on adversarial images alone", "kit/neuroevolution/algorithm.py", "float(np.minimum(clean, adversarial))", "min(clean, adversarial)", "test_neuroevolution"),
    ("a diverged child is right about class 0", "kit/training/evaluation.py", "checks.finite(torch.cat(outputs))", "torch.cat(outputs)", "test_checks"),
    ("labels may be a column", "kit/checks.py", " or y.ndim != 1", "", "test_checks"),
    ("labels may be of any whole type", "kit/checks.py", "y.dtype != torch.int64", "y.is_floating_point()", "test_checks"),
    ("labels may be negative", "kit/checks.py", "if low < 0 or (classes", "if (classes", "test_checks"),
    ("labels may be no classes", "kit/checks.py", "high >= classes)", "high > classes)", "test_checks"),
    ("torch leaves out labels of −100", "kit/training/losses.py", ", ignore_index=-(2**63)", "", "test_checks"),
    ("−1 is the last class", "kit/perturbations/noise.py", "noise.index_select(0, y)", "noise[y]", "test_perturbations"),
    ("pixels from 0 to 255", "kit/checks.py", "if not (low >= 0 and high <= 1):", "if not (low >= 0 and high <= 255):", "test_checks"),
    ("NaN passes for a pixel", "kit/checks.py", "if not (low >= 0 and high <= 1):", "if low < 0 or high > 1:", "test_checks"),
    ("NaN passes for a vector", "kit/checks.py", "if not (low >= -LARGEST and high <= LARGEST):", "if low < -LARGEST or high > LARGEST:", "test_checks"),
    ("fit looks at nothing", LOOP, "        checks.check_batch(models[0], x, y)\n", "        pass\n", "test_checks"),
    ("one output is a model", "kit/checks.py", "if logits.shape[1] < 2:", "if logits.shape[1] < 1:", "test_checks"),
    ("weights of 1e30 pass", "kit/checks.py", "LARGEST = 1e16", "LARGEST = 1e38", "test_checks"),
    ("gradients in inference mode", "kit/checks.py", "torch.is_inference_mode_enabled() or any(", "any(", "test_checks"),
    ("another type of float is torch's to refuse", "kit/checks.py", "    except RuntimeError as error:  # torch's", "    except ZeroDivisionError as error:  # torch's", "test_checks"),
    ("a batch is read on its way", "kit/perturbations/noise.py", "    check_pairs(x, y)\n", "    check_data(x, y)\n", "test_checks"),
    ("half precision is ranked as it is", "kit/neighbors/fast.py", "images.float() if images.element_size() < 4 else images", "images", "test_checks"),
    ("the largest of tied labels wins", "kit/neighbors/voting.py", "ordered.where(elected, ordered[:, -1:]).amin(1)", "ordered.where(elected, ordered[:, :1]).amax(1)", "test_neighbors"),
    ("no K is no error", "kit/neighbors/voting.py", "or not len(ks):", "or False:", "test_neighbors"),
    ("K may be a float", "kit/neighbors/voting.py", "if not is_whole(k) or k < 1 or k % 2 == 0:", "if k < 1 or k % 2 == 0:", "test_neighbors"),
    ("noise beyond its range", "kit/perturbations/genome.py", ".clamp_(-1, 1)", "", "test_perturbations"),
    ("masks load in silence", "kit/data/readers.py", "DARK = 0.1", "DARK = 0.0", "test_data"),
    ("a step of float32 is no grid", "kit/robustness/measures.py", "> 1e-6 * eps_max", "> 1e-9 * eps_max", "test_checks"),
    ("the farthest candidate is replaced", "kit/neuroevolution/algorithm.py", "int(np.argmin(distances))", "int(np.argmax(distances))", OF_FOUR),
    ("4.C1 without clean accuracy", f"{FOUR}claims.py", "results.combine([*above, clean])", "results.combine(above)", OF_FOUR),
    ("4.C4 with the wrong sign", f"{FOUR}claims.py", "per_run(table, other, column) - per_run(table, BEST, column)", "per_run(table, BEST, column) - per_run(table, other, column)", OF_FOUR),
    ("4.C6 by the larger of both", f"{FOUR}claims.py", "np.minimum(*both)", "np.maximum(*both)", OF_FOUR),
    ("4.X1 keeps a tenth", f"{FOUR}claims.py", '"reference\'s") / 2', '"reference\'s") / 10', OF_FOUR),
    ("4.C1 allows five points", f"{FOUR}claims.py", "COMPARABLE = 2.0", "COMPARABLE = 5.0", OF_FOUR),
    ("4.C1 on the reduced data", f"{FOUR}claims.py", '_withstands(e.full, "L∞-PGD"', '_withstands(e.reduced, "L∞-PGD"', OF_FOUR),
    ("4.C1 without Ref+GM", f"{FOUR}claims.py", 'for other in (REF, REF_GM)\n', 'for other in (REF, REF)\n', OF_FOUR),
    ("the second best net for the best", f"{FOUR}claims.py", 'BEST = label(roles.BEST)', 'BEST = label(roles.SECOND)', OF_FOUR),
    ("gains with the wrong sign", f"{FOUR}claims.py", "gain = per_run(table, better) - per_run(table, worse)", "gain = per_run(table, worse) - per_run(table, better)", OF_FOUR),
    ("runs not paired", f"{FOUR}tables.py", 'table[table["net"] == net].sort_values("run")[column]', 'table[table["net"] == net][column]', OF_FOUR),
    ("4.C2 on the reference's examples", f"{FOUR}claims.py", "_withstands(e.full, source", '_withstands(e.full, "L∞-PGD"', OF_FOUR),
    ("4.C2 by the smallest gain of all", f"{FOUR}claims.py", 'theirs = theirs[theirs["source"] == source] if source in set(theirs["source"]) else theirs', "theirs = theirs", OF_FOUR),
    ("4.C2 against Table 1", f"{FOUR}claims.py", '_printed("4.T2")', '_printed("4.T1")', OF_FOUR),
    ("1.C3 without the paper's table", f"{ONE}claims.py", "_printed(config, name) if printed else None", "None", OF_ONE),
    ("1.C3 against SVHN's numbers everywhere", f"{ONE}claims.py", "_printed(config, name) if printed else None", "_printed(config, name)", OF_ONE),
    ("1.C7 without the side inwards", f"{ONE}claims.py", "results.positive(steeper + inwards,", "results.positive(steeper,", OF_ONE),
    ("1.C7 by the side inwards alone", f"{ONE}claims.py", "results.positive(steeper + inwards,", "results.positive(inwards,", OF_ONE),
    ("1.C8 over other images for each net", f"{ONE}measures.py", '~np.isnan(of["clean"]) & ~np.isnan(of["perturbed"])', '~np.isnan(of["clean"])', OF_ONE),
    ("nets that learnt one noise vouch for the other", f"{ONE}claims.py", "if_learnt(others, if_learnt(ours, judged))", "if_learnt(pd.concat([ours, others]), judged)", OF_ONE),
    ("1.C3 against clean training", f"{ONE}claims.py", 'printed_gain(values, "left column [7]"', 'printed_gain(values, "clean"', OF_ONE),
    ("1.C3 against two pixels", f"{ONE}claims.py", 'f"{name} Np = {config.pixels[0]}")', 'f"{name} Np = 2")', OF_ONE),
    ("an effect below the printed one is ruled out", "kit/harness/results/verdicts.py", "0 <= high < printed / 2", "0 <= high < printed", "test_statistics"),
    ("the printed effect is read where it lies low", "kit/harness/results/verdicts.py", "low <= 0 and ruled_out(high, printed)", "low <= 0 and ruled_out(low, printed)", "test_statistics"),
    ("the largest printed gain counts", "kit/harness/results/reference.py", "(a - b).min()", "(a - b).max()", OF_FOUR),
    ("4.C3 against the paper's full data", f"{FOUR}claims.py", '"4.T3" if scale == "full" else "4.T7"', '"4.T3"', OF_FOUR),
    ("4.C4 against the printed gains of L2", f"{FOUR}claims.py", '_printed("4.T5", attack=attack)', '_printed("4.T5", attack="L2-PGD")', OF_FOUR),
    ("4.C3 without clean accuracy", f"{FOUR}claims.py", "results.combine([*parts, _clean_kept(rows, e.resolution[scale])])", "results.combine(parts)", OF_FOUR),
    ("4.C3 by an image of the full data", f"{FOUR}claims.py", "_clean_kept(rows, e.resolution[scale])", '_clean_kept(rows, e.resolution["full"])', OF_FOUR),
    ("4.C4 under FGSM", f"{FOUR}claims.py", 'for attack in ("L∞-PGD", "L2-PGD")', 'for attack in ("L∞-PGD", "FGSM")', OF_FOUR),
    ("4.C4 counts clean errors", f"{FOUR}claims.py", '[REF_GM, HE_GM], "both right"', '[REF_GM, HE_GM], "clean errors counted"', OF_FOUR),
    ("4.C5 against the bare reference", f"{FOUR}claims.py", '[label(role)], "fooled"', '[REF], "fooled"', OF_FOUR),
    ("4.C6 without the clean images", f"{FOUR}claims.py", 'for images in ("clean", "L∞-PGD")]', 'for images in ("L∞-PGD", "L∞-PGD")]', OF_FOUR),
    ("4.C7 without HE+GM", f"{FOUR}claims.py", 'for net in (REF_GM, HE_GM, BEST)', 'for net in (REF_GM, BEST)', OF_FOUR),
    ("4.C7 allows nothing", f"{FOUR}claims.py", 'REF_GM, one_image, COMPARABLE)', 'REF_GM, one_image)', OF_FOUR),
    ("4.X1 without Ref", f"{FOUR}claims.py", 'for least, name in ((half, "half"), (per_run(e.stronger, REF, examples), REF)):', 'for least, name in ((half, "half"),):', OF_FOUR),
    ("4.X1 by the white-box examples twice", f"{FOUR}claims.py", "kept = per_run(e.stronger, BEST, examples)", 'kept = per_run(e.stronger, BEST, "white-box")', OF_FOUR),
    ("4.X2 with the wrong sign", f"{FOUR}claims.py", '(covered["adversarial"] - equal)', '(equal - covered["adversarial"])', OF_FOUR),
    ("4.X2 with λ = 0", f"{FOUR}claims.py", '(rows["strength"] > 0)', '(rows["strength"] >= 0)', OF_FOUR),
    ("4.X2 beyond what |cos| reaches", f"{FOUR}claims.py", 'covered = signed[signed["clean"].between(absolute["clean"].min(), absolute["clean"].max())]', "covered = signed", OF_FOUR),
    ("L2-PGD in L∞", f"{FOUR}steps.py", 'norm="l2" if method == L2 else "linf"', 'norm="linf"', OF_FOUR),
    ("FGSM with ε alone", f"{FOUR}plan.py", "sizes = (config.epsilon, config.epsilon_l2, 2 * config.epsilon)", "sizes = (config.epsilon, config.epsilon_l2, config.epsilon)", OF_FOUR),
    ("twice ε for L∞-PGD", f"{FOUR}plan.py", "sizes = (config.epsilon, config.epsilon_l2, 2 * config.epsilon)", "sizes = (2 * config.epsilon, config.epsilon_l2, 2 * config.epsilon)", OF_FOUR),
    ("PGD from another start", f"{FOUR}steps.py", 'step_size=step_size * eps, seed=runtime.derive_seed(split.seed, "pgd", run)', 'step_size=step_size * eps, seed=runtime.derive_seed(split.seed, "pgd", run + 1)', OF_FOUR),
    ("PGD's step not a part of ε", f"{FOUR}steps.py", "step_size=step_size * eps, seed=runtime", "step_size=step_size, seed=runtime", OF_FOUR),
    ("compared nets start as the reference", f"{FOUR}plan.py", 'start = start or (1 if role == REFERENCE else 2)', "start = start or 1", OF_FOUR),
    ("the fitness sees the test images", f"{FOUR}training.py", "return data.x_train[:hold_out], data.y_train[:hold_out]", "return data.x_test[:hold_out], data.y_test[:hold_out]", OF_FOUR),
    ("the least fit architecture is the best", f"{FOUR}search_steps.py", "key=algorithm.rank, reverse=True", "key=algorithm.rank", OF_FOUR),
    ("filters left out", f"{FOUR}steps.py", "        if image_filter:\n", "        if not image_filter:\n", OF_FOUR),
    ("fooled among what the reference gets wrong", NB4, 'of_reference = reference[\\"clean\\"] == true', 'of_reference = reference[\\"clean\\"] != true', OF_FOUR),
    ("a verdict that turns survives Holm", "kit/harness/results/verdicts.py", "old or (before == after and after in (REPRODUCED, NOT_REPRODUCED))", "old or after in (REPRODUCED, NOT_REPRODUCED)", "test_statistics"),
    ("what is allowed is not allowed", "kit/harness/results/verdicts.py", "judge(low + allowed, high + allowed, len(finite), printed)", "judge(low, high, len(finite), printed)", "test_statistics"),
    ("steps of one name in two files are one", "kit/harness/steps/task.py", 'return f"{module}.{place}".replace', 'return f"{module.partition(chr(46))[0]}.{self.function.__name__}".replace', "test_steps"),
    ("an edited cell gets the old result", "kit/harness/steps/task.py", "*([step.code] if step.code else [])", "", "test_steps"),
    ("an edited helper gets the old result", "kit/harness/steps/code.py", "            self.functions.append(helper)\n", "            pass\n", "test_steps"),
    ("a changed mapping gets the old result", "kit/harness/steps/code.py", "else self._container(value)", "else None", "test_steps"),
    ("an edited class gets the old result", "kit/harness/steps/code.py", "return self._class(value) if ours else None", "return None", "test_steps"),
    ("a step that fills a list is computed again", "kit/harness/steps/code.py", "self.read(self.names[name], name in changed)", "self.read(self.names[name])", "test_steps"),
    ("a model that rounds passes for robust", "kit/checks.py", "return gradient is not None and bool(gradient.any())", "return gradient is not None", "test_checks"),
    ("queries with their axes in another order", "kit/checks.py", "if x_train.shape[1:] != x.shape[1:]:", "if x_train[0].numel() != x[0].numel():", "test_checks"),
    ("batches of no images", "kit/batches.py", '    whole(1).check("at_once", at_once)\n', "", "test_checks"),
    ("one net thrice is a population", "kit/training/population.py", "if len(set(map(id, models))) < len(models):", "if False:", "test_checks"),
    ("statistics of the end alone", "kit/explain/landscape.py", "            if kept.is_floating_point():\n", "            if False:\n", "test_explain"),
    ("a dark part beside a bright one", "kit/data/readers.py", "    if dark:\n", "    if len(dark) == 2:\n", "test_data"),
    ("a second step of a name takes its place", "kit/harness/steps/task.py", "        _check_new(decorated)\n", "", "test_steps"),
    ("closures share their results", "kit/harness/steps/task.py", "if outer := bare.__code__.co_freevars:", "if outer := ():", "test_steps"),
    ("a mapping passes for a task", "kit/harness/steps/task.py", 'if set(keyed) in _MARKS else keyed', "if False else keyed", "test_steps"),
    ("numbers as keys become text", "kit/harness/steps/store.py", "if set(keys) in _MARKS or not all(isinstance(key, str) for key in keys):", "if set(keys) in _MARKS:", "test_steps"),
    ("a mapping passes for an array", "kit/harness/steps/store.py", "if set(keys) in _MARKS or not all(", "if not all(", "test_steps"),
    ("a number that is not finite is lost", "kit/harness/steps/store.py", "return {_NUMBER: str(value)}", "return value", "test_steps"),
    ("masks are dropped", "kit/harness/steps/store.py", " and not isinstance(value, np.ma.MaskedArray)", "", "test_steps"),
    ("a failed task stops all", "kit/harness/steps/schedule.py", "            self.fail(task, error)\n            return\n", "            raise error\n", "test_steps"),
    ("what cannot be kept stops all", "kit/harness/steps/schedule.py", "except (TypeError, ValueError, RecursionError) as refused:", "except RecursionError as refused:", "test_steps"),
    ("a failure is not told", "kit/harness/steps/schedule.py", "        if self.failed:\n            raise", "        if False:\n            raise", "test_steps"),
    ("seeds by the type of a number", "kit/runtime.py", "    parts = plain(parts)\n    _check_parts", "    _check_parts", "test_seeds"),
    ("other seeds for plain values", "kit/runtime.py", "sha256(repr(parts)", "sha256(str(list(parts))", "test_seeds"),
    ("seeds from what has no plain text", "kit/runtime.py", "    _check_parts(parts)\n    digest", "    digest", "test_seeds"),
    ("a checked number stays NumPy's", "kit/constraints.py", "        return self.typed(value)\n\n\ndef plain", "        return value\n\n\ndef plain", "test_seeds"),
    ("equal splits that load different data", "kit/data/splits.py", "object.__setattr__(self, name, constraint.check(name, getattr(self, name)))", "constraint.check(name, getattr(self, name))", "test_data"),
    ("tasks share one mutable data set", "kit/data/splits.py", "context.device if device is None else device).copy()", "context.device if device is None else device)", "test_data"),
    ("hyphens within a result's name", "kit/harness/results/study.py", 'written = dataset.replace("-", ".")', "written = dataset", "test_report"),
    ("verdicts of a data set of a longer name", "kit/harness/page.py", 'c["dataset"] == title', 'c["dataset"].startswith(title)', "test_page"),
    ("a table's index is dropped", "kit/harness/results/report.py", "_without_index(result), title", "result, title", "test_report"),
    ("YAML's numbers in lists", "kit/harness/runner/parameters.py", "value = yaml.load(text, _Loader)", "value = yaml.safe_load(text)", "test_run_all"),
    ("YAML's numbers in profiles", "kit/harness/runner/parameters.py", 'yaml.load(path.read_text(encoding="utf-8"), _Loader)', 'yaml.safe_load(path.read_text(encoding="utf-8"))', "test_run_all"),
    ("names of classes as bytes", "kit/data/readers.py", 'value.decode(errors="replace") if isinstance(value, bytes) else str(value)', "str(value)", "test_data"),
    ("archives that few programs unpack", "kit/harness/steps/archive.py", "zipfile.ZIP_DEFLATED, compresslevel=9", "zipfile.ZIP_LZMA", "test_archive"),
    ("2.C8 by too few epochs", f"{TWO}claims.py", "    if epochs <= PEAK[1]:", "    if epochs < 2:", OF_TWO),
    ("one epoch is taken", f"{TWO}settings.py", "epochs: Annotated[int, whole(2)]", "epochs: Annotated[int, whole(1)]", OF_TWO),
    ("an interval of zero width", "kit/harness/results/intervals.py", "reach = float(np.maximum(reach, resolution))", "reach = float(reach)", "test_statistics"),
    ("two repeats decide", "kit/harness/results/power.py", "MIN_REPEATS = 3", "MIN_REPEATS = 2", "test_statistics test_evolved_perturbations"),
    ("on a GPU: PGD copies to the host in its loop", "kit/attacks/projected_gradient.py", "no_gradient &= ~grad", "no_gradient &= ~grad.cpu().to(x.device)", "test_accelerator"),
    ("on a GPU: PGD starts on the host", "kit/attacks/projected_gradient.py", "change.to(x.device)", "change", "test_accelerator"),
    ("on a GPU: training shuffles by a generator of the host", LOOP, "torch.randperm(count, generator=generator).to(device)", "torch.randperm(count, generator=generator, device=device)", "test_accelerator"),
    ("on a GPU: CLEVER's points stay on the host", "kit/robustness/clever.py", "dtype=x.dtype).to(x.device)", "dtype=x.dtype)", "test_accelerator"),
    ("on a GPU: a net is not moved", f"{ONE}steps.py", "data.classes, seed=initial).to(data.x_train.device)", "data.classes, seed=initial)", "test_accelerator"),
    ("on a GPU: scikit-learn gets its labels", "kit/data/dataset.py", "labels = self.y_train.cpu()", "labels = self.y_train", "test_accelerator"),
    ("on a GPU: missing numbers are looked for in each step", "kit/gradients.py", "channels_last(model), seen_in_the_end():", "channels_last(model):", "test_accelerator"),
    ("on a GPU: a captured step reads old positions", "kit/training/graphs.py", "        positions.copy_(rows)\n", "", "test_accelerator"),
    ("on a GPU: where memory is short, a part is left out", "kit/batches.py", "at_once = -(-min(at_once, end) // 2)", "at_once, start = -(-min(at_once, end) // 2), start + 1", "test_accelerator"),
    ("on a GPU: a population short of memory is trained on others' noise", POPULATION, "member_args[first:last]", "member_args[: last - first]", "test_accelerator"),
    ("dropout draws by chance", LOOP, 'runtime.derive_seed(seed, "draws")', "int(torch.randint(1 << 31, ()))", "test_state"),
    ("who watches a training moves its masks", FIT, "            with draws.paused():\n", "            if True:\n", "test_state"),
    ("global generators stay as a training left them", "kit/runtime.py", "        self._swap()\n        TURNS.release()", "        TURNS.release()", "test_state"),
    ("threads do not take turns", "kit/nets/__init__.py", "with runtime.TURNS:", "with contextlib.nullcontext():", "test_state"),
    ("threads do not take turns at the generators", "kit/runtime.py", "        TURNS.acquire()\n        self._swap()\n", "        self._swap()\n        TURNS.acquire()\n", "test_state"),
    ("a model in place changes the attacker's images", "kit/gradients.py", "check_logits(model(x.clone()), len(x))", "check_logits(model(x), len(x))", "test_state"),
    ("a model in place changes the images it is run on", "kit/checks.py", "return model(x.clone())", "return model(x)", "test_state"),
    ("images learn with the weights", LOOP, "x.detach().to(device)", "x.to(device)", "test_state"),
    ("fast adversarial training goes on from the training before", FIT, "reset(transform, augment, perturb, loss)", "reset(transform, augment, loss)", "test_state"),
    ("free adversarial training goes on from the training before", FIT, "reset(transform, augment, perturb, loss)", "reset(transform, augment, perturb)", "test_state"),
    ("free adversarial training goes on from net to net", POPULATION, "        loop.reset(transform, loss)  # fit sees them wrapped\n", "", "test_state"),
    ("statistics measured with dropout", "kit/explain/landscape.py", "        twin = copy.deepcopy(model)", "    twin = copy.deepcopy(model)", "test_explain"),
    ("a failure spoils statistics", "kit/explain/landscape.py", "twin = copy.deepcopy(model)", "twin = model", "test_state"),
    ("Grad-CAM of the first convolution", "kit/explain/grad_cam.py", "calls[min(places[-1] + 1", "calls[min(places[0] + 1", "test_explain"),
    ("Grad-CAM of a shared ReLU's first call", "kit/explain/grad_cam.py", "features = seen[number - 1]", "features = seen[0]", "test_explain"),
    ("Grad-CAM of a convolution before its ReLU", "kit/explain/grad_cam.py", "calls[min(places[-1] + 1", "calls[min(places[-1]", "test_explain"),
    ("integrated gradients of all steps at once", "kit/explain/attribution.py", "internal_batch_size=BATCH", "internal_batch_size=None", "test_explain"),
    ("integrated gradients of all images at once", "kit/explain/attribution.py", "return in_batches(attribute, x, y, copies=steps)", "return attribute(x, y)", "test_explain"),
    ("a last batch of one image stays alone", LOOP, "return [*sizes[:-2], batch_size + 1]", "return sizes", "test_training"),
    ("a last batch of one image always joins", LOOP, "not _refuses_a_single_image(model, x, y, transform)", "False", "test_training"),
    ("a last batch of one image is left out", LOOP, "return [*sizes[:-2], batch_size + 1]", "return sizes[:-1]", "test_training"),
]  # fmt: skip


def fails(scratch: Path, tests: Iterable[str], error: Error | None = None) -> bool:
    """Do the tests fail, in a copy with an error planted or without any?"""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        copy = Path(folder)
        for name in FOLDERS:
            source = runtime.root() / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, copy / name)
        if error:
            _, path, right, wrong, _ = error
            text = (copy / path).read_text(encoding="utf-8")
            if right not in text:
                raise ValueError(f"{path} no longer holds {right!r}: mend the list of errors.")
            (copy / path).write_text(text.replace(right, wrong, 1), encoding="utf-8")
        files = [f"tests/{name}.py" for name in tests]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-n0", "-p", "no:cacheprovider", *files],
            cwd=copy, env={**os.environ, "PYTHONPATH": str(copy)}, capture_output=True, timeout=900,
        )  # fmt: skip
    return done.returncode == 1  # failed tests, not a broken run


def main() -> int:
    """Plant them all, write the table; 1 if too few are caught."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.planted_errors", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", default="", help="part of an error's name or of its file's")
    options = parser.parse_args()
    chosen = [n for n, (what, path, *_) in enumerate(ERRORS) if options.only in f"{what} {path}"]
    if not chosen:
        parser.error(f"no planted error or file has {options.only!r} in its name: see ERRORS.")
    with (
        tempfile.TemporaryDirectory(prefix="planted-") as scratch,
        ThreadPoolExecutor(options.jobs) as pool,
    ):
        # What fails anyway would catch everything.
        files = sorted({name for n in chosen for name in ERRORS[n][4].split()})
        broken = pool.map(lambda name: fails(Path(scratch), [name]), files)
        if wrong := [name for name, fail in zip(files, broken, strict=True) if fail]:
            parser.error(f"these tests fail without any error planted: {', '.join(wrong)}.")
        found = list(
            pool.map(lambda n: fails(Path(scratch), ERRORS[n][4].split(), ERRORS[n]), chosen)
        )
    table = pd.DataFrame(
        [(*ERRORS[n][:2], "yes" if hit else "**no**") for n, hit in zip(chosen, found, strict=True)],
        columns=["planted error", "file", "caught"],
    )  # fmt: skip
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
