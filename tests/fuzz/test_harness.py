"""The harness tells apart what it is there to tell apart."""

from __future__ import annotations

import os
import random
import signal
import time

import numpy as np
import pytest
from harness import (
    BYTE_DAMAGES,
    Case,
    damage_bytes,
    damage_json,
    damage_text,
    failures,
    run_cases,
    table,
)

from spikelab.spike_sorting.recording import resolve_source


def _raises(error):
    def use(path):
        raise error

    return use


def _resolve(path):
    resolve_source(path)


def _allocate(megabytes):
    def use(path):
        np.ones(megabytes << 17)

    return use


USES = {
    "ok": lambda path: None,
    "wrong": lambda path: "seven units instead of five",
    "refused": _resolve,
    "raw": _raises(KeyError("x")),
    "raw, though it names the file": _raises(ValueError("input.h5")),
    "hang": lambda path: time.sleep(600),
    "memory": _allocate(1200),
    "memory, refused by the limit": _allocate(8000),
    "crash": lambda path: os.kill(os.getpid(), signal.SIGSEGV),
}


def _write(folder):
    (folder / "input.h5").write_bytes(b"hello")
    return folder / "input.h5"


@pytest.mark.slow
def test_every_kind_is_told_apart(tmp_path):
    cases = [Case(name, _write, use) for name, use in USES.items()]
    cases.append(Case("broken", lambda folder: folder / 1, USES["ok"]))
    cases.append(Case("raw without the name", _write, _resolve, names=("other.h5",)))
    outcomes = run_cases(cases, tmp_path, timeout_s=20)
    assert [outcome.name for outcome in outcomes] == [case.name for case in cases]
    for outcome in outcomes:
        assert outcome.name.split(",")[0].split()[0] == outcome.kind, table(outcomes)
    assert len(failures(outcomes)) == len(cases) - 2
    assert "input.h5" in outcomes[2].text
    assert outcomes[6].peak_bytes > 1 << 30


def test_what_the_process_held_before_is_not_the_case_s(tmp_path):
    held = np.ones(1200 << 17)
    outcomes = run_cases([Case("ok", _write, USES["ok"])], tmp_path, timeout_s=20)
    assert held[-1] == 1
    assert outcomes[0].kind == "ok", table(outcomes)


@pytest.mark.parametrize("damage", BYTE_DAMAGES)
def test_damage_is_a_function_of_the_seed(damage):
    content = bytes(range(256)) * 40
    first, second = (damage_bytes(content, random.Random(3), (damage,)) for _ in range(2))
    assert first == second != content


def test_damage_stays_in_its_region():
    content = bytes(1000)
    for seed in range(50):
        spoilt = damage_bytes(content, random.Random(seed), region=(400, 600))
        assert spoilt[:400] == content[:400]
        assert spoilt.endswith(content[600:])
        assert spoilt != content


def test_text_and_json_are_spoilt():
    value = {"a": [1, 2, {"b": "c"}], "d": None}
    assert sum(damage_json(value, random.Random(seed)) != value for seed in range(100)) > 90
    assert value == {"a": [1, 2, {"b": "c"}], "d": None}
    text = 'name = "x"\nrate = 20000\n'
    assert sum(damage_text(text, random.Random(seed)) != text.encode() for seed in range(100)) > 90
