"""The precision that ``precision="auto"`` stands for."""

import json

import pytest
from training import trainer

from daskgnn.train import precision

WITHOUT, WITH = {"avx512f"}, {"avx512f", "avx512_bf16"}


@pytest.fixture
def processor(monkeypatch):
    """A function that gives this machine another processor."""

    def have(flags):
        monkeypatch.setattr(precision, "processor_flags", lambda: frozenset(flags))

    return have


@pytest.mark.parametrize(("flags", "named"), [(WITHOUT, "float32"), (WITH, "bf16")])
def test_auto_has_the_bits_of_what_it_stands_for(small_path, processor, flags, named):
    processor(flags)
    found = trainer(small_path, 2, None, precision="auto", progress=None)
    same = trainer(small_path, 2, None, precision=named, progress=None)
    found.fit(1)
    same.fit(1)
    assert found.options["precision"] == named
    assert found.params_sha256 == same.params_sha256


def test_a_continued_run_keeps_its_precision(small_path, processor, tmp_path):
    options = {"precision": "auto", "progress": None, "out": tmp_path / "run"}
    processor(WITH)
    trainer(small_path, 2, None, **options).fit(1)
    processor(WITHOUT)
    again = trainer(small_path, 2, None, **options)
    again.fit(2, resume=True)
    assert again.options["precision"] == "bf16"
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["precision"] == (
        "bf16"
    )
    assert json.loads((tmp_path / "run" / "run.json").read_text())["precision"] == (
        "bf16"
    )
