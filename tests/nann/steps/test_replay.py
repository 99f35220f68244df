"""`nann replay` on a small generated log: what it measures, that it goes on after a kill, what it refuses."""

import json

import pytest

from data_prep.config import ConvertConfig, GenerateConfig
from data_prep.generate import generate_log
from nann.config import ReplayConfig
from nann.errors import ArtifactError
from nann.replay import kept, models
from nann.replay.figures import choose_best
from nann.reporting.replay_page import replay_page
from nann.steps import replay as replay_step
from nann.steps.convert import convert
from nann.steps.replay import WEIGHTS, replay

OPTIONS = {
    "emb_dim": 4,
    "batch_size": 64,
    "num_neg": 16,
    "max_length": 8,
    "max_users": 60,
    "min_events": 1,
    "ks": (5, 20),
    "scratch_epochs": (1, 2),
    "choose_windows": 1,
    "gap_minutes": 0,
    "window_hours": 36,
    "held_out_share": 0.2,
    "methods": ("scratch", "warm-static", "warm-adaptive"),
    "promote_after": 2,
    "shared_rows": 8,
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    directory = tmp_path_factory.mktemp("replay")
    config = GenerateConfig(users=200, items=120, categories=6, events_per_user=16, days=6, seed=2)
    generate_log(directory / "log.csv", config)
    options = ConvertConfig(shards=1, test_users=0, validate_users=0)
    convert(inputs=[directory / "log.csv"], dataset=directory / "dataset", config=options)
    return directory / "dataset"


@pytest.fixture(scope="module")
def result(dataset, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "replay"
    replay(dataset=dataset, replay=path, config=ReplayConfig(**OPTIONS))
    return path


def test_every_window_has_every_method(result):
    found = json.loads((result / "replay.json").read_text())["windows"]
    assert len(found) >= 3
    assert [window["number"] for window in found] == list(range(len(found)))
    for window in found:
        assert set(window["methods"]) == {"scratch", "warm-static", "warm-adaptive"}
        assert set(window["simple"]) == {"popularity_6h", "popularity_24h", "item_cf_48h"}
        for entry in (*window["methods"].values(), *({"recall": part} for part in window["simple"].values())):
            part = entry["recall"]
            assert 0 <= part["recall@5"] <= part["recall@20"] <= 1
            assert part["users"] == window["users"] >= part["known"] >= part["new"] >= 0
    later = [window["methods"] for window in found[1:]]
    for methods in later:
        assert methods["warm-static"]["samples"] < methods["scratch"]["samples"]
        assert methods["warm-static"]["table_bytes"] == methods["scratch"]["table_bytes"]
        assert set(methods["warm-static"]["held_out"]) >= {"0", "1"}
    rows = 0
    for window in found:
        growing = window["methods"]["warm-adaptive"]
        rows += growing["items_admitted"] - growing["items_evicted"]
        assert growing["item_rows"] == rows > 0
    tables = [window["methods"]["warm-static"]["table_bytes"] for window in found]
    assert tables == sorted(tables)
    assert "epochs_tried" in found[0]["methods"]["scratch"]
    assert "epochs_tried" not in found[1]["methods"]["scratch"]
    page = (result / "report.html").read_text()
    assert page.count("<svg") == 3
    assert "warm-static" in page
    users = [window["users"] for window in found]
    hits = [window["methods"]["scratch"]["recall"]["recall@20"] * window["users"] for window in found]
    mean = sum(hits) / sum(users)  # a window counts by its users
    assert f">{mean:.3f}<" in page
    metrics = json.loads((result / "manifest.json").read_text())["metrics"]
    assert metrics["scratch.recall@20"] == pytest.approx(mean)
    assert not (result / "work").exists()
    assert not (result / "models").exists()


def test_a_killed_walk_goes_on_and_ends_with_the_same_recall(dataset, result, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    made, original = [], models.train_scorer

    def killed_at_the_fifth(*arguments, **options):
        made.append(arguments[3])
        if len(made) == 5:
            raise Killed
        return original(*arguments, **options)

    methods = ("scratch", "warm-adaptive")  # each walks for itself
    config = ReplayConfig(**{**OPTIONS, "methods": methods})
    monkeypatch.setattr(models, "train_scorer", killed_at_the_fifth)
    with pytest.raises(Killed):
        replay(dataset=dataset, replay=tmp_path / "replay", config=config)
    assert not (tmp_path / "replay").exists()
    before = len(made)
    replay(dataset=dataset, replay=tmp_path / "replay", config=config)
    windows = json.loads((result / "replay.json").read_text())["windows"]
    # Two passes to choose from in the first window, then one training per window and method; the killed one again.
    assert len(made) - before == 3 + 2 * (len(windows) - 1) - 4
    again = json.loads((tmp_path / "replay" / "replay.json").read_text())["windows"]
    for one, other in zip(windows, again, strict=True):
        assert one["simple"] == other["simple"]
        assert set(other["methods"]) == set(methods)
        for method in methods:
            assert one["methods"][method]["recall"] == other["methods"][method]["recall"]


def test_what_is_kept_of_a_window_is_used_or_told_in_one_line(result, damage, tmp_path):
    """Every place of the files that a killed walk leaves, damaged: what the schema lets through, the rest of the walk can use."""
    windows = json.loads((result / "replay.json").read_text())["windows"]
    forms = {"simple": kept.simple_of(OPTIONS["ks"]), "scratch": kept.answers_of(OPTIONS["ks"], WEIGHTS)}
    path, config = tmp_path / "0.json", ReplayConfig(**OPTIONS)
    refused: list[str] = []
    used = 0
    for name, form in forms.items():
        holder = windows[0] if name == "simple" else windows[0]["methods"]
        whole = holder[name]
        path.write_text(json.dumps(whole))
        assert kept.read_kept(path, form) == whole
        for _, raw in damage.damages_of_json(path.read_bytes(), depth=3):
            path.write_bytes(raw)
            try:
                holder[name] = kept.read_kept(path, form)
            except ArtifactError as error:
                refused.append(str(error))
                continue
            after = replay_step._Walk.__new__(replay_step._Walk)
            after.records = windows
            assert all(isinstance(passes, int) for tried in after._tried_epochs() for passes in tried)
            assert float(choose_best([windows[0]["methods"]["scratch"]["weights"]], "0.5")) in WEIGHTS
            replay_step._summary(windows, config)
            if used % 10 == 0:  # drawing takes most of the time
                replay_page({"config": config.model_dump(mode="json"), "windows": windows})
            used += 1
        holder[name] = whole
    assert len(refused) > 100
    assert all(text.startswith(f"{path} is not a window of a replay (") for text in refused)
    assert used > 10


def test_a_window_in_which_nothing_happens_keeps_the_model(tmp_path):
    """Four days of events, then none for six, then some again: own rows stay for the windows they are promised, and go after them."""
    generate_log(tmp_path / "whole.csv", GenerateConfig(users=80, items=400, categories=4, events_per_user=14, days=6, seed=5))
    rows = [line.split(",") for line in (tmp_path / "whole.csv").read_text().splitlines()]
    begin = min(int(row[-1]) for row in rows)
    day = 24 * 3600
    later = [int(row[-1]) + 6 * day * (int(row[-1]) >= begin + 4 * day) for row in rows]
    (tmp_path / "log.csv").write_text("".join(",".join([*row[:-1], str(time)]) + "\n" for row, time in zip(rows, later, strict=True)))
    convert(inputs=[tmp_path / "log.csv"], dataset=tmp_path / "dataset", config=ConvertConfig(shards=1, test_users=0, validate_users=0))
    own = {"methods": ("warm-static", "warm-adaptive"), "window_hours": 24, "evict_windows": 3, "since": str(begin + 2 * day)}
    replay(dataset=tmp_path / "dataset", replay=tmp_path / "replay", config=ReplayConfig(**{**OPTIONS, **own}))
    windows = json.loads((tmp_path / "replay" / "replay.json").read_text())["windows"]
    quiet = [window["methods"] for window in windows if window["methods"]["warm-static"]["steps"] == 0]
    assert len(quiet) == 6
    kept = [methods["warm-adaptive"]["item_rows"] for methods in quiet]
    assert kept == sorted(kept, reverse=True)
    assert kept[0] > kept[2]
    assert kept[3:] == [kept[2]] * 3  # after three windows what is left
    assert kept[-1] <= 2 * OPTIONS["batch_size"]  # was met in the very last steps
    assert windows[-1]["methods"]["warm-adaptive"]["item_rows"] > 0


def test_windows_outside_the_log_are_refused(dataset, tmp_path):
    with pytest.raises(ArtifactError, match="needs events before and after its end"):
        replay(dataset=dataset, replay=tmp_path / "replay", config=ReplayConfig(**OPTIONS, since="2031-01-01"))
