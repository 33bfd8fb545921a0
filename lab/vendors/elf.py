"""The least that ldconfig takes for a shared library: a name, and no code."""

import struct

HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
SEGMENT = struct.Struct("<IIQQQQQQ")
ENTRY = struct.Struct("<qQ")
SYMBOL_SIZE = 24

PT_LOAD, PT_DYNAMIC = 1, 2
DT_STRTAB, DT_SYMTAB, DT_STRSZ, DT_SYMENT, DT_SONAME = 5, 6, 10, 11, 14


def shared_library(soname: str) -> bytes:
    """An x86-64 shared object whose DT_SONAME is `soname`."""
    strings = b"\0" + soname.encode() + b"\0"
    dynamic_at = HEADER.size + 2 * SEGMENT.size
    symbols_at = dynamic_at + 6 * ENTRY.size
    strings_at = symbols_at + SYMBOL_SIZE
    size = strings_at + len(strings)
    entries = (
        (DT_SONAME, 1),
        (DT_STRTAB, strings_at),
        (DT_STRSZ, len(strings)),
        (DT_SYMTAB, symbols_at),
        (DT_SYMENT, SYMBOL_SIZE),
        (0, 0),
    )
    identity = b"\x7fELF\x02\x01\x01"
    sizes = (HEADER.size, SEGMENT.size, 2, 64, 0, 0)
    header = HEADER.pack(identity, 3, 62, 1, 0, HEADER.size, 0, 0, *sizes)
    whole = SEGMENT.pack(PT_LOAD, 4, 0, 0, 0, size, size, 0x1000)
    dynamic_size = 6 * ENTRY.size
    dynamic = SEGMENT.pack(
        PT_DYNAMIC, 4, dynamic_at, dynamic_at, dynamic_at, dynamic_size, dynamic_size, 8
    )
    table = b"".join(ENTRY.pack(*entry) for entry in entries)
    return header + whole + dynamic + table + bytes(SYMBOL_SIZE) + strings
