#include "runtime/nvme_record.hpp"

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

namespace asterias::runtime {
namespace {

using Json = nlohmann::json;  // equal whatever the order of keys

constexpr const char* kProgramVersion = ASTERIAS_VERSION;

// Says where a folder lies: another drive mounted at the same place is another folder.
Json identity_of(const std::string& folder) {
  struct stat status {};
  struct statfs file_system {};
  stat(folder.c_str(), &status);
  statfs(folder.c_str(), &file_system);
  std::error_code ignored;
  return {{"path", std::filesystem::weakly_canonical(folder, ignored).string()},
          {"device", static_cast<std::uint64_t>(status.st_dev)},
          {"file_system", {file_system.f_fsid.__val[0], file_system.f_fsid.__val[1]}}};
}

Json identities_of(const std::vector<std::string>& folders) {
  Json all = Json::array();
  for (const auto& folder : folders) all.push_back(identity_of(folder));
  return all;
}

Json json_of(const NvmeRates& rates) {
  Json json{{"engine", io_engine_name(rates.io.engine)},
            {"block_size", rates.io.block_bytes},
            {"queue_depth", rates.io.queue_depth},
            {"direct", rates.io.direct}};
  if (rates.read_bytes_per_second) json["read_bytes_per_second"] = *rates.read_bytes_per_second;
  if (rates.write_bytes_per_second) json["write_bytes_per_second"] = *rates.write_bytes_per_second;
  json["update_bytes_per_second"] = rates.update_bytes_per_second;
  json["measured_at"] = rates.measured_at;
  return json;
}

IoEngine engine_of(const std::string& name) {
  for (const auto engine : {IoEngine::kAuto, IoEngine::kIoUring, IoEngine::kThreads})
    if (io_engine_name(engine) == name) return engine;
  throw std::invalid_argument(name);
}

std::optional<double> number_in(const Json& json, const char* key) {
  return json.contains(key) ? std::optional(json[key].get<double>()) : std::nullopt;
}

NvmeRates rates_of(const Json& json) {
  NvmeRates rates;
  rates.io = {engine_of(json.at("engine")), json.at("block_size"), json.at("queue_depth"), json.at("direct")};
  rates.read_bytes_per_second = number_in(json, "read_bytes_per_second");
  rates.write_bytes_per_second = number_in(json, "write_bytes_per_second");
  rates.update_bytes_per_second = json.at("update_bytes_per_second");
  rates.measured_at = json.at("measured_at");
  return rates;
}

bool is_sound(const NvmeRates& rates, std::int64_t now) {
  const std::int64_t age = now - rates.measured_at;
  return rates.update_bytes_per_second > 0 && age >= 0 && age < NvmeRecord::kLifeSeconds;
}

// Whatever is wrong with the file, there is then no rate in it.
std::vector<NvmeRates> read(const std::string& path, const Json& folders, std::int64_t now) try {
  const Json json = Json::parse(std::ifstream(path));
  if (json.at("version") != kProgramVersion || json.at("folders") != folders) return {};
  std::vector<NvmeRates> all;
  for (const auto& entry : json.at("rates"))
    if (const NvmeRates rates = rates_of(entry); is_sound(rates, now)) all.push_back(rates);
  return all;
} catch (const std::exception&) {
  return {};
}

}  // namespace

std::int64_t NvmeRecord::now_unix_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

NvmeRecord::NvmeRecord(const std::vector<std::string>& folders, std::int64_t now)
    : folders_(folders),
      now_(now),
      path_(folders.front() + "/" + kFileName),
      rates_(read(path_, identities_of(folders), now)) {}

std::optional<double> NvmeRecord::update_rate(const IoConfig& io) const {
  for (const auto& rates : rates_)
    if (rates.io == io) return rates.update_bytes_per_second;
  return std::nullopt;
}

int NvmeRecord::keep(const std::vector<NvmeRates>& rates) {
  for (NvmeRates one : rates) {
    one.measured_at = now_;
    std::erase_if(rates_, [&](const NvmeRates& other) { return other.io == one.io; });
    rates_.push_back(one);
  }
  return write();
}

int NvmeRecord::write() const {
  Json json{{"version", kProgramVersion}, {"folders", identities_of(folders_)}, {"rates", Json::array()}};
  for (const auto& rates : rates_) json["rates"].push_back(json_of(rates));
  const std::string unfinished = path_ + "." + std::to_string(getpid());
  errno = 0;
  std::ofstream file(unfinished);
  file << json.dump(2) << "\n";
  file.close();
  if (file && std::rename(unfinished.c_str(), path_.c_str()) == 0) return 0;
  const int error_number = errno != 0 ? errno : EIO;
  std::remove(unfinished.c_str());
  return error_number;
}

}  // namespace asterias::runtime
