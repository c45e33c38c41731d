"""The rows of clips in a table of a run: whether they are in order, and those of a random sample of the clips."""

import math
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def in_order(names: pa.Array | pa.ChunkedArray) -> bool:
    """Whether each name comes after the one before it, as in most runs: then nothing has to be sorted, nor copied."""
    # Of slices without a row pyarrow 22 and earlier crash.
    return len(names) < 2 or bool(pc.all(pc.less(names[:-1], names[1:])).as_py())


def sample_clips(table: pa.Table, every: int, shard: str) -> pa.Table:
    """All rows of one clip of `every`: a random sample of the shard's clips, the same in each of its tables."""
    clips = table.unify_dictionaries()["clip_id"].combine_chunks()
    coded = clips if pa.types.is_dictionary(clips.type) else clips.dictionary_encode()
    names, codes = coded.dictionary, coded.indices.to_numpy()
    order = np.arange(len(names)) if in_order(names) else pc.array_sort_indices(names).to_numpy()
    random, chosen = np.random.default_rng(zlib.crc32(shard.encode())), np.zeros(len(names), bool)
    chosen[order[random.permutation(len(names))[: math.ceil(len(names) / every)]]] = True
    rows = chosen[codes]
    table = table.filter(pa.array(rows))
    if coded is not clips:
        return table
    kept = (np.cumsum(chosen) - 1)[codes[rows]].astype(np.int32)  # without the names of the other clips
    left = pa.DictionaryArray.from_arrays(kept, names.filter(pa.array(chosen)))
    return table.set_column(table.column_names.index("clip_id"), "clip_id", left)
