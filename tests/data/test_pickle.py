from __future__ import annotations

import functools
import os
import pickle
import subprocess
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pcm3.errors import SkeletonFormatError
from pcm3.io.pickles import load_plain_pickle

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def assert_same(found, wanted):
    assert type(found) is type(wanted)
    if isinstance(wanted, np.ndarray):
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)
    elif isinstance(wanted, dict):
        assert list(found) == list(wanted)
        for key in wanted:
            assert_same(found[key], wanted[key])
    elif isinstance(wanted, (list, tuple)):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert_same(one, other)
    else:
        assert found == wanted


def plain():
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    return {
        "arrays": [values, values.T, values[:, ::2], values.transpose(1, 0, 2), values[:0]],
        "kinds": [values.astype(kind) for kind in ("f2", ">f8", "i8", "u1", "?", "c8")],
        "names": np.array(["a", "bcd"]),
        "bytes": np.array([b"a", b"bcd"]),
        "zero dimensions": np.array(3),
        "scalars": (np.float64(1.5), np.int16(-2), np.bool_(True), np.str_("x")),
        "dtype": np.dtype("<f4"),
        "python": [1, 2.5, True, None, "text", b"bytes", bytearray(b"b"), 1j, 10**30],
        "containers": OrderedDict(a={1, 2}, b=frozenset([3]), c=((), [], {})),
        "shared": [values, values],
    }


@pytest.fixture
def file(tmp_path):
    return tmp_path / "data.pkl"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_data(file, protocol):
    file.write_bytes(pickle.dumps(plain(), protocol))
    loaded = load_plain_pickle(file)
    assert_same(loaded, plain())
    assert loaded["shared"][0] is loaded["shared"][1]


@given(
    array=hnp.arrays(
        st.one_of(hnp.floating_dtypes(), hnp.integer_dtypes(), hnp.boolean_dtypes()),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
    ),
    protocol=st.sampled_from(PROTOCOLS),
)
@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_array(file, array, protocol):
    file.write_bytes(pickle.dumps((array, array.T), protocol))
    assert_same(load_plain_pickle(file), (array, array.T))


def test_python_2(file):
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\nt"
        b"cnumpy\ndtype\n(S'f4'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\n"
        b"S'\\x00\\x00\\x80?\\x00\\x00\\x00@'\ntb"
    )
    file.write_bytes(b"(S'name'\n" + array + b"c__builtin__\nset\n((lI1\natRt.")
    name, values, numbers = load_plain_pickle(file)
    assert (name, numbers) == ("name", {1})
    assert_same(values, np.array([1, 2], np.float32))


class Call:
    """Pickles to a call of any function."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def evil(marker):
    touch = f"touch {marker}"
    return {
        "system": Call(os.system, touch),
        "builtins.eval": Call(eval, f"open({str(marker)!r}, 'w')"),
        "builtins.exec": Call(exec, f"open({str(marker)!r}, 'w')"),
        "builtins.getattr": Call(getattr, "", "join"),
        "builtins.__import__": Call(__import__, "antigravity"),
        "io.open": Call(open, str(marker), "w"),
        ".*Popen": Call(subprocess.Popen, touch),
        "functools.partial": Call(functools.partial, print),
        "numpy.load": Call(np.load, str(marker)),
        "numpy.*fromfile": Call(np.fromfile, str(marker)),
        "numpy.*runstring": b"cnumpy.testing._private.utils\nrunstring\n(S'1'\n}tR.",
        "numpy.f2py.compile": b"cnumpy.f2py\ncompile\n(tR.",
        "_codecs.lookup": b"c_codecs\nlookup\n(S'x'\ntR.",
        "pickle.loads": Call(pickle.loads, b"."),
        "pathlib.*Path": marker,
    }


@pytest.mark.parametrize("name", evil("x"))
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_nothing_runs(file, tmp_path, name, protocol):
    marker = tmp_path / "ran"
    program = evil(marker)[name]
    if not isinstance(program, bytes):
        program = pickle.dumps({"frames": np.zeros(3), "more": [program]}, protocol)
    file.write_bytes(program)
    with pytest.raises(SkeletonFormatError, match=rf"data.pkl: refused .*{name}; only numpy"):
        load_plain_pickle(file)
    assert not marker.exists()


OBJECTS = np.array([None, {}], dtype=object)
RECORDS = np.zeros(2, dtype=[("a", "O"), ("b", "f4")])
DTYPE = b"cnumpy\ndtype\n(S'f4'\ntR"
FUNCTION = b"cnumpy.core.numeric\n_frombuffer\n"


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (pickle.dumps(OBJECTS), "refused an array of objects; only numbers and strings"),
        (
            pickle.dumps(np.ones(3), 2).replace(b"(K\x01K\x03\x85", b"(K\x05K\x03\x85"),
            "refused an array of version 5",
        ),
        (pickle.dumps(RECORDS), "refused an array of 'V12'"),
        (pickle.dumps(np.array(["2020-01-01"], "M8[D]")), "refused an array of 'M8'"),
        (b"cnumpy\ndtype\n((lS'O'\natR.", "refused an array of"),
        (b"cnumpy\ndtype\n(S'nothing'\ntR.", "'nothing'"),
        (b"cnumpy\nndarray\n((I3\ntS'O'\ntR.", r"numpy.ndarray\(...\)"),
        (b"cnumpy.core.multiarray\n_reconstruct\n(c__builtin__\nset\n(I0\ntS'b'\ntR.", "anothe"),
        (b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(tS'b'\ntR.", "without content"),
        (FUNCTION + b"(S'12345'\n" + DTYPE + b"(I2\ntS'C'\ntR.", r"5.*array \(2,\)"),
        (FUNCTION + b"(S''\n" + DTYPE + b"(I-2\ntS'C'\ntR.", r"0.*array \(-2,\)"),
        (FUNCTION + b"(I3\n" + DTYPE + b"(I2\ntS'C'\ntR.", "bytes and a dtype"),
        (FUNCTION + b"(N}S'__defaults__'\n(I1\ntstb.", "refused to alter a function"),
        (FUNCTION + b".", "refused <.*> as a value; only plain data is read"),
        (b"c_codecs\nencode\n(S'x'\nS'idna'\ntR.", "refused to encode as 'idna'"),
        (b"S'x'\n(tQ.", "refused a reference to something outside the file"),
        (b"(lp0\ng0\na.", "refused a container that holds itself"),
        (b"(" * 5 + b"(l" * 100_000 + b"a" * 99_999 + b".", "nested too deeply|not a readable"),
        (b"", "EOFError"),
        (b"PK\x03\x04 a zip file", "not a readable pickle"),
        (pickle.dumps(plain())[:-40], "not a readable pickle, or cut short"),
    ],
)
def test_says_what_is_wrong(file, program, message):
    file.write_bytes(program)
    with pytest.raises(SkeletonFormatError, match=message) as caught:
        load_plain_pickle(file)
    assert str(caught.value).startswith(f"{file}: ")


def test_functions_stay_as_they_are(file):
    program = FUNCTION + b"(N}S'__defaults__'\n(I1\ntstb."
    for _ in range(2):
        file.write_bytes(program)
        with pytest.raises(SkeletonFormatError, match="refused to alter"):
            load_plain_pickle(file)
    file.write_bytes(pickle.dumps(plain()))
    assert_same(load_plain_pickle(file), plain())


def test_shared_parts_cost_nothing(file):
    value = [1]
    for _ in range(60):  # 2 ** 60 lists if each were visited anew
        value = [value, value]
    file.write_bytes(pickle.dumps(value))
    loaded = load_plain_pickle(file)
    assert loaded[0] is loaded[1]


def test_no_file(file):
    with pytest.raises(SkeletonFormatError, match=r"data.pkl"):
        load_plain_pickle(file)


@given(cut=st.integers(0, 400), flip=st.integers(0, 400), to=st.integers(0, 255))
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_damage_never_escapes(file, cut, flip, to):
    program = bytearray(pickle.dumps(plain(), 4))[: -cut - 1]
    program[flip] = to
    file.write_bytes(bytes(program))
    with pytest.raises(SkeletonFormatError):
        load_plain_pickle(file)
