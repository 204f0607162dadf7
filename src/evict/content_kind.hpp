// What a tier's bytes are: the lists of model data, activations, what cannot move, and the libraries' own.
//
// Not what a payload is for torch: an adopted storage is an "activation" whatever it holds (a gradient on its way to
// its chunk, a batch, a buffer of 4 KiB and more).
//
// Threading: plain values. Units: bytes.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "chunk/list_kind.hpp"

namespace asterias::evict {

enum class ContentKind : std::uint8_t {
  kParam,
  kGrad,
  kMaster,
  kExpAvg,
  kExpAvgSq,
  kActivation,  // adopted storages
  kOther,       // unmovable blocks: small storages, workspaces, outputs in the making
  kLibraries,   // of the process, on the cpu tier only
};

inline constexpr int kNumContentKinds = 8;

using ContentBytes = std::array<std::uint64_t, kNumContentKinds>;  // by ContentKind

// Names the kind as the log files do.
constexpr std::string_view content_kind_name(ContentKind kind) {
  if (static_cast<int>(kind) < chunk::kNumListKinds) return list_kind_name(static_cast<chunk::ListKind>(kind));
  constexpr std::string_view kNames[] = {"activations", "other", "libraries"};
  return kNames[static_cast<int>(kind) - chunk::kNumListKinds];
}

constexpr ContentKind content_kind_of(chunk::ListKind list) { return static_cast<ContentKind>(list); }

constexpr std::uint64_t sum_of(const ContentBytes& bytes) {
  std::uint64_t sum = 0;
  for (const auto each : bytes) sum += each;
  return sum;
}

}  // namespace asterias::evict
