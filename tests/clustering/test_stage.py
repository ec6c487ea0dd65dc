import sys
from unittest.mock import patch

import numpy as np
import polars as pl
import pytest
import zarr
from helpers.studies import context_of
from helpers.synthetic import TELLING_HEAD, TELLING_LAYER, synthetic_study
from polars.testing import assert_frame_equal

from apmae.clustering import stage
from apmae.common.errors import ApmaeError
from apmae.common.progress import silent
from apmae.study.artifacts import CLUSTERS, ENCODINGS, PROMPTS

UMAP = {
    "method": "umap_hdbscan",
    "min_cluster_size": 8,
    "min_samples": 2,
    "umap_neighbors": 8,
    "umap_dimensions": 2,
}


def patterns_of(prompt_id, heads):
    """Patterns that name where they come from."""
    return np.stack([np.full((16, 16), prompt_id + layer / 4 + head / 16) for layer, head in heads])


def run(study, key="k", progress=silent):
    with patch.object(stage, "pattern_source", lambda study, target: patterns_of):
        return stage.run(context_of(study, object(), key=key, progress=progress))


def test_clusters_of_every_head_and_prompt(tmp_path):
    study = synthetic_study(tmp_path / "s", config={"clustering": {"n_clusters": 2, "processes": 1}})
    counts = run(study)
    table = study.clusters
    assert dict(table.schema) == CLUSTERS.schema
    assert table.select("layer", "head", "prompt_id").equals(
        pl.DataFrame(
            [(layer, head, prompt) for layer in range(2) for head in range(2) for prompt in range(60)],
            schema=table.select("layer", "head", "prompt_id").schema,
            orient="row",
        )
    )
    telling = table.filter(layer=TELLING_LAYER, head=TELLING_HEAD)
    correct = study.study_prompts["correct"].to_numpy()
    for column in ("cluster", "cluster_held_out"):
        assert abs(np.corrcoef(telling[column].to_numpy(), correct)[0, 1]) == pytest.approx(1)
    assert counts == {
        "heads": 4,
        "prompts": 60,
        "clusters": 8,
        "noise_fraction": 0.0,
        "exemplar_prompts": len(np.unique(study.exemplars["prompt_id"][:])),
    }


def test_exemplars_are_members_with_their_own_patterns(tmp_path):
    study = synthetic_study(tmp_path / "s", config={"clustering": {"n_clusters": 3, "processes": 1}})
    run(study)
    found = study.exemplars
    assert found["patterns"].shape == (12, 16, 16)
    assert found["patterns"].chunks == (1, 16, 16)
    assert found["patterns"].dtype == np.float16
    ids = {name: found[name][:].tolist() for name in ("layer", "head", "cluster", "prompt_id")}
    for row, (layer, head, cluster, prompt) in enumerate(zip(*ids.values(), strict=True)):
        member = study.clusters.filter(layer=layer, head=head, prompt_id=prompt)
        assert member["cluster"].item() == cluster
        assert (found["patterns"][row] == prompt + layer / 4 + head / 16).all()


def test_nothing_but_noise_has_no_exemplars(tmp_path):
    config = {"clustering": {"method": "umap_hdbscan", "min_cluster_size": 61, "processes": 1}}
    study = synthetic_study(tmp_path / "s", config=config)
    counts = run(study)
    assert counts["noise_fraction"] == 1.0
    assert counts["exemplar_prompts"] == 0
    assert study.exemplars["patterns"].shape == (0, 16, 16)


@pytest.mark.parametrize(
    "method",
    [{"method": "kmeans"}, pytest.param(UMAP, marks=pytest.mark.slow)],
    ids=["kmeans", "umap_hdbscan"],
)
def test_number_of_processes_does_not_matter(tmp_path, method):
    tables = []
    for processes in (1, 2):
        config = {"clustering": {**method, "processes": processes}}
        study = synthetic_study(tmp_path / str(processes), noise=2, config=config)
        run(study)
        tables.append(study.clusters)
    assert_frame_equal(*tables)


def test_killed_and_resumed_equals_unkilled(tmp_path):
    def killed(items, description, total=None):
        yield next(iter(items))
        raise KeyboardInterrupt

    config = {"clustering": {"processes": 1}}
    unkilled = synthetic_study(tmp_path / "unkilled", config=config)
    run(unkilled)
    study = synthetic_study(tmp_path / "killed", config=config)
    with pytest.raises(KeyboardInterrupt):
        run(study, progress=killed)
    part, *others = study.work_directory("cluster", "k").glob("*.parquet")
    assert len(others) < 3
    written = part.stat().st_mtime_ns
    run(study)
    assert part.stat().st_mtime_ns == written
    assert_frame_equal(study.clusters, unkilled.clusters)
    np.testing.assert_array_equal(study.exemplars["patterns"][:], unkilled.exemplars["patterns"][:])


def test_work_of_another_key_is_not_taken_up(tmp_path):
    study = synthetic_study(tmp_path / "s", config={"clustering": {"processes": 1}})
    stale = study.work_directory("cluster", "old") / "00000.parquet"
    stale.write_text("not a table")
    run(study, key="new")
    assert study.clusters.height == 240


def test_test_prompts_do_not_leak_into_held_out_clusters(tmp_path):
    study = synthetic_study(tmp_path / "s", config={"clustering": {"processes": 1}})
    run(study)
    before = study.clusters
    in_test = np.flatnonzero(study.study_prompts["split"].to_numpy() == "test")
    encodings = zarr.open_group(study.path(ENCODINGS))["cls"]
    encodings.oindex[:, in_test, :] = np.float16(9)
    run(study, key="changed")
    in_train = ~pl.col("prompt_id").is_in(in_test.tolist())
    assert_frame_equal(
        before.filter(in_train).drop("cluster"), study.clusters.filter(in_train).drop("cluster")
    )
    assert not before["cluster"].equals(study.clusters["cluster"])


def test_development_prompts_are_assigned_to_clusters_but_shape_none_and_stand_for_none(tmp_path):
    def study(name, replaced=None):
        made = synthetic_study(tmp_path / name, config={"clustering": {"processes": 1}})
        prompts = made.prompts
        away = prompts["group"].is_in(["g0", "g5"])
        split = pl.when(away).then(pl.lit("development")).otherwise("split")
        made.write(PROMPTS, prompts.with_columns(split=split))
        if replaced is not None:
            encodings = zarr.open_group(made.path(ENCODINGS))["cls"]
            encodings.oindex[:, np.flatnonzero(away.to_numpy()), :] = np.float16(replaced)
        run(made)
        return made, prompts.filter(away)["prompt_id"].to_list()

    plain, away = study("plain")
    changed, _ = study("changed", 9)
    analysed = ~pl.col("prompt_id").is_in(away)
    assert_frame_equal(plain.clusters.filter(analysed), changed.clusters.filter(analysed))
    assert set(plain.clusters["prompt_id"]) > set(away)
    for made in (plain, changed):
        assert not set(away) & set(made.exemplars["prompt_id"][:].tolist())


def test_missing_backend_names_the_extra(tmp_path, monkeypatch):
    for backend, module in (("dask", "dask.distributed"), ("ray", "ray.util.joblib")):
        monkeypatch.setitem(sys.modules, module, None)
        study = synthetic_study(tmp_path / backend, config={"clustering": {"backend": backend}})
        with pytest.raises(ApmaeError, match=rf"apmae\[{backend}\]"):
            run(study)


def test_no_training_prompts_is_said(tmp_path):
    study = synthetic_study(tmp_path / "s", per_task=6)
    table = study.prompts.with_columns(split=pl.lit("test"))
    table.write_parquet(study.path("prompts.parquet"))
    with pytest.raises(ApmaeError, match="training split"):
        run(study)


@pytest.mark.parametrize("asked", [False, True])
def test_a_random_encoders_encodings_are_clustered_when_asked_for(tmp_path, asked):
    config = {"clustering": {"n_clusters": 2, "processes": 1}, "encoding": {"random_encoder": asked}}
    study = synthetic_study(tmp_path / "s", config=config)
    swapped = zarr.open_group(study.path(ENCODINGS), mode="r+")
    swapped["random_cls"][:] = swapped["cls"][:][::-1]
    run(study)
    columns = study.clusters.select("random_cluster", "random_cluster_held_out")
    if not asked:
        assert columns.select(pl.all().is_null().all()).row(0) == (True, True)
        return
    # Heads are swapped: the telling one, (1, 0), is the random encoder's (0, 1).
    told = study.clusters.filter(layer=0, head=1)["random_cluster_held_out"].to_numpy()
    correct = study.study_prompts["correct"].to_numpy()
    assert abs(np.corrcoef(told, correct)[0, 1]) == pytest.approx(1)


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "module"), [("dask", "dask.distributed"), ("ray", "ray")])
def test_clusters_from_a_cluster_of_machines_are_the_same(tmp_path, backend, module):
    pytest.importorskip(module)
    clustering = {"n_clusters": 3, "processes": 2}
    here = synthetic_study(tmp_path / "here", config={"clustering": clustering})
    there = synthetic_study(tmp_path / "there", config={"clustering": clustering | {"backend": backend}})
    for study in (here, there):
        run(study)
    assert_frame_equal(there.clusters, here.clusters)
