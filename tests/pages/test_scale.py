"""The scale that is asked for: in the address, by the control, and where it cannot be."""

import numpy as np
import pytest
import xarray as xr

from gandask.pages.scale import ScaleChoice


def values(*numbers):
    return xr.DataArray([*numbers], dims="round", name="fid", attrs={"long_name": "FID"})


@pytest.mark.parametrize("wanted", ["", "auto", "linear", "log"])
def test_what_the_address_asks_for_is_drawn_and_kept(wanted):
    choice = ScaleChoice(wanted)
    assert choice.fitting(values(1.0, 2.0)) == (wanted or "auto")
    assert choice.kept == wanted.replace("auto", "")
    assert not choice.told.visible


def test_nonsense_is_told_until_a_scale_is_chosen():
    choice = ScaleChoice("<b>" + "x" * 99)
    for _ in range(2):
        assert choice.fitting(values(1.0, 2.0)) == "auto"
        assert choice.told.visible
    assert "expected linear or log" in choice.told.object
    assert "<b>" not in choice.told.object
    assert len(choice.told.object) < 150
    choice.control.value = "linear"
    assert choice.fitting(values(1.0, 2.0)) == "linear"
    assert not choice.told.visible


@pytest.mark.parametrize("low", [0.0, -1.0])
def test_where_there_are_no_logarithms_it_is_told(low):
    choice = ScaleChoice("log")
    assert choice.fitting(values(low, 2.0)) == "linear"
    assert choice.told.visible and "FID: not all values are above 0" in choice.told.object
    assert choice.kept == "log", "another variable may have them"
    assert choice.fitting(values(1.0, 2.0)) == "log"
    assert not choice.told.visible
    assert choice.fitting(values(np.nan)) == "linear"
    assert not choice.told.visible, "nothing is there yet"
