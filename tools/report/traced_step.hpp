// A traced step as trace.json tells it: what ran when, how full each tier was, where each chunk lay.
//
// Knows the file's format (docs/report.md) and no drawing. What is missing, of another type or not finite is left out.
//
// Threading: plain values. Units: milliseconds from the step's start; bytes; moments.
#pragma once

#include <array>
#include <cstdint>
#include <istream>
#include <string>
#include <vector>

namespace asterias::tools::report {

// The threads of the trace, in the order in which they are shown.
enum class Track : std::uint8_t { kPhases, kCompute, kUpdate, kH2d, kD2h, kNvmeRead, kNvmeWrite, kStalls };
inline constexpr int kNumTracks = 8;

struct TracedSpan {
  double from_ms, to_ms;
  std::string name;
  std::string what;  // "chunk 12 exp_avg"; empty: the trace does not say
  double bytes;      // NaN: the trace does not say
};

// How full a tier was at each sample, which holds until the next one.
struct TracedTier {
  struct Kind {
    std::string name;
    std::vector<double> bytes;  // one per sample
  };
  std::string name;
  double limit_bytes;           // NaN: none
  std::vector<double> moments;  // of the samples
  std::vector<Kind> kinds;
};

struct TracedChunk {
  struct Stay {
    double from_moment, to_moment;
    std::string tier;
  };
  std::string name, list;
  double bytes;  // NaN: the trace does not say
  std::vector<Stay> stays;
};

struct TracedStep {
  std::int64_t step = 0;
  double length_ms = 0;
  double num_moments = 0;
  std::array<std::vector<TracedSpan>, kNumTracks> tracks;
  std::vector<TracedTier> tiers;
  std::vector<TracedChunk> chunks;
};

// Reads all steps of a trace. Returns none, and says why in `*problem`, when the file is no trace.
std::vector<TracedStep> read_trace(std::istream& file, std::string* problem);

}  // namespace asterias::tools::report
