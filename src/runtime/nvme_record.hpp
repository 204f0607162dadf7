// What was measured of the drives under the swap folders, kept as JSON in the first of them ("asterias-io.json"), so
// that a plan need not measure again.
//
// Written by `asterias bench io` and by a plan that had to measure. A record counts while it is of the same version, of
// the same folders on the same devices and file systems, and not older than a week; what does not count is as if it
// were not there, and goes with the next keep().
//
// Threading: one thread per folder and process; a record is replaced at once, so readers never see half of one.
// Units: bytes per second, seconds since 1970.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/config.hpp"

namespace asterias::runtime {

struct NvmeRates {
  IoConfig io;  // the settings that they hold for
  std::optional<double> read_bytes_per_second, write_bytes_per_second;
  double update_bytes_per_second = 0;
  std::int64_t measured_at = 0;  // set by NvmeRecord::keep
};

class NvmeRecord {
 public:
  static constexpr const char* kFileName = "asterias-io.json";
  static constexpr std::int64_t kLifeSeconds = 7 * 24 * 3600;

  // Reads what counts at `now`. REQUIRES: at least one folder.
  explicit NvmeRecord(const std::vector<std::string>& folders, std::int64_t now = now_unix_seconds());

  const std::string& path() const { return path_; }
  const std::vector<NvmeRates>& rates() const { return rates_; }
  std::optional<double> update_rate(const IoConfig& io) const;

  // Replaces what is there for the same settings, and writes the record. Returns 0, or the errno with which that
  // failed.
  int keep(const std::vector<NvmeRates>& rates);

 private:
  static std::int64_t now_unix_seconds();
  int write() const;

  std::vector<std::string> folders_;
  std::int64_t now_;
  std::string path_;
  std::vector<NvmeRates> rates_;
};

}  // namespace asterias::runtime
