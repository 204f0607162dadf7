// Decides which storage lies where in which chunk. Pure arithmetic on sizes: no memory, no torch.
//
// Storages are filled into chunks in the order given, each into the open chunk of its partition or, where that is full,
// a new one. Partitions are (dtype, trainable, state, is_table): only what is trained has gradients and optimizer
// state, so frozen and trained never share a chunk, a list of state has one format, and where embedding tables are
// looked up in DRAM, nothing that is used elsewhere lies beside them.
//
// Invariants
//   * Every storage lies in exactly one chunk and starts at a multiple of kTensorAlignment bytes: a GEMM may choose
//     other code for
//     another alignment, and then placement would change bits.
//   * Chunks have chunk_bytes, except the last of a partition (cut to what it holds) and those made for one storage
//     that is larger.
//   * Chunk sizes are multiples of kChunkGranule, so that any of them can go to disk by direct I/O.
//
// Threading: pure functions on values. Units: bytes.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace asterias::chunk {

inline constexpr std::uint64_t kTensorAlignment = 512;
inline constexpr std::uint64_t kChunkGranule = 4096;

// One storage of the model, whole, with whatever tensors view it.
struct StorageSpec {
  std::uint64_t bytes;
  int dtype;  // opaque: storages of different dtype never share a chunk
  bool trainable;
  int state = 0;  // opaque, likewise: how the optimizer's state is stored
  bool is_table = false;
};

struct ChunkSpec {
  std::uint64_t bytes;  // of the param list; mirrors have the same number of elements
  std::uint64_t used_bytes;
  int dtype;
  bool trainable;
  int state = 0;
  bool is_table = false;
};

struct Place {
  std::uint32_t chunk;  // index into Layout::chunks
  std::uint64_t offset_bytes;
};

struct Layout {
  std::vector<ChunkSpec> chunks;
  std::vector<Place> places;  // places[i] is where storages[i] lies
  std::uint64_t waste_bytes() const;
};

// Lays `storages` out in chunks of `chunk_bytes` (rounded up to kChunkGranule). Empty storages take no room.
Layout make_layout(std::span<const StorageSpec> storages, std::uint64_t chunk_bytes);

// Chooses the chunk size with the least waste, at most `upper_bound_bytes`. Each chunk counts as half a MiB of waste:
// its lists move in requests of their own, and small ones have less of a drive's bandwidth.
//
// The candidates depend on the model alone, never on a budget: else the smallest sufficient budget would change the
// size that it was computed for. They end at 1/32 of the model, because one update pins a chunk of each list at once,
// and start at 1/512 (and 64 KiB, below which requests cost more than bytes); equals are settled for the larger
// chunk.
std::uint64_t choose_chunk_bytes(std::span<const StorageSpec> storages, std::uint64_t upper_bound_bytes);

}  // namespace asterias::chunk
