"""Tests of ``provider_gateway.grpc_model.datatypes``."""

from __future__ import annotations

import math
import struct

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.grpc_model.datatypes import DATATYPES, check_range, elements_in, from_raw, to_raw

BYTES, BF16 = DATATYPES["BYTES"], DATATYPES["BF16"]

#: The largest number of FP32.
MAX = 3.4028234663852886e38


class RawTests(SynchronousTestCase):
    """The raw form of each type."""

    def test_known_bytes(self) -> None:
        """Elements are little-endian, without gaps; each one of BYTES has its length before it."""
        for name, values, raw in (
            ("BOOL", [True, False], b"\1\0"),
            ("UINT8", [0, 255], b"\0\xff"),
            ("UINT16", [1, 65535], b"\1\0\xff\xff"),
            ("UINT32", [1], b"\1\0\0\0"),
            ("UINT64", [2**64 - 1], b"\xff" * 8),
            ("INT8", [-128, 127], b"\x80\x7f"),
            ("INT16", [-2], b"\xfe\xff"),
            ("INT32", [-1], b"\xff" * 4),
            ("INT64", [-(2**63)], b"\0" * 7 + b"\x80"),
            ("FP16", [1.0, -2.0], b"\x00\x3c\x00\xc0"),
            ("BF16", [1.0, -2.0], b"\x80\x3f\x00\xc0"),
            ("FP32", [1.0], b"\0\0\x80\x3f"),
            ("FP64", [-0.5], b"\0" * 6 + b"\xe0\xbf"),
            ("BYTES", [b"", b"ab"], b"\0\0\0\0\2\0\0\0ab"),
        ):
            with self.subTest(name=name):
                datatype = DATATYPES[name]
                self.assertEqual(to_raw(datatype, values), raw)
                self.assertEqual(from_raw(datatype, raw), values)
                self.assertEqual(elements_in(datatype, raw), len(values))
                self.assertEqual((to_raw(datatype, []), from_raw(datatype, b"")), (b"", []))

    def test_all_types(self) -> None:
        """The types are those of the protocol."""
        whole = {f"{sign}INT{size}" for sign in ("", "U") for size in (8, 16, 32, 64)}
        self.assertEqual(set(DATATYPES), {*whole, "BOOL", "FP16", "BF16", "FP32", "FP64", "BYTES"})

    def test_bf16_is_rounded(self) -> None:
        """BF16 is rounded to the nearest, of two to the even one; not to infinity."""
        for value, half in (
            (1.00390625, 0x3F80),
            (1.01171875, 0x3F82),
            (1.0040, 0x3F81),
            (1e-45, 0),
            (3.38e38, 0x7F7E),
        ):
            self.assertEqual(struct.unpack("<H", to_raw(BF16, [value]))[0], half, value)
        self.assertRaises(ValueError, to_raw, BF16, [3.4e38])
        (infinite, nan) = from_raw(BF16, b"\x80\x7f\xc0\x7f")
        self.assertEqual((infinite, math.isnan(nan)), (math.inf, True))

    def test_wrong_lengths(self) -> None:
        """Bytes that are no whole number of elements are an error."""
        for name, raw in (("INT16", b"1"), ("FP16", b"123"), ("BF16", b"1"), ("FP64", b"1234567")):
            for read in (from_raw, elements_in):
                self.assertIn("whole number", str(self.assertRaises(ValueError, read, DATATYPES[name], raw)))
        for raw in (b"\1", b"\1\0\0\0", b"\0\0\0\0\5\0\0\0abcd", b"\xff\xff\xff\xff"):
            self.assertIn("cut off", str(self.assertRaises(ValueError, from_raw, BYTES, raw)))

    def test_out_of_range(self) -> None:
        """A number that its type does not have is an error, in the raw form and for the typed one."""
        for name, value in (
            ("UINT8", 256), ("UINT8", -1), ("UINT16", 65536), ("UINT32", 2**32), ("UINT64", 2**64), ("UINT64", -1),
            ("INT8", 128), ("INT8", -129), ("INT16", 2**15), ("INT32", 2**31), ("INT64", 2**63),
            ("INT64", -(2**63) - 1),            ("FP32", 1e39), ("FP32", -1e39),
        ):  # fmt: skip
            error = self.assertRaises(ValueError, check_range, DATATYPES[name], [0, value])
            self.assertIn(f"out of the range of {name}", str(error))
            self.assertRaises(ValueError, to_raw, DATATYPES[name], [value])
        self.assertIn("FP16", str(self.assertRaises(ValueError, to_raw, DATATYPES["FP16"], [70000.0])))
        check_range(DATATYPES["FP64"], [1.7e308])

    def test_the_largest_number_in_few_digits(self) -> None:
        """Go and Java write the largest number of FP32 as 3.4028235e38, which is larger, and is rounded to it."""
        values = [3.4028235e38, -3.4028235e38]
        check_range(DATATYPES["FP32"], values)
        self.assertEqual(from_raw(DATATYPES["FP32"], to_raw(DATATYPES["FP32"], values)), [MAX, -MAX])
        self.assertRaises(ValueError, check_range, DATATYPES["FP32"], [3.4028236e38])
