"""Independent searches: the parameter ``search_seeds`` of notebook 01."""

import notebook
import pytest

from kit.experiments import evolved_perturbations as study

TINY = {"pixels": [1, 4], "train": 100, "test": 60, "search_train": 60, "generations": 2}


def searches(**change):
    values = notebook.parameters("01_evolved_perturbations") | TINY | change
    (one,) = study.plan(study.Settings.read(values)).studies.values()
    return one


def test_further_searches_leave_the_first_as_it_is():
    one, three = searches(search_seeds=1), searches(search_seeds=3)
    assert len(three.searches) == len(one.searches) + 2
    for aim, search in one.searches.items():
        assert three.searches[aim].generations == search.generations
    keys = {search.generations[-1].key for search in three.searches.values()}
    assert len(keys) == len(three.searches)


def test_the_result_of_every_search_is_trained_on():
    one = searches(search_seeds=2, larger_seeds=2, control_seeds=2)
    evolved = [t for t in one.trainings if t.kind == "evolved"]
    first, second = ([t for t in evolved if t.search == s] for s in (1, 2))
    assert len(first) == len(second) > 0
    assert not {t.result.key for t in first} & {t.result.key for t in second}


def test_no_search_is_refused():
    with pytest.raises(ValueError, match="search_seeds is 0: it must be a positive whole number"):
        searches(search_seeds=0)
