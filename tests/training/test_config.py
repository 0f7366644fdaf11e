import dataclasses
import json

import pytest

from dermlens.errors import ConfigError
from training.config import CONFIGS, Augment, Config, Phase, from_dict, load_config, override

NAMES = sorted(f.stem for f in CONFIGS.glob("[!_]*.py"))
PLAIN = Config(
    architecture="baseline_cnn", phases=(Phase(epochs=2, learning_rate=1e-3), Phase(epochs=3, learning_rate=1e-4))
)


@pytest.mark.parametrize("name", NAMES)
def test_every_config_loads_names_its_command_and_its_outcome(name: str) -> None:
    config, doc = load_config(name)
    assert f"python -m training.train {name} --data DIR" in doc
    assert "not run" in doc or "accuracy" in doc
    assert "run time" in doc.lower()
    assert from_dict(json.loads(json.dumps(dataclasses.asdict(config)))) == config  # as run.json keeps it


def test_the_five_architectures_and_the_published_recipe_have_configs() -> None:
    assert {"baseline_cnn", "resnet18", "resnet50", "efficientnetv2b0", "convnext_base"} <= set(NAMES)
    published = load_config("convnext_base")[0]
    assert [(p.epochs, p.learning_rate, p.unfreeze) for p in published.phases] == [(25, 1e-3, 0), (10, 1e-4, 3)]
    assert (published.loss, published.focal_alpha, published.focal_gamma) == ("focal", 1, 2)
    assert (published.weight_decay, published.augment.rotation_degrees) == (1e-2, 20)
    assert min(published.augment.brightness, published.augment.contrast, published.augment.saturation) > 0


def test_a_config_is_found_by_name_and_by_path() -> None:
    assert load_config("baseline_cnn") == load_config("training/configs/baseline_cnn.py")
    for name in ("nonsense", "", "__init__", "../config"):
        with pytest.raises(ConfigError, match="there are baseline_cnn, convnext_base"):
            load_config(name)


def test_overrides_reach_every_level_and_leave_the_rest() -> None:
    changed = override(
        PLAIN, ["seed=7", "phases.1.unfreeze=3", "phases.0.unfreeze='all'", "augment.flip=false", "weights=a/b=c.npz"]
    )
    assert changed == dataclasses.replace(
        PLAIN,
        seed=7,
        weights="a/b=c.npz",
        augment=Augment(flip=False),
        phases=(PLAIN.phases[0], dataclasses.replace(PLAIN.phases[1], unfreeze=3)),
    )
    assert override(PLAIN, []) == PLAIN
    assert override(PLAIN, ["seed=3", "seed=4"]).seed == 4
    assert override(PLAIN, ["phases=[{'epochs': 1, 'learning_rate': 0.1}]"]).phases == (Phase(1, 0.1),)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("lerning_rate=1", "Unknown setting 'lerning_rate'.*is not one of architecture, phases"),
        ("augment.spin=1", "Unknown setting 'augment.spin'.*is not one of flip, rotation_degrees"),
        ("phases.2.epochs=1", "Unknown setting 'phases.2.epochs': '2' is not one of 0 to 1"),
        ("phases.x.epochs=1", "'x' is not one of 0 to 1"),
        ("phases.0=1", "such as phases.0.epochs"),
        ("phases=3", "needs at least one phase, got 3"),
        ("phases=[]", "needs at least one phase"),
        ("phases=[1]", "phases.0 must be a set of settings, got 1"),
        ("phases=[{'epochs': 1}]", "phases.0: .*learning_rate"),
        ("augment={'spin': 1}", "Unknown setting spin in augment"),
        ("seed", "wants key=value, got 'seed'"),
        ("seed=one", "config.seed must be a whole number, got 'one'"),
        ("seed=1.5", "config.seed must be a whole number, got 1.5"),
        ("seed=True", "config.seed must be a whole number, got True"),
        ("seed=-1", "config.seed must be from 0 to 4000000, got -1"),
        ("dropout=1.0", "config.dropout must be from 0 to 0.99, got 1.0"),
        ("weight_decay=1e999", "config.weight_decay must be at least 0, got inf"),
        ("weights=3", "config.weights must be text, got 3"),
        ("loss=mse", "config.loss must be 'cross_entropy' or 'focal', got 'mse'"),
        ("deterministic=2", "config.deterministic must be true or false, got 2"),
        ("batch_size=0", "config.batch_size must be at least 1, got 0"),
        ("phases.0.epochs=0", "phases.0.epochs must be at least 1, got 0"),
        ("phases.0.unfreeze=most", "phases.0.unfreeze must be a whole number or 'all', got 'most'"),
        ("phases.0.unfreeze=-1", "phases.0.unfreeze must be at least 0, got -1"),
        ("phases.0.cached_views=2", "Unknown setting 'phases.0.cached_views'"),
        ("precision=float16", "config.precision must be 'float32' or 'mixed_bfloat16' or 'auto', got 'float16'"),
        ("isic2017_share=0.5", "config.isic2017_share must be from 0 to 0.4, got 0.5"),
        ("bcn20000_share=-0.1", "config.bcn20000_share must be from 0 to 0.4, got -0.1"),
        ("epoch_images=0.5", "config.epoch_images must be a whole number, got 0.5"),
        ("augment.gain=1", "augment.gain must be from 0 to 0.9, got 1"),
        ("augment.jpeg=1.5", "augment.jpeg must be from 0 to 1, got 1.5"),
        ("augment.rotation_degrees=200", "augment.rotation_degrees must be from 0 to 180"),
        ("answer_size=5", "config.answer_size must be 0 or from 8 to 2048, got 5"),
        ("answer_size=2049", "config.answer_size must be 0 or from 8 to 2048, got 2049"),
        ("phases.0.size=4096", "phases.0.size must be from 8 to 2048, got 4096"),
        ("phases.0.size=7", "phases.0.size must be from 8 to 2048, got 7"),
        ("leave_out=scc", "leave_out must be one of akiec, bcc, .*, got 'scc'"),
    ],
)
def test_unknown_or_impossible_settings_are_refused(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        override(PLAIN, [assignment])


def test_an_older_run_is_read_without_a_setting_that_is_gone_and_was_of_no_effect() -> None:
    then = {**dataclasses.asdict(PLAIN), "logit_adjustment": 0.0}
    assert from_dict(then) == PLAIN
    with pytest.raises(ConfigError, match="Unknown setting logit_adjustment"):
        from_dict({**then, "logit_adjustment": 0.5})


def test_settings_that_change_nothing_change_nothing() -> None:
    assert not any(dataclasses.asdict(Augment.none()).values())


def test_a_published_model_cannot_be_gone_on_with_without_what_it_has_seen() -> None:
    with pytest.raises(ConfigError, match="base has seen vasc: leave_out needs a run without start"):
        override(PLAIN, ["start=base", "leave_out=vasc"])
    with pytest.raises(ConfigError, match="base may know vasc: leave_out needs a run without teacher"):
        override(PLAIN, ["teacher=base", "leave_out=vasc"])
    assert override(PLAIN, ["answer_size=8"]).answer_size == 8


def test_a_wrong_setting_inside_a_config_file_is_a_sentence(tmp_path, monkeypatch) -> None:
    import training.config
    import training.configs

    head = "from training.config import Config, Phase\n"
    files = {
        "unknown_one": "CONFIG = Config(architecture='resnet18', phases=(Phase(1, 0.1),), spin=2)",
        "wrong_one": "CONFIG = Config(architecture='resnet18', phases=(Phase(1, 0.1),), loss='mse')",
    }
    for name, line in files.items():
        (tmp_path / f"{name}.py").write_text(head + line)
    monkeypatch.setattr(training.config, "CONFIGS", tmp_path)
    monkeypatch.setattr(training.configs, "__path__", [str(tmp_path)])
    with pytest.raises(ConfigError, match=r"unknown_one\.py: .*unexpected keyword argument 'spin'"):
        load_config("unknown_one")
    with pytest.raises(ConfigError, match=r"config\.loss must be"):
        load_config("wrong_one")
