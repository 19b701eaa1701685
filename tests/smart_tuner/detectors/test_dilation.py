"""The same curves, ten times as long or of another size, have the same diagnoses at the corresponding places."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.robustness.dilation import HEALTHY, TRACES, as_logarithms, differences, with_scale
from smart_tuner.detectors import DETECTORS

EVERY_TRACE = pytest.mark.parametrize("name", TRACES)
NOT_DILATED = {
    *("bad_utterance", "out_of_memory", "data_starvation", "disk_running_full"),  # of single steps and the machine
    *("exploding_flow", "sawtooth_loss", "collapsed_durations", "overfit_durations", "alignment_not_forming"),
}


@EVERY_TRACE
def test_a_trace_has_the_ailment_it_is_named_for(name: str) -> None:
    found = TRACES[name].first_diagnoses()
    assert not found if name in HEALTHY else found


def test_most_ailments_have_a_trace() -> None:
    found = {ailment for trace in TRACES.values() for ailment in trace.first_diagnoses()}
    assert found == set(DETECTORS) - NOT_DILATED


@EVERY_TRACE
def test_ten_times_the_steps_change_no_diagnosis(name: str) -> None:
    trace = TRACES[name]
    assert differences(trace.first_diagnoses(), replace(trace, stretch=10).first_diagnoses()) == []


@EVERY_TRACE
@pytest.mark.parametrize("scale", [0.1, 10.0])
def test_losses_and_gradients_of_another_size_change_no_diagnosis(name: str, scale: float) -> None:
    trace = TRACES[name]
    own = trace.first_diagnoses()
    assert differences(own, with_scale(trace, scale).first_diagnoses()) == []
    assert differences(own, as_logarithms(trace, shift=scale - 2).first_diagnoses()) == []


@pytest.mark.parametrize("ratio_scale", [0.1, 10.0])
def test_healthy_update_ratios_may_have_any_size(ratio_scale: float) -> None:
    assert replace(TRACES["healthy"], ratio_scale=ratio_scale).first_diagnoses() == {}
