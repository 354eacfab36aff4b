"""Damage done to files: their bytes, their words, their JSON, their pictures, zips."""

import io
import json
import struct
import zipfile
import zlib

NUMBERS = [
    0,
    -1,
    1,
    2**31,
    2**63,
    10**400,
    -0.0,
    0.5,
    1e308,
    float("inf"),
    float("nan"),
]
TEXTS = [
    "",
    " ",
    "../../x",
    "/etc/passwd",
    "a/b",
    "\ud800",
    "\0",
    "x" * 5000,
    "نص",
    ".",
]
VALUES = [
    None,
    True,
    False,
    *NUMBERS,
    *TEXTS,
    [],
    {},
    [[]],
    [None],
    {"a": 1},
    [1] * 999,
]
# No numbers of channels and layers that take all the memory: a config is code.
SMALL = [one for one in VALUES if not isinstance(one, int | float) or abs(one) < 2**31]
WORDS = [
    "nan",
    "inf",
    "-inf",
    "1e999",
    "-1",
    "0",
    "",
    "x",
    "٣",
    "1_0",
    "0x1",
    "..",
    "a/b",
]


def damaged(content, kind, rng):
    """``content`` (bytes), damaged as this kind of file can be; ``rng``: ``Random``."""
    if not content or (kind != "config" and rng.random() < 0.3):
        return damaged_bytes(content, rng)
    times = 1 if kind == "config" else rng.choice((1, 1, 1, 2, 4))
    for _ in range(times):
        content = _WAYS.get(kind, damaged_bytes)(content, rng)
    return content


def damaged_bytes(content, rng):
    """Bits flipped, pieces taken away, doubled, moved, overwritten."""
    data = bytearray(content)
    start = rng.randrange(len(data) + 1)
    end = min(len(data), start + rng.choice((1, 2, 4, 8, 64, 4096)))
    way = rng.randrange(8)
    if way == 0 and data:
        data[start % len(data)] ^= 1 << rng.randrange(8)
    elif way == 1:
        del data[start:end]
    elif way == 2:
        del data[start:]
    elif way == 3:
        data[start:start] = data[start:end] * rng.choice((1, 2, 100))
    elif way == 4:
        data[start:end] = rng.randbytes(end - start)
    elif way == 5:
        number = rng.choice((0, 1, 2**31 - 1, 2**32 - 1, 2**63, 2**64 - 1))
        data[start : start + 8] = struct.pack(rng.choice("<>") + "Q", number)
    elif way == 6:
        value = rng.choice((float("nan"), float("inf"), 1e38, -1e38, 1e-45))
        start -= start % 4
        data[start : start + 4] = struct.pack("<f", value)
    else:
        data[:] = rng.choice(
            (b"", b"\0", b"null", rng.randbytes(64), b"\xff\xfe{\0}\0")
        )
    return bytes(data)


def damaged_words(content, rng):
    """Words replaced, lines taken away or doubled."""
    lines = content.decode("utf-8", "replace").split("\n")
    line = rng.randrange(len(lines))
    way = rng.randrange(4)
    if way == 0:
        del lines[line]
    elif way == 1:
        lines.insert(line, lines[rng.randrange(len(lines))])
    else:
        words = lines[line].split(" ")
        words[rng.randrange(len(words))] = rng.choice(WORDS)
        lines[line] = " ".join(words)
    return "\n".join(lines).encode()


def damaged_json(content, rng):
    """A value replaced, an entry taken away or renamed, something nested too deep."""
    if rng.random() < 0.01:
        return b"[" * 100_000
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return damaged_bytes(content, rng)
    return json.dumps(damaged_value(value, rng)).encode()


def damaged_config(content, rng):
    """Wrong names and types of entries."""
    return json.dumps(damaged_value(json.loads(content), rng, SMALL)).encode()


def damaged_lines(content, rng):
    """The same for one line of many."""
    lines = content.split(b"\n")
    line = rng.randrange(len(lines))
    lines[line] = damaged_json(lines[line], rng)
    return b"\n".join(lines)


def damaged_value(value, rng, values=VALUES):
    """Plain values with one of them, at any depth, replaced, gone or renamed."""
    inner = value if isinstance(value, dict | list) and value else None
    if inner is None or rng.random() < 0.12:
        return rng.choice(values)
    keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
    key, changed = rng.choice(keys), inner.copy()
    way = rng.random()
    if way < 0.08:
        del changed[key]
    elif way < 0.12 and isinstance(changed, dict):
        changed[rng.choice((*TEXTS, *map(str, keys)))] = changed.pop(key)
    elif way < 0.16 and isinstance(changed, list):
        changed.insert(key, changed[rng.choice(keys)])
    else:
        changed[key] = damaged_value(changed[key], rng, values)
    return changed


def damaged_png(content, rng):
    """Any byte of a chunk, with checksums that are right again; sizes most of all."""
    chunks, position = [], 8
    while position + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, position)
        name = content[position + 4 : position + 8]
        chunks.append([name, content[position + 8 : position + 8 + length]])
        position += 12 + length
    if not chunks:
        return damaged_bytes(content, rng)
    chunk = chunks[0] if rng.random() < 0.4 else rng.choice(chunks)
    if chunk[0] == b"IHDR" and rng.random() < 0.7 and len(chunk[1]) == 13:
        sizes = [rng.choice((0, 1, 64, 20_000, 2**31 - 1, 2**32 - 1)) for _ in "wh"]
        chunk[1] = struct.pack(">II", *sizes) + chunk[1][8:]
    else:
        chunk[1] = damaged_bytes(chunk[1], rng)
    if rng.random() < 0.1:
        chunks.insert(rng.randrange(len(chunks)), list(rng.choice(chunks)))
    parts = [content[:8]]
    for name, data in chunks:
        crc = struct.pack(">I", zlib.crc32(name + data))
        parts.append(struct.pack(">I", len(data)) + name + data + crc)
    return b"".join(parts)


def damaged_zip(content, rng):
    """An entry of a checkpoint damaged, the archive whole; perhaps compressed."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
    except Exception:
        return damaged_bytes(content, rng)
    name = rng.choice(
        [one for one in entries if one.endswith("data.pkl")] * 3 + [*entries]
    )
    entries[name] = damaged_bytes(entries[name], rng)
    how = zipfile.ZIP_DEFLATED if rng.random() < 0.05 else zipfile.ZIP_STORED
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", how) as archive:
        for one, data in entries.items():
            archive.writestr(one, data)
    return whole.getvalue()


_WAYS = {
    "words": damaged_words,
    "config": damaged_config,
    "json": damaged_json,
    "lines": damaged_lines,
    "png": damaged_png,
    "zip": damaged_zip,
}
