"""Configuration: overrides, what is resolved, and that docs/config.md says so."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated, get_origin

import pytest
import yaml
from annotated_types import Ge
from pydantic import TypeAdapter

from apmae.common.errors import ApmaeError
from apmae.study.config import EncoderConfig, Section, StudyConfig
from apmae.study.presets import PRESETS
from apmae.study.study_file import dump_config, load_config

ROOT = Path(__file__).parents[2]


@pytest.fixture
def study_file(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("name: a\ntraining: {steps: 7}\n")
    return path


def test_overrides_are_yaml_values(study_file):
    config = load_config(study_file, ["seed=3", "prompts.tasks=[eol, noise]", "training.batch_size=16"])
    assert (config.seed, config.prompts.tasks, config.training.steps) == (3, ("eol", "noise"), 7)
    assert config.training.batch_size == 16


def test_a_dumped_config_is_the_same_config(study_file):
    config = load_config(study_file)
    assert StudyConfig.model_validate(yaml.safe_load(dump_config(config))) == config


AS_WRITTEN = [
    ("corpus.text_column", "no", "no"),
    ("training.tracker", "none", "none"),
    ("training.correct_only", "no", False),
    ("training.correct_only", "off", False),
    ("training.correct_only", "True", True),
    ("encoder.row_tokens", "on", True),
    ("training.steps", "1e3", 1_000),
    ("training.steps", "1000.0", 1_000),
    ("training.steps", "2_000", 2_000),
    ("corpus.max_files", "5E2", 500),
    ("corpus.max_files", "null", None),
    ("seed", "12345678901234567890", 12345678901234567890),
    ("training.base_learning_rate", "4e-4", 4e-4),
    ("training.weight_decay", "0", 0.0),
    ("intervention.factors", "[5e-1, 2]", (0.5, 2.0)),
    ("intervention.factors", "0.5", (0.5,)),
    ("intervention.head_counts", "1e1", (10,)),
    ("intervention.head_counts", "[1, 2e1]", (1, 20)),
    ("intervention.operations", "zero", ("zero",)),
    ("intervention.importance", "clusters", ("clusters",)),
    ("prompts.tasks", "eol", ("eol",)),
    ("prediction.features", "clusters", ("clusters",)),
    ("corpus.drop", "no code", ("no code",)),
    ("corpus.drop", "[]", ()),
    ("corpus.exclude_flags", "on", ("on",)),
    ("encoding.readouts", "cls", ("cls",)),
    ("name", "2024", "2024"),
    ("name", "2024-01-01", "2024-01-01"),
    ("name", "1e3", "1e3"),
    ("name", "no", "no"),
    ("corpus.hub_revision", "1234567", "1234567"),
    ("corpus.hub_revision", "0123456", "0123456"),
    ("corpus.hub_revision", "12345e7", "12345e7"),
    ("corpus.hub_config", "12:30", "12:30"),
    ("corpus.text_column", "'null'", "null"),
    ("directory", "2024", Path("2024")),
]


@pytest.mark.parametrize("given_in", ["file", "override"])
@pytest.mark.parametrize(("key", "text", "value"), AS_WRITTEN)
def test_a_value_is_what_it_reads_as(study_file, key, text, value, given_in):
    *section, name = key.split(".")
    overrides = [f"{key}={text}"]
    if given_in == "file":
        overrides = []
        line = f"{section[0]}: {{{name}: {text}}}" if section else f"{name}: {text}"
        study_file.write_text(line if name == "name" else f"name: a\n{line}\n")
    config = load_config(study_file, overrides)
    read = getattr(getattr(config, section[0]) if section else config, name)
    assert read == value
    assert type(read) is type(value)


def test_a_choice_needs_no_quotes(study_file):
    plain, quoted = (load_config(study_file, [f"training.precision={text}"]) for text in ("no", "'no'"))
    assert plain == quoted


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.steps=1.5", r"training\.steps: .*valid integer.* \(got '1\.5'\)"),
        ("training.steps=15e-1", r"training\.steps: .*valid integer.* \(got '15e-1'\)"),
        ("training.steps=1e999", r"training\.steps: .*valid integer"),
        ("training.steps=many", r"training\.steps: .*valid integer.* \(got 'many'\)"),
        ("training.steps=true", r"training\.steps: .*valid integer"),
        ("training.steps=-1e3", r"training\.steps: .*greater than 0"),
        ("training.steps=[1, 2]", r"training\.steps: .*valid integer \(got \['1', '2'\]\)"),
        ("training.weight_decay=[0.1]", r"training\.weight_decay: .*valid number"),
        ("training.precision=off", r"training\.precision: .*\(got 'off'\)"),
        ("training.correct_only=maybe", r"training\.correct_only: .*valid boolean"),
        ("corpus.language=[java]", r"corpus\.language: .*valid string"),
        ("prompts.tasks={eol: 1}", r"prompts\.tasks: .*valid tuple"),
        ("prompts.tasks=null", r"prompts\.tasks: .*valid tuple"),
        ("prompts.task=eol", r"unknown key prompts\.task;"),
        ("name=null", r"name: .*valid string"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_it(study_file, override, said):
    with pytest.raises(ApmaeError, match=said) as raised:
        load_config(study_file, [override])
    assert "\n" not in str(raised.value)


def test_any_whole_number_may_have_an_exponent():
    for section in (StudyConfig, *Section.__subclasses__()):
        for field in section.model_fields.values():
            if re.search(r"\bint\b", str(field.annotation)):
                several = get_origin(field.annotation) is tuple
                read = TypeAdapter(Annotated[field.annotation, field]).validate_python
                least = max([16, *(bound.ge for bound in field.metadata if isinstance(bound, Ge))])
                text = f"{least}e0"
                assert read([text] if several else text) in (least, (least,))


PAPER = [(section, key) for section, keys in PRESETS["paper"].items() for key in keys]


@pytest.mark.parametrize(("section", "key"), PAPER)
def test_every_key_of_the_papers_preset_differs_from_its_default(study_file, section, key):
    study_file.write_text("name: a\n")
    plain, paper = (load_config(study_file, [f"preset={preset}"]) for preset in ("none", "paper"))
    value = getattr(getattr(paper, section), key)
    assert value == PRESETS["paper"][section][key]
    assert value != getattr(getattr(plain, section), key)


def test_the_preset_changes_the_keys_that_it_lists_and_no_others(study_file):
    study_file.write_text("name: a\n")
    plain, paper = (
        load_config(study_file, [f"preset={preset}"]).model_dump() for preset in ("none", "paper")
    )
    assert (plain.pop("preset"), paper.pop("preset")) == ("none", "paper")
    changed = [
        (section, key)
        for section, values in plain.items()
        if isinstance(values, dict)
        for key, value in values.items()
        if value != paper[section][key]
    ]
    assert sorted(changed) == sorted(PAPER)


def test_a_key_of_the_file_wins_over_the_preset(study_file):
    study_file.write_text("name: a\npreset: paper\nencoder: {size: tiny}\nprompts: {tasks: eol}\n")
    config = load_config(study_file, ["training.steps=7", "clustering.allow_single_cluster=no"])
    assert (config.encoder.size, config.encoder.scaling) == ("tiny", "min_normalized")
    assert (config.prompts.tasks, config.prompts.per_task) == (("eol",), 10_000)
    assert (config.training.steps, config.training.batch_size) == (7, 480)
    assert (config.clustering.allow_single_cluster, config.clustering.method) == (False, "umap_hdbscan")
    given = StudyConfig(name="a", preset="paper", encoder=EncoderConfig(size="small"))
    assert (given.encoder.size, given.encoder.row_tokens) == ("small", False)


def test_a_resolved_study_with_a_preset_reads_back_as_it_was(study_file):
    config = load_config(study_file, ["preset=paper", "encoder.scaling=absolute", "prediction.depth=4"])
    written = yaml.safe_load(dump_config(config))
    assert (written["preset"], written["encoder"]["scaling"]) == ("paper", "absolute")
    assert written["clustering"]["method"] == "umap_hdbscan"
    assert StudyConfig.model_validate(written) == config


def test_the_study_of_the_page_about_the_paper_is_one():
    page = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
    study = StudyConfig.model_validate(yaml.safe_load(re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1]))
    assert (study.preset, study.clustering.allow_single_cluster) == ("paper", True)


def test_an_unknown_preset_is_named(study_file):
    with pytest.raises(ApmaeError, match=r"preset: .*'none' or 'paper' \(got 'papers'\)"):
        load_config(study_file, ["preset=papers"])
    with pytest.raises(ApmaeError, match="preset: "):
        load_config(study_file, ["preset=[paper]"])


@pytest.mark.parametrize("text", ["[1, 2]", "a: b: c", "just words"])
def test_files_that_are_no_study(study_file, text):
    study_file.write_text(text)
    with pytest.raises(ApmaeError, match=r"mapping of sections|not valid YAML"):
        load_config(study_file)


def test_a_directory_is_no_study_file(tmp_path):
    with pytest.raises(ApmaeError, match="is a directory"):
        load_config(tmp_path)


@pytest.mark.parametrize("tasks", ["[]", "[eol, eol]"])
def test_tasks_are_given_once_and_at_all(study_file, tasks):
    with pytest.raises(ApmaeError, match=r"prompts\.tasks"):
        load_config(study_file, [f"prompts.tasks={tasks}"])


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ("[clusters, confidence+attention]", "'attention' is none of"),
        ("[confidence+clusters, clusters+confidence]", "a feature set twice"),
        ("[clusters+clusters]", "a block twice"),
        ("[strong+confidence+clusters]", "a block twice"),
        ("[]", r"prediction\.features is empty"),
        ("[random_clusters]", r"needs encoding\.random_encoder"),
    ],
)
def test_feature_sets_are_unions_of_known_blocks(study_file, features, said):
    with pytest.raises(ApmaeError, match=said):
        load_config(study_file, [f"prediction.features={features}"])


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ("confidence+clusters", r"prediction\.scorer: 'clusters' is none of max_probability"),
        ("position+row_statistics", "'position' is none of"),
        ("strong+row_statistics", "'position' is none of"),
        ("row_statistics+row_statistics", r"prediction\.scorer names a block twice"),
        ("confidence+hidden_state", "has no block of heads, such as copy_attention"),
    ],
)
def test_the_scorer_sees_heads_in_one_forward_pass(study_file, features, said):
    with pytest.raises(ApmaeError, match=said):
        load_config(study_file, [f"prediction.scorer={features}"])


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ("confidence+identity", r"token_predictor\.features: 'identity' is none of confidence, occurrences"),
        ("copies+copies", r"token_predictor\.features names a block twice"),
        ("confidence+hidden", r"token_predictor\.features has none of rows and copies"),
    ],
)
def test_the_predictor_of_tokens_sees_heads(study_file, features, said):
    with pytest.raises(ApmaeError, match=said):
        load_config(study_file, [f"token_predictor.features={features}"])


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("encoding.readouts=[row]", r"clustering\.readout: cls is not in encoding\.readouts"),
        ("encoding.readouts=[cls, cls]", r"encoding\.readouts names one twice"),
        ("clustering.readout=mean", r"clustering\.readout: mean is not in"),
        ("prediction.features=[mean_encodings]", r"mean_encodings needs mean in encoding\.readouts"),
        ("prediction.features=[confidence+row_concat_encodings]", "row_concat_encodings needs row_concat in"),
        ("encoder.row_token_size=12", r"row_token_size 12 does not divide encoder\.patch_size 32"),
    ],
)
def test_what_is_read_of_the_encoder_is_kept(study_file, override, said):
    with pytest.raises(ApmaeError, match=said):
        load_config(study_file, [override])


def test_what_detectors_make_is_kept(study_file):
    features = "prediction.features=[strong+laplacian_eigenvalues]"
    with pytest.raises(ApmaeError, match=r"laplacian_eigenvalues needs .* in encoding\.detectors"):
        load_config(study_file, [features])
    kept = load_config(study_file, [features, "encoding.detectors=laplacian_eigenvalues"])
    assert kept.encoding.detectors == ("laplacian_eigenvalues",)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("importance", "[row_encodings]", r"no feature set of prediction\.features has row_encodings"),
        ("importance", "[confidence]", "'confidence' is none of clusters, row_statistics"),
        ("gate", "margin", r"intervention\.gate: 'margin' is neither confidence nor one of"),
        ("operations", "[zero, zero]", r"intervention\.operations names one twice"),
        ("operations", "[double]", "Input should be 'zero', 'mean' or 'scale'"),
    ],
)
def test_interventions_follow_what_is_predicted(study_file, key, value, said):
    with pytest.raises(ApmaeError, match=said):
        load_config(study_file, [f"intervention.{key}={value}"])


@pytest.mark.parametrize("path", sorted((ROOT / "studies").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_studies_are_valid_and_named_after_their_files(path):
    assert load_config(path).name == path.stem


def test_the_papers_studies_have_the_papers_numbers():
    config = load_config(ROOT / "studies" / "starcoder2-3b.yaml")
    assert (config.training.steps, config.training.batch_size) == (150_000, 480)
    assert (config.prompts.per_task, len(config.prompts.tasks)) == (10_000, 11)
    assert config.encoder.scaling == "min_normalized"
    assert not config.encoder.row_tokens
    assert config.intervention.operations == ("zero",)
    assert config.intervention.random_seeds == 10


def test_the_page_about_the_configuration_is_up_to_date():
    script = ROOT / "scripts" / "generate_config_docs.py"
    subprocess.run([sys.executable, script, "--check"], check=True)


@pytest.mark.parametrize(
    ("key", "new"),
    [
        ("encoder.row_loss_share", "row_loss_fraction"),
        ("training.accumulate", "gradient_accumulation_steps"),
        ("intervention.random_draws", "random_seeds"),
    ],
)
def test_a_key_of_an_earlier_version_names_the_new_one(study_file, key, new):
    with pytest.raises(ApmaeError, match=rf"{key.rpartition('.')[2]} is called {new} now") as raised:
        load_config(study_file, [f"{key}=1"])
    assert "\n" not in str(raised.value)
