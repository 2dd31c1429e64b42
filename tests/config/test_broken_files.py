"""Messages about invalid configs: the file, the line, the key, what was expected, and the nearest valid name."""

import copy
import random
from pathlib import Path

import pytest
import yaml

from podium.config.loading import load_competition, load_ensemble, load_member
from podium.data.augmentation import transform_problems
from podium.errors import ConfigError

COMPETITION = """\
slug: cars
train:
  table: train.csv
  images: train/{label}/{id}
test:
  images: test/{id}
classes: {0: Sedan, 1: Van}
metric: accuracy
folds: {kind: stratified, count: 5}
"""
MEMBER = """\
competition: ../competitions/cars.yaml
backbone: {name: MobileNetV2, weights: none}
stages:
  - name: head
    unfreeze: none
    epochs: 3
    batch_size: 8
    image_size: 64
    learning_rate: 1e-3
head: {pooling: avg}
"""
ENSEMBLE = """\
members:
  - ../members/one.yaml
  - ../members/two.yaml
blend: mean
"""
LOADERS = {
    "competitions": load_competition,
    "members": lambda path: load_member(path, check=transform_problems),
    "ensembles": lambda path: load_ensemble(path, check=transform_problems),
}


@pytest.fixture(autouse=True)
def configs(tmp_path, monkeypatch):
    """A working directory with a valid file of each kind."""
    for name, text in (
        ("competitions/cars.yaml", COMPETITION),
        ("members/one.yaml", MEMBER),
        ("members/two.yaml", MEMBER),
        ("ensembles/both.yaml", ENSEMBLE),
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(tmp_path)


def error_of(kind, content):
    """The error message for a file of this kind and content."""
    path = Path(kind) / "broken.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError) as caught:
        LOADERS[kind](path)
    return str(caught.value)


def changed(text, old, new):
    assert text.count(old) == 1
    return text.replace(old, new)


def test_the_unmodified_files_are_valid():
    for kind, load in LOADERS.items():
        for path in sorted(Path(kind).iterdir()):
            load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "members/broken.yaml  expected keys with values at the top of the file, got nothing"),
        ("# a comment\n", "members/broken.yaml  expected keys with values at the top of the file, got nothing"),
        ("- one\n- two\n", "members/broken.yaml  expected keys with values at the top of the file, got a list"),
        ("Xception\n", "members/broken.yaml  expected keys with values at the top of the file, got 'Xception'"),
        (
            "Id,Label\n" + "a.jpg,cat\n" * 99,
            "members/broken.yaml  expected keys with values at the top of the file, got 'Id,Label a.j...cat a.jpg,cat'",
        ),
        ("a: [1\nb: 2\n", "members/broken.yaml:2  not YAML: expected ',' or ']', but got ':'"),
        ("a:\n\tb: 1\n", r"members/broken.yaml:2  not YAML: found character '\t' that cannot start any token"),
        (
            "a: 1\n---\nb: 2\n",
            "members/broken.yaml:2  not YAML: expected a single document in the stream, but found another document",
        ),
        ("a: *none\n", "members/broken.yaml:1  not YAML: found undefined alias 'none'"),
        ("[a]: b\n", "members/broken.yaml:1  not YAML: found unhashable key"),
        (
            "a: !!python/name:os.system x\n",
            "members/broken.yaml:1  not YAML: could not determine a constructor for the tag"
            " 'tag:yaml.org,2002:python/name:os.system'",
        ),
        ("a: &a [*a]\n", "members/broken.yaml  nested too deeply, or an alias is inside its own anchor"),
        ("[" * 5000, "members/broken.yaml  nested too deeply, or an alias is inside its own anchor"),
        (
            "a\0: b",
            "members/broken.yaml  not YAML: unacceptable character #x0000: special characters are not allowed",
        ),
        (
            "name: Жигули\n".encode("cp1251"),
            "members/broken.yaml  cannot be read: not UTF-8 text; expected a YAML file",
        ),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_invalid_yaml_is_reported(content, message):
    assert error_of("members", content) == message


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("members/on.yaml", "members/on.yaml  no such file; did you mean 'one.yaml'?"),
        ("members/xception.yaml", "members/xception.yaml  no such file; expected one of one.yaml, two.yaml"),
        ("member/one.yaml", "member/one.yaml  no such file; is member the right folder?"),
        ("members", "members  is a folder; expected a YAML file"),
    ],
)
def test_a_missing_file_is_reported_with_the_nearest_name(path, message):
    with pytest.raises(ConfigError) as caught:
        load_member(Path(path), ["head.dropout=0.2"], seed=3)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["one", "one.yaml", "elsewhere/one"])
def test_a_name_without_its_folder_is_reported_with_the_path(name):
    Path("configs").mkdir()
    Path("members").rename("configs/members")
    with pytest.raises(ConfigError, match=rf"^{name}  no such file; did you mean configs/members/one\.yaml\?$"):
        load_member(Path(name))


def test_a_bom_and_windows_line_ends_are_accepted():
    Path("members/windows.yaml").write_bytes(b"\xef\xbb\xbf" + MEMBER.replace("\n", "\r\n").encode())
    assert load_member(Path("members/windows.yaml")).settings == load_member(Path("members/one.yaml")).settings


MEMBER_PROBLEMS = [
    # Keys
    ("epochs: 3", "epochs: 3\n    epoch: 3", "7  stages.0.epoch: unknown key; did you mean 'epochs'?"),
    ("head: {pooling", "haed: {pooling", "10  haed: unknown key; did you mean 'head'?"),
    ("pooling: avg", "poling: avg", "10  head.poling: unknown key; did you mean 'pooling'?"),
    ("weights: none", "wieghts: none", "2  backbone.wieghts: unknown key; did you mean 'weights'?"),
    ("head: {pooling: avg}", "1: 2", "10  1: expected text as a key, got 1"),
    ("competition: ../competitions/cars.yaml\n", "", "1  competition: missing required key"),
    ("    epochs: 3\n", "", "4  stages.0.epochs: missing required key"),
    ("epochs: 3", "epochs: 3\n    epochs: 4", "7  stages.0.epochs: duplicate key"),
    # Kinds of value
    ("epochs: 3", "epochs: three", "6  stages.0.epochs: expected a whole number, got 'three'"),
    ("epochs: 3", "epochs: true", "6  stages.0.epochs: expected a whole number, got True"),
    ("epochs: 3", "epochs: 3.0", "6  stages.0.epochs: expected a whole number, got 3.0"),
    ("epochs: 3", "epochs:", "6  stages.0.epochs: expected a whole number, got None"),
    ("1e-3", "'1e-3'", "9  stages.0.learning_rate: expected a number, got '1e-3'"),
    ("1e-3", "true", "9  stages.0.learning_rate: expected a number, got True"),
    ("name: head", "name: 1", "4  stages.0.name: expected text, got 1"),
    ("weights: none", "freeze_batchnorm: off", "2  backbone.freeze_batchnorm: expected true or false, got 'off'"),
    ("{pooling: avg}", "avg", "10  head: expected keys with values, got 'avg'"),
    ("{pooling: avg}", "{dense: 256}", "10  head.dense: expected a list, got 256"),
    ("{name: MobileNetV2, weights: none}", "Xception", "2  backbone: expected keys with values, got 'Xception'"),
    # Limits
    ("epochs: 3", "epochs: 0", "6  stages.0.epochs: expected 1 or more, got 0"),
    ("batch_size: 8", "batch_size: -8", "7  stages.0.batch_size: expected 1 or more, got -8"),
    ("1e-3", "0", "9  stages.0.learning_rate: expected a number above 0, got 0"),
    ("1e-3", ".inf", "9  stages.0.learning_rate: expected a finite number, got inf"),
    ("image_size: 64", "image_size: 4096", "8  stages.0.image_size: expected 2048 or less, got 4096"),
    (
        "image_size: 64",
        "image_size: 31",
        "8  stages.0.image_size: MobileNetV2 takes images of 32 pixels or more, got 31",
    ),
    ("pooling: avg", "dropout: 1.0", "10  head.dropout: expected a number below 1, got 1.0"),
    ("pooling: avg", "dense: [64, 0]", "10  head.dense.1: expected 1 or more, got 0"),
    ("pooling: avg", "l2: -1e-4", "10  head.l2: expected 0 or more, got -0.0001"),
    ("head: {pooling: avg}", "label_smoothing: 1.5", "10  label_smoothing: expected a number below 1, got 1.5"),
    ("head: {pooling: avg}", "seed: 2147483648", "10  seed: expected a number below 2147483648, got 2147483648"),
    # Names
    ("MobileNetV2", "Xceptoin", "2  backbone.name: 'Xceptoin' is not a backbone; did you mean 'Xception'?"),
    (
        "name: MobileNetV2, weights: none",
        "name: MobileNetV2, preset: resnet_50_imagenet",
        "2  backbone.preset: cannot be combined with name: use one of them"
        " (--set 'backbone={preset: resnet_50_imagenet}')",
    ),
    (
        "name: MobileNetV2, weights: none",
        "preset: 's3://bucket/mine'",
        "2  backbone.preset: expected a KerasHub preset such as resnet_50_imagenet, a kaggle:// or hf:// handle, or a"
        " folder written by save_to_preset, got 's3://bucket/mine'",
    ),
    ("pooling: avg", "pooling: token", "10  head.pooling: MobileNetV2 has no class token: use avg, max or gem"),
    ("MobileNetV2", "xception", "2  backbone.name: 'xception' is not a backbone; did you mean 'Xception'?"),
    (
        "MobileNetV2",
        "efficientnet.B3",
        "2  backbone.name: 'efficientnet.B3' is not a backbone; did you mean 'EfficientNetB3'?",
    ),
    ("pooling: avg", "pooling: mean", "10  head.pooling: expected one of avg, max, gem, token; got 'mean'"),
    (
        "pooling: avg",
        "pooling: gme",
        "10  head.pooling: expected one of avg, max, gem, token; got 'gme'; did you mean 'gem'?",
    ),
    ("pooling: avg", "pooling: 3", "10  head.pooling: expected one of avg, max, gem, token; got 3"),
    (
        "name: head",
        "name: first stage",
        "4  stages.0.name: expected text of the form ^[A-Za-z0-9_-]+$, got 'first stage'",
    ),
    (
        "weights: none",
        "weights: imagnet",
        "2  backbone.weights: 'imagnet' is not the name of weights or a path to a file; did you mean 'imagenet'?",
    ),
    (
        "weights: none",
        "weights: noisy-student",
        "2  backbone.weights: noisy-student weights exist for efficientnet.EfficientNetB0 to B7, not for MobileNetV2",
    ),
    (
        "MobileNetV2, weights: none",
        "ResNet50, alpha: 0.5",
        "2  backbone.alpha: ResNet50 has no width multiplier, only the MobileNets have: remove it",
    ),
    ("cars.yaml", "car.yaml", "competitions/car.yaml  no such file; did you mean 'cars.yaml'?"),
    # Folds
    ("head: {pooling: avg}", "folds: [0, 5]", "10  folds: there is no fold 5; the competition has folds 0 to 4"),
    ("head: {pooling: avg}", "folds: []", "10  folds: expected 1 or more items, got []"),
    ("head: {pooling: avg}", "folds: [-1]", "10  folds.0: expected 0 or more, got -1"),
]
STAGE_PROBLEMS = [
    ("unfreeze: half", "expected none, all, {from: BLOCK}, {parameters: 0.3} or {layers: 0.3}, got 'half'"),
    ("unfreeze: 0.5", "expected none, all, {from: BLOCK}, {parameters: 0.3} or {layers: 0.3}, got 0.5"),
    ("unfreeze: {}", "expected one of the keys from, parameters and layers, or none, or all"),
    (
        "unfreeze: {from: a, layers: 0.5}",
        "expected one of the keys from, parameters and layers, or none, or all",
    ),
    ("unfreeze: {layer: 0.5}", "unknown key; did you mean 'layers'?"),
    ("unfreeze: {layers: 50}", "expected 1 or less, got 50"),
    ("optimizer: Adan", "'Adan' is not a Keras optimizer; did you mean 'Adam'?"),
    ("optimizer: {nmae: Adam}", "unknown key; did you mean 'name'?"),
    ("optimizer: {name: SGD, learning_rate: 0.1}", "set learning_rate with the stage's key learning_rate"),
    ("optimizer: {name: SGD, use_ema: true}", "set use_ema with the stage's key ema"),
    ("ema: 1.0", "expected a number below 1, got 1.0"),
    ("accumulate: 1", "expected 2 or more, got 1"),
    ("average: {last: 3, best: 3}", "expected one of the keys last and best, such as {last: 3}"),
    (
        "schedule: cosin",
        "expected one of constant, exponential, step, cosine, one_cycle, plateau; got 'cosin'; did you mean 'cosine'?",
    ),
    ("schedule: {final: 0.1}", "missing required key 'kind', got {'final': 0.1}"),
    ("schedule: {kind: cosine, warmup: 1}", "unknown key; did you mean 'warmup_epochs'?"),
    ("schedule: {kind: step}", "missing required key"),
    ("schedule: {kind: exponential, decay: 1.1}", "expected a number below 1, got 1.1"),
    ("early_stopping: 0", "expected 1 or more, got 0"),
    ("views: 0", "expected 1 or more, got 0"),
    ("views: all", "expected a whole number, got 'all'"),
    ("augmentation: HorizontalFlip", "expected a list, got 'HorizontalFlip'"),
    ("augmentation: [Rotat]", "'Rotat' is not a transform of Albumentations; did you mean 'Rotate'?"),
    ("augmentation: [Rotate: {limt: 5}]", "Rotate has no argument limt; did you mean 'limit'?"),
    (
        "augmentation: [horizontalflip]",
        "expected a transform such as HorizontalFlip or {Rotate: {limit: 10}}, got 'horizontalflip'",
    ),
    (
        "augmentation: [Rotate: 5]",
        "expected a transform such as HorizontalFlip or {Rotate: {limit: 10}}, got {'Rotate': 5}",
    ),
]
VIEW_PROBLEMS = [
    ("always", "tta: expected none, auto or a list of views, got 'always'"),
    ("2", "tta: expected none, auto or a list of views, got 2"),
    ("[]", "tta.views: expected 1 or more items, got []"),
    ("[identiy]", "tta: 'identiy' is not a view; did you mean 'identity'?"),
    ("[{scale: 9}]", "tta: the view scale takes a number from 0.3 to 3, such as {scale: 1.5}, got 9"),
    ("[scale]", "tta: the view scale takes a number from 0.3 to 3, such as {scale: 1.5}, got None"),
    ("[{horizontal_flip: 1}]", "tta: the view horizontal_flip takes no value, got 1"),
    ("[identity, identity]", "tta: duplicate view identity"),
    ("[[{rotate: 8}, {centre_crop: 0.8}]]", "tta: a crop comes before rotate: put centre_crop before it"),
    ("[{scale: 1}, {scale: 1.0}]", "tta: duplicate view {'scale': 1.0}"),
    ("[identity, []]", "tta: empty view: expected one or more names in the list"),
    (
        "[{scale: 1.1, rotate: 5}]",
        "tta: expected a view as a name with its value, such as {scale: 1.1}, got {'scale': 1.1, 'rotate': 5}",
    ),
    ("[[identity, Rotat]]", "tta.0.1: 'Rotat' is not a transform of Albumentations; did you mean 'Rotate'?"),
    ("{mean: geometic}", "tta.mean: expected one of arithmetic, geometric; got 'geometic'; did you mean 'geometric'?"),
]
COMPETITION_PROBLEMS = [
    ("slug: cars\n", "", "1  slug: missing required key"),
    ("slug: cars", "slug: My Cars", "1  slug: expected text of the form ^[a-z0-9]+(-[a-z0-9]+)*$, got 'My Cars'"),
    ("accuracy", "acuracy", "8  metric: 'acuracy' is not a metric; did you mean 'accuracy'?"),
    (
        "train/{label}/{id}",
        "train/{label}",
        "4  train.images: expected a pattern with {id}, got 'train/{label}'",
    ),
    (
        "test/{id}",
        "test/{label}/{id}",
        "6  test.images: a test image has no label: expected {id} and columns of test.table, got 'test/{label}/{id}'",
    ),
    (
        "test/{id}",
        "test/{patient}/{id}",
        "6  test.images: {patient} is a column of a table: add test.table, or remove it",
    ),
    (
        "test/{id}",
        "test/*/{id}",
        "6  test.images: expected * only in **, once and as a folder of its own (train/**/{id}.jpg), got 'test/*/{id}'",
    ),
    (
        "test/{id}",
        "a/**/b/**/{id}",
        "6  test.images: expected * only in **, once and as a folder of its own (train/**/{id}.jpg), got"
        " 'a/**/b/**/{id}'",
    ),
    (
        "test/{id}",
        "test/{id:d}",
        "6  test.images: 'test/{id:d}' is not a pattern such as 'train/{label}/{id}': Unknown format code 'd' for"
        " object of type 'str'",
    ),
    (
        "test/{id}",
        '"test/{id:0>9999}"',
        "6  test.images: 'test/{id:0>9999}' is not a pattern such as 'train/{label}/{id}': expected a width of at most"
        " two digits, as in {id:0>6}, got '0>9999'",
    ),
    ("test/{id}", "test/{id}\n  id: Image", "7  test.id: id is a column of a table: add the table, or remove id"),
    (
        "  table: train.csv\n  images: train/{label}/{id}",
        "  images: train/{label}/{patient}/{id}",
        "3  train.images: {patient} is a column of a table: add the table, or remove it",
    ),
    (
        "slug: cars",
        "slug: cars\nintensity: ful",
        "2  intensity: expected auto, full, window, {percentile: [1, 99]} or {low: 0, high: 4095}, got 'ful'",
    ),
    (
        "slug: cars",
        "slug: cars\nintensity: {low: 5}",
        "2  intensity: expected auto, full, window, percentile, or low and high",
    ),
    (
        "slug: cars",
        "slug: cars\nintensity: {percentile: [99, 1]}",
        "2  intensity: expected the lower number first, got [99.0, 1.0]",
    ),
    (
        "slug: cars",
        "slug: cars\nintensity: {percentile: [1, 101]}",
        "2  intensity.percentile.1: expected 100 or less, got 101",
    ),
    (
        "slug: cars",
        "slug: cars\nchannels: 17",
        "2  channels: expected 1 to 16 channels, got 17",
    ),
    (
        "slug: cars",
        "slug: cars\nchannels: [a, a]",
        "2  channels: expected different names of letters, digits, - and _, got ['a', 'a']",
    ),
    (
        "slug: cars",
        "slug: cars\nchannels: many",
        "2  channels: expected a whole number, or a list of names, got 'many'",
    ),
    ("test/{id}", "../{id}", "6  test.images: expected a pattern inside the data folder, got '../{id}'"),
    ("test/{id}", "/kaggle/{id}", "6  test.images: expected a pattern inside the data folder, got '/kaggle/{id}'"),
    (
        "table: train.csv",
        "table: /train.csv",
        "3  train.table: expected a file inside the data folder, got '/train.csv'",
    ),
    (
        "test/{id}",
        "test/{id}\n  table: ../a.csv",
        "7  test.table: expected a file inside the data folder, got '../a.csv'",
    ),
    (
        "test/{id}",
        "test/{id",
        "6  test.images: 'test/{id' is not a pattern such as 'train/{label}/{id}': expected '}' before end of string",
    ),
    (
        "  table: train.csv",
        "  group: day",
        "3  train.group: group is a column of a table: add the table, or remove group",
    ),
    (
        "  table: train.csv\n  images: train/{label}/{id}",
        "  images: train/{id}",
        "3  train.images: without a table the folder is the class: expected {label} in images",
    ),
    ("{0: Sedan, 1: Van}", "{0: Sedan}", "7  classes: expected 2 or more items, got {'0': 'Sedan'}"),
    ("{0: Sedan, 1: Van}", "[van, sedan, van]", "7  classes: duplicate class: van"),
    (
        "{0: Sedan, 1: Van}",
        "[true, false]",
        "7  classes: expected text as a class: write True in quotes, exactly as in the table",
    ),
    ("{0: Sedan, 1: Van}", "{0: Sedan, 1: Van, 0: SUV}", "7  classes.0: duplicate key"),
    ("{0: Sedan, 1: Van}", "{0: Sedan, 1: 2}", "7  classes.1: expected text, got 2"),
    (
        "kind: stratified",
        "kind: stratify",
        "9  folds: expected one of stratified, grouped, holdout, shares, table; got 'stratify';"
        " did you mean 'stratified'?",
    ),
    ("kind: stratified, ", "", "9  folds: missing required key 'kind', got {'count': 5}"),
    ("stratified", "grouped", "9  folds: grouped folds need train.group, the column of groups, or folds.groups"),
    ("count: 5", "count: 1", "9  folds.count: expected 2 or more, got 1"),
    ("stratified, count: 5", "holdout, share: 20", "9  folds.share: expected a number below 1, got 20"),
    (
        "stratified, count: 5",
        "shares, train: 0.8, validation: 0.2, test: 0.1",
        "9  folds: train, validation and test must sum to 1, got 1.1",
    ),
    (
        "metric: accuracy",
        "metric: log_loss\nsubmission: {format: probabilities, columns: {2: van}}",
        "9  submission.columns.2: '2' is not one of the classes; expected one of 0, 1",
    ),
    (
        "metric: accuracy",
        "metric: log_loss\nsubmission: {format: probabilities, columns: {0: van, 1: van}}",
        "9  submission.columns: two of the classes have the same column 'van'",
    ),
    (
        "metric: accuracy",
        "metric: accuracy\nextra: [{table: more.csv, images: '{id}'}]",
        "9  extra.0.folder: missing required key",
    ),
]
ENSEMBLE_PROBLEMS = [
    ("one.yaml", "oen.yaml", "members/oen.yaml  no such file; did you mean 'one.yaml'?"),
    (
        "two.yaml",
        "one.yaml",
        "ensembles/broken.yaml:1  members: duplicate member; for unequal weights use blend: weights",
    ),
    (
        "../members/two.yaml",
        "../ensembles/../members/one.yaml",
        "ensembles/broken.yaml:1  members: two members are called one; a member's name is its file's stem",
    ),
    ("../members/two.yaml", "2", "ensembles/broken.yaml:3  members.1: expected text, got 2"),
    (
        "mean",
        "meen",
        "ensembles/broken.yaml:4  blend: expected one of mean, geometric, rank_mean, weights, hill_climb, stacking;"
        " got 'meen'; did you mean 'mean'?",
    ),
    ("mean", "{method: stacking, C: 0}", "ensembles/broken.yaml:4  blend.C: expected a number above 0, got 0"),
    ("mean", "{method: stacking, c: 1}", "ensembles/broken.yaml:4  blend.c: unknown key; did you mean 'C'?"),
    ("blend: mean", "belnd: mean", "ensembles/broken.yaml:4  belnd: unknown key; did you mean 'blend'?"),
    (
        "blend: mean",
        "folds: [0, 9]",
        "ensembles/broken.yaml:4  folds: there is no fold 9; the competition has folds 0 to 4",
    ),
    (
        "blend: mean",
        "tta: [identity, Rotat]",
        "ensembles/broken.yaml:4  tta.1: 'Rotat' is not a transform of Albumentations; did you mean 'Rotate'?",
    ),
]


@pytest.mark.parametrize(
    ("old", "new", "message"), MEMBER_PROBLEMS, ids=[f"{new[:40]!r}" for _, new, _ in MEMBER_PROBLEMS]
)
def test_a_problem_of_a_member_is_reported(old, new, message):
    place = "members/broken.yaml:" if message[0].isdigit() else ""
    assert error_of("members", changed(MEMBER, old, new)).splitlines()[-1].strip() == place + message


@pytest.mark.parametrize(("line", "message"), STAGE_PROBLEMS, ids=[line for line, _ in STAGE_PROBLEMS])
def test_a_problem_of_a_stage_is_reported(line, message):
    old = "unfreeze: none" if line.startswith("unfreeze") else "name: head"
    new = line if old != "name: head" else f"name: head\n    {line}"
    reply = error_of("members", changed(MEMBER, old, new)).splitlines()[-1].strip()
    assert reply.startswith(f"members/broken.yaml:5  stages.0.{line.partition(':')[0]}")
    assert reply.endswith(f": {message}")


@pytest.mark.parametrize("unfreeze", ["all", "{layers: 0.5}", "{from: block_1}"])
def test_views_need_a_frozen_backbone(unfreeze):
    text = changed(MEMBER, "unfreeze: none", f"unfreeze: {unfreeze}\n    views: 2")
    assert error_of("members", text) == (
        "members/broken.yaml:6  stages.0.views: epochs share views only if the backbone is frozen (unfreeze: none):"
        " remove it"
    )


@pytest.mark.parametrize(("views", "message"), VIEW_PROBLEMS, ids=[views for views, _ in VIEW_PROBLEMS])
def test_a_problem_of_test_time_views_is_reported(views, message):
    assert error_of("members", f"{MEMBER}tta: {views}\n") == f"members/broken.yaml:11  {message}"


@pytest.mark.parametrize(
    ("old", "new", "message"), COMPETITION_PROBLEMS, ids=[f"{new[-40:]!r}" for _, new, _ in COMPETITION_PROBLEMS]
)
def test_a_problem_of_a_competition_is_reported(old, new, message):
    assert error_of("competitions", changed(COMPETITION, old, new)) == f"competitions/broken.yaml:{message}"


@pytest.mark.parametrize(("old", "new", "message"), ENSEMBLE_PROBLEMS, ids=[new for _, new, _ in ENSEMBLE_PROBLEMS])
def test_a_problem_of_an_ensemble_is_reported(old, new, message):
    assert error_of("ensembles", changed(ENSEMBLE, old, new)) == message


@pytest.mark.parametrize(
    ("kind", "file", "message"),
    [
        ("members", "competitions/cars.yaml", "expected a member file, got a competition file"),
        ("members", "ensembles/both.yaml", "expected a member file, got an ensemble file"),
        ("ensembles", "members/one.yaml", "expected an ensemble file, got a member file"),
        ("competitions", "members/one.yaml", "expected a competition file, got a member file"),
    ],
)
def test_a_file_of_another_kind_is_one_problem(kind, file, message):
    with pytest.raises(ConfigError) as caught:
        LOADERS[kind](Path(file))
    assert str(caught.value) == f"{file}  {message}"


@pytest.mark.parametrize("members", ["5", "../members/one.yaml", "{a: b}"])
def test_members_must_be_a_list(members):
    given = repr(yaml.safe_load(members))
    assert (
        error_of("ensembles", f"members: {members}\n")
        == f"ensembles/broken.yaml:1  members: expected a list, got {given}"
    )


def test_members_of_two_competitions_are_a_problem():
    Path("competitions/boats.yaml").write_text(changed(COMPETITION, "slug: cars", "slug: boats"))
    Path("members/two.yaml").write_text(changed(MEMBER, "cars.yaml", "boats.yaml"))
    assert error_of("ensembles", ENSEMBLE) == (
        "ensembles/broken.yaml:1  members: one (cars) and two (boats) have different competition files;"
        " expected the same"
    )


def test_a_holdout_has_only_fold_0():
    Path("competitions/cars.yaml").write_text(changed(COMPETITION, "{kind: stratified, count: 5}", "holdout"))
    assert error_of("members", f"{MEMBER}folds: [1]\n") == (
        "members/broken.yaml:11  folds: there is no fold 1; the competition has only fold 0"
    )


def test_all_problems_of_a_file_are_in_one_message():
    content = """\
competition: ../competitions/cars.yaml
backbone: {name: Xceptoin, alpha: -1}
stages:
  - name: head
    unfreeze: most
    epochs: 0
    batch_size: 8
    learning_rate: 1e-3
    augmentation: [Rotat]
head:
  pooling: avg
  pooling: max
tta: [identiy, {scale: 9}]
sed: 3
"""
    assert error_of("members", content).splitlines() == [
        "10 problems in the configuration",
        "  members/broken.yaml:2  backbone.name: 'Xceptoin' is not a backbone; did you mean 'Xception'?",
        "  members/broken.yaml:2  backbone.alpha: expected a number above 0, got -1",
        "  members/broken.yaml:4  stages.0.image_size: missing required key",
        "  members/broken.yaml:5  stages.0.unfreeze: expected none, all, {from: BLOCK}, {parameters: 0.3} or"
        " {layers: 0.3}, got 'most'",
        "  members/broken.yaml:6  stages.0.epochs: expected 1 or more, got 0",
        "  members/broken.yaml:9  stages.0.augmentation.0: 'Rotat' is not a transform of Albumentations; did you mean"
        " 'Rotate'?",
        "  members/broken.yaml:12  head.pooling: duplicate key",
        "  members/broken.yaml:13  tta: 'identiy' is not a view; did you mean 'identity'?",
        "  members/broken.yaml:13  tta: the view scale takes a number from 0.3 to 3, such as {scale: 1.5}, got 9",
        "  members/broken.yaml:14  sed: unknown key; did you mean 'seed'?",
    ]


def test_problems_of_all_stages_are_reported():
    stage = "  - {name: head, unfreeze: all, epochs: 1, batch_size: 8, image_size: 64, learning_rate: 1e-3}\n"
    content = f"competition: ../competitions/cars.yaml\nbackbone: {{name: Xception}}\nstages:\n{stage}{stage}"
    assert error_of("members", content).splitlines() == [
        "3 problems in the configuration",
        "  members/broken.yaml:4  stages.0.image_size: Xception takes images of 71 pixels or more, got 64",
        "  members/broken.yaml:5  stages.1.name: duplicate stage name 'head'",
        "  members/broken.yaml:5  stages.1.image_size: Xception takes images of 71 pixels or more, got 64",
    ]


def test_the_message_of_an_ensemble_has_the_problems_of_all_its_files_once():
    Path("competitions/cars.yaml").write_text(changed(COMPETITION, "accuracy", "acuracy"))
    Path("members/one.yaml").write_text(changed(MEMBER, "epochs: 3", "epochs: 0"))
    Path("members/two.yaml").write_text(changed(MEMBER, "MobileNetV2", "MobileNetV4"))
    assert error_of("ensembles", changed(ENSEMBLE, "blend: mean", "seed: x")).splitlines() == [
        "4 problems in the configuration",
        "  ensembles/broken.yaml:4  seed: expected a whole number, got 'x'",
        "  members/one.yaml:6  stages.0.epochs: expected 1 or more, got 0",
        "  competitions/cars.yaml:8  metric: 'acuracy' is not a metric; did you mean 'accuracy'?",
        "  members/two.yaml:2  backbone.name: 'MobileNetV4' is not a backbone; did you mean 'MobileNetV2'?",
    ]


JUNK = [
    None,
    True,
    -1,
    0,
    1e9,
    float("nan"),
    "",
    "none",
    "all",
    "text",
    [],
    [[]],
    [1],
    ["a", None],
    {},
    {"a": 1},
    {1: {}},
]


def mutated(content, draw):
    """The content with one value deleted, replaced, duplicated or renamed."""
    content = copy.deepcopy(content)
    here = content
    while True:
        key = draw.choice(list(here) if isinstance(here, dict) else range(len(here)))
        below = here[key]
        if not isinstance(below, dict | list) or not below or draw.random() < 0.3:
            break
        here = below
    change = draw.choice(["delete", "replace", "double", "rename"])
    if change == "delete":
        del here[key]
    elif change == "replace" or (isinstance(here, dict) and not isinstance(key, str)):
        here[key] = draw.choice(JUNK)
    elif change == "double" and isinstance(here, list):
        here.insert(key, copy.deepcopy(below))
    elif change == "rename" and isinstance(here, dict):
        here[key[::-1]] = here.pop(key)
    else:
        here[key] = [below]
    return content


@pytest.mark.parametrize("kind", ["competitions", "members", "ensembles"])
def test_a_mutated_file_is_loaded_or_reported(kind):
    draw = random.Random(0)
    member = yaml.safe_load(MEMBER) | {
        "augmentation": ["HorizontalFlip", {"Rotate": {"limit": 5}}, {"OneOf": {"transforms": ["GaussNoise"]}}],
        "tta": {"views": ["identity", {"scale": 1.1}, [{"rotate": 5}, "horizontal_flip"]], "mean": "geometric"},
    }
    member["stages"][0] |= {"optimizer": {"name": "SGD", "momentum": 0.9}, "schedule": {"kind": "step", "every": 1}}
    competition = yaml.safe_load(COMPETITION) | {"submission": {"columns": {0: "a"}}, "zips": ["a.zip"]}
    ensemble = yaml.safe_load(ENSEMBLE) | {"folds": [0, 1], "tta": ["identity"], "blend": {"method": "hill_climb"}}
    valid = {"competitions": competition, "members": member, "ensembles": ensemble}[kind]
    outcomes = []
    for _ in range(100):
        content = valid
        for _ in range(draw.randint(1, 3)):
            content = mutated(content, draw) if content else content
        Path(kind, "mutated.yaml").write_text(yaml.safe_dump(content))
        try:
            LOADERS[kind](Path(kind, "mutated.yaml"))
        except ConfigError as error:
            outcomes.append(str(error))
    assert len(outcomes) > 40
    assert all("mutated.yaml" in error or "no such file" in error or "cannot be read" in error for error in outcomes)


def test_damaged_text_is_loaded_or_reported():
    draw = random.Random(0)
    outcomes = []
    for _ in range(150):
        text = list(MEMBER)
        for _ in range(draw.randint(1, 4)):
            place = draw.randrange(len(text))
            damage = draw.choice(["", "\n", ":", "- ", "{", "}", "'", "&a ", "*a", "\x07", "é"])
            text[place : place + draw.randint(0, 3)] = damage
        Path("members/damaged.yaml").write_text("".join(text), encoding="utf-8")
        try:
            load_member(Path("members/damaged.yaml"))
        except ConfigError as error:
            outcomes.append(str(error))
    assert len(outcomes) > 75
    assert all(".yaml" in error for error in outcomes)
