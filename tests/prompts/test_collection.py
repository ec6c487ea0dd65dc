"""The balanced draw, worked by hand."""

from apmae.prompts.candidates import Candidate, Quota
from apmae.prompts.collection import Collection, matched

QUOTA = Quota("study", "eol")


def collection(halves, per_file, *candidates):
    """A collection of candidates (name, group, correct), whose keys are in their order."""
    made = Collection(QUOTA, halves, per_file)
    for number, (name, group, correct) in enumerate(candidates):
        candidate = Candidate(QUOTA, f"{group}/{name[0]}", group, 1, name, number / 100, 7, [1, 2])
        made.candidates.insert(0, candidate)  # the order in which candidates come says nothing
        made.record(candidate, {"correct": correct})
    return made


def drawn(made):
    return [candidate.text for candidate in made.draw()]


def test_pairs_of_one_package_come_before_single_candidates():
    made = collection(
        {True: 2, False: 2},
        9,
        ("a1", "p", True),
        ("b1", "p", True),
        ("c1", "p", True),
        ("d1", "q", False),
        ("e1", "q", True),
        ("f1", "p", False),
    )
    assert drawn(made) == ["a1", "d1", "e1", "f1"]  # pairs d1 e1 and a1 f1; b1 and c1 have no partner


def test_pairs_are_of_one_file_where_it_has_both_outcomes():
    candidates = [("a1", "p", True), ("b1", "p", False), ("a2", "p", False), ("b2", "p", True)]
    assert drawn(collection({True: 1, False: 1}, 9, *candidates)) == ["a1", "a2"]
    candidates = [
        ("a1", "p", True),
        ("b1", "p", False),
        ("b2", "p", False),
        ("b3", "p", True),
        ("c1", "p", True),
    ]
    assert drawn(collection({True: 2, False: 2}, 9, *candidates)) == ["a1", "b1", "b2", "b3"]  # b1 b3, a1 b2


def test_single_candidates_fill_up_by_key():
    made = collection(
        {True: 2, False: 2},
        9,
        ("a1", "p", True),
        ("b1", "p", True),
        ("c1", "q", False),
        ("d1", "r", False),
        ("e1", "s", False),
        ("f1", "s", True),
    )
    assert drawn(made) == ["a1", "c1", "e1", "f1"]


def test_pairs_are_drawn_by_their_later_key():
    made = collection(
        {True: 1, False: 1},
        9,
        ("a1", "p", True),
        ("b1", "q", True),
        ("c1", "q", False),
        ("d1", "p", False),
    )
    assert drawn(made) == ["b1", "c1"]


def test_a_file_gives_so_many_of_each_outcome():
    candidates = [(f"a{number}", "p", number % 2 == 0) for number in range(8)]
    assert drawn(collection({True: 4, False: 4}, 2, *candidates)) == ["a0", "a1", "a2", "a3"]


def test_prompts_of_any_outcome_are_drawn_by_key():
    candidates = [(f"a{number}", "p", number % 3 == 0) for number in range(8)]
    assert drawn(collection({None: 3}, 4, *candidates)) == ["a0", "a1", "a2"]


def test_a_prompt_is_matched_whose_partner_is_of_its_package():
    candidates = [("a1", "p", True), ("b1", "p", True), ("c1", "q", False), ("d1", "p", False)]
    made = collection({True: 2, False: 2}, 9, *candidates)
    assert matched(made.draw()) == 2  # b1 and c1 are alone


def test_the_search_goes_on_for_pairs_but_not_for_ever():
    candidates = [("a1", "p", True), ("b1", "q", False)]
    assert not collection({True: 1, False: 1}, 9, *candidates).is_full
    assert collection({True: 1, False: 1}, 9, *candidates, ("b2", "q", True)).is_full
    others = [(f"{name}1", name, True) for name in "cdef"]
    assert collection({True: 1, False: 1}, 9, *candidates, *others).is_full


def test_what_a_survey_for_other_tasks_saw_was_not_tried():
    made = collection({True: 1, False: 1}, 9, ("a1", "p", True), ("b1", "q", False))
    for number in range(9):
        candidate = Candidate(QUOTA, f"r/{number}", "r", 1, "text", 0.5, 7, [1, 2])
        candidate.seen = 0.5
        made.candidates.append(candidate)
    assert made.tried == 2
    assert not made.is_full
    made.scarce = False  # now the survey is this task's own
    assert made.tried == 11
    assert made.is_full
