"""The command on one model and a small study: every ranking has its row."""

from experiments.ground_truth import __main__ as ground_truth
from experiments.ground_truth import study
from experiments.ground_truth.sequences import SEQUENCES

SMALL = {
    "prompts": {"per_task": 60, "encoder_prompts": 24},
    "effects": {"prompts_per_outcome": 4},
    "training": {"steps": 2, "batch_size": 8, "validation_prompts": 4},
    "prediction": {"folds": 2, "iterations": 4, "processes": 1},
    "clustering": {"n_clusters": 2, "processes": 1},
    "intervention": {"gate_steps": 2, "tuning_prompts_per_outcome": 4, "prompts_per_outcome": 4},
}


def test_every_ranking_has_a_row(monkeypatch, capsys):
    whole = study.config_of

    def small(name, directory, seed):
        config = whole(name, directory, seed).model_dump(mode="json")
        return type(whole(name, directory, seed)).model_validate(
            {**config, **{section: {**config[section], **changes} for section, changes in SMALL.items()}}
        )

    monkeypatch.setattr(study, "config_of", small)
    monkeypatch.setattr(ground_truth, "SEQUENCES", {"previous": SEQUENCES["previous"]})
    ground_truth.main(None, seed=0)
    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    named = [row[0] for row in rows]
    for ranking in (
        "ablation",
        "attribution",
        "one derivative",
        "learned gates",
        "SHAP of clusters",
        "SHAP of row_statistics",
        "roles",
    ):
        assert named.count(ranking) == 2
    assert rows[named.index("known heads")][1] == "1 of 16"
    assert rows[named.index("ablation")][1:3] == ["1.00 (1.00)", "1.00"]
    assert named[-1] == "random order"
