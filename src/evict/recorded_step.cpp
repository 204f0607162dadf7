#include "evict/recorded_step.hpp"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <optional>

#include <nlohmann/json.hpp>

#include "base/error.hpp"

namespace asterias::evict {
namespace {

using Json = nlohmann::ordered_json;
using What = PassScript::What;

constexpr const char* kFormat = "asterias recorded step";
constexpr int kVersion = 2;
constexpr std::array<std::string_view, 10> kEventNames{"operator", "read",      "write",      "birth",    "death",
                                                       "forget",   "unmovable", "begin_pass", "end_pass", "ready"};

std::string_view event_name(What what) { return kEventNames[static_cast<std::size_t>(what)]; }

std::string rate_key(Edge edge) {
  constexpr std::array<const char*, kNumEdges> kKeys{"h2d", "d2h", "nvme_read", "nvme_write"};
  return kKeys[static_cast<std::size_t>(edge)];
}

// ---- writing --------------------------------------------------------------------------------------------------------

Json tiers_json(const SimulatedTiers& tiers) {
  Json json = Json::array();
  for (const Tier tier : tiers.levels) {
    const std::uint64_t room = tiers.room[index_of(tier)];
    json.push_back({{"tier", tier_name(tier)}, {"room_bytes", room == UINT64_MAX ? Json(nullptr) : Json(room)}});
  }
  return json;
}

Json rates_json(const SimulatedTiers& tiers) {
  Json json;
  for (int at = 0; at < kNumEdges; ++at) {
    const auto edge = static_cast<Edge>(at);
    json[rate_key(edge)] = {{"bytes_per_second", tiers.rates.of(edge).bytes_per_second},
                            {"latency_ns", tiers.rates.of(edge).latency_ns}};
  }
  json["drive_is_shared"] = tiers.rates.drive_is_shared;
  json["update_params_per_second"] = tiers.update_params_per_second;
  return json;
}

Json actor_json(const PassScript::Actor& actor) {
  Json json{{"id", actor.id}, {"kind", content_kind_name(actor.kind)}, {"bytes", actor.bytes}, {"chunk", actor.chunk}};
  if (actor.update_index >= 0) json["update_index"] = actor.update_index;
  if (actor.update_tier != Tier::kCpu) json["update_tier"] = tier_name(actor.update_tier);
  if (actor.blank) json["blank"] = true;
  if (actor.held) json["held"] = true;
  if (actor.is_of_pass) json["is_of_pass"] = true;
  json["there"] = Json::array();
  for (int tier = 0; tier < kNumTiers; ++tier)
    if (actor.there[static_cast<std::size_t>(tier)]) json["there"].push_back(tier_name(static_cast<Tier>(tier)));
  return json;
}

Json event_json(const PassScript::Event& event, std::uint64_t operator_ns) {
  const auto name = event_name(event.what);
  switch (event.what) {
    case What::kOperator: return {name, operator_ns};
    case What::kUnmovable: return {name, tier_name(event.tier), event.bytes};
    case What::kDeath:
    case What::kReady:
    case What::kForget: return {name, event.actor};
    case What::kBeginPass:
    case What::kEndPass: return Json::array({name});
    default: return {name, tier_name(event.tier), event.actor};
  }
}

Json events_json(const PassScript& script) {
  Json json = Json::array();
  std::size_t next = 0;
  for (const auto& event : script.events) {
    const bool is_operator = event.what == What::kOperator;
    const std::uint64_t ns = is_operator && next < script.operators.size() ? script.operators[next].ns : 0;
    next += is_operator;
    json.push_back(event_json(event, ns));
  }
  return json;
}

// ---- reading --------------------------------------------------------------------------------------------------------

// A part of the text and where it is, for what is wrong with it.
class Part {
 public:
  Part(const Json& json, std::string path) : json_(json), path_(std::move(path)) {}

  [[noreturn]] void fail(const std::string& why) const { throw ConfigError(path_ + " " + why); }

  Part at(const char* key) const {
    if (!json_.is_object()) fail("is not an object");
    const auto found = json_.find(key);
    if (found == json_.end()) fail("has no \"" + std::string(key) + "\"");
    return {*found, path_ + "." + key};
  }
  bool has(const char* key) const { return json_.is_object() && json_.contains(key); }
  bool is_null() const { return json_.is_null(); }
  std::size_t size() const {
    if (!json_.is_array()) fail("is not an array");
    return json_.size();
  }
  Part at(std::size_t index) const {
    if (index >= size()) fail("has " + std::to_string(size()) + " entries, too few");
    return {json_[index], path_ + "[" + std::to_string(index) + "]"};
  }

  std::uint64_t count(std::uint64_t most = UINT64_MAX) const {
    if (!json_.is_number_unsigned()) fail("is not a whole number from 0 on");
    const auto value = json_.get<std::uint64_t>();
    if (value > most) fail("is " + std::to_string(value) + ", more than " + std::to_string(most));
    return value;
  }
  double rate() const {
    if (!json_.is_number() || json_.get<double>() < 0) fail("is not a number from 0 on");
    return json_.get<double>();
  }
  bool flag() const {
    if (!json_.is_boolean()) fail("is neither true nor false");
    return json_.get<bool>();
  }
  std::string word() const {
    if (!json_.is_string()) fail("is not a string");
    return json_.get<std::string>();
  }
  Tier tier() const {
    for (int at = 0; at < kNumTiers; ++at)
      if (tier_name(static_cast<Tier>(at)) == word()) return static_cast<Tier>(at);
    fail("is '" + word() + "', which is no tier");
  }
  ContentKind kind() const {
    for (int at = 0; at <= static_cast<int>(ContentKind::kActivation); ++at)
      if (content_kind_name(static_cast<ContentKind>(at)) == word()) return static_cast<ContentKind>(at);
    fail("is '" + word() + "', which is no kind of content");
  }
  What event() const {
    const auto found = std::find(kEventNames.begin(), kEventNames.end(), word());
    if (found == kEventNames.end()) fail("is '" + word() + "', which is no event");
    return static_cast<What>(found - kEventNames.begin());
  }

 private:
  const Json& json_;
  const std::string path_;
};

void read_tiers(const Part& part, SimulatedTiers& tiers) {
  for (std::size_t at = 0; at < part.size(); ++at) {
    const Tier tier = part.at(at).at("tier").tier();
    if (!tiers.levels.empty() && tier <= tiers.levels.back()) part.fail("does not name the tiers fastest first");
    tiers.levels.push_back(tier);
    const Part room = part.at(at).at("room_bytes");
    tiers.room[index_of(tier)] = room.is_null() ? UINT64_MAX : room.count();
  }
  if (std::find(tiers.levels.begin(), tiers.levels.end(), Tier::kCpu) == tiers.levels.end())
    part.fail("has no cpu tier");
}

void read_rates(const Part& part, SimulatedTiers& tiers) {
  for (int at = 0; at < kNumEdges; ++at) {
    const auto edge = static_cast<Edge>(at);
    const Part rate = part.at(rate_key(edge).c_str());
    tiers.rates.of(edge) = {rate.at("bytes_per_second").rate(), rate.at("latency_ns").count()};
  }
  tiers.rates.drive_is_shared = part.at("drive_is_shared").flag();
  tiers.update_params_per_second = part.at("update_params_per_second").rate();
}

// REQUIRES: the tiers are read. A tier that is not among them is an error.
Tier tier_among(const SimulatedTiers& tiers, const Part& part) {
  const Tier tier = part.tier();
  if (std::find(tiers.levels.begin(), tiers.levels.end(), tier) == tiers.levels.end())
    part.fail("is '" + part.word() + "', a tier that \"tiers\" does not name");
  return tier;
}

Tier memory_tier_among(const SimulatedTiers& tiers, const Part& part) {
  const Tier tier = tier_among(tiers, part);
  if (tier == Tier::kNvme) part.fail("is the drive, where nothing is updated");
  return tier;
}

PassScript::Actor read_actor(const Part& part, const SimulatedTiers& tiers) {
  PassScript::Actor actor{};
  actor.id = part.at("id").count();
  actor.kind = part.at("kind").kind();
  actor.bytes = part.at("bytes").count();
  actor.chunk = part.at("chunk").count();
  const bool is_updated = part.has("update_index");
  actor.update_index = is_updated ? static_cast<std::int64_t>(part.at("update_index").count(1U << 30)) : -1;
  if (is_updated && actor.kind == ContentKind::kActivation) part.fail("is an activation with an \"update_index\"");
  if (part.has("update_tier")) actor.update_tier = memory_tier_among(tiers, part.at("update_tier"));
  actor.blank = part.has("blank") && part.at("blank").flag();
  actor.held = part.has("held") && part.at("held").flag();
  actor.is_of_pass = part.has("is_of_pass") && part.at("is_of_pass").flag();
  const Part there = part.at("there");
  for (std::size_t at = 0; at < there.size(); ++at) actor.there[index_of(tier_among(tiers, there.at(at)))] = true;
  return actor;
}

void read_event(const Part& part, const SimulatedTiers& tiers, PassScript& script) {
  PassScript::Event event{part.at(std::size_t{0}).event()};
  const auto actor = [&](std::size_t at) {
    if (script.actors.empty()) part.fail("names an actor, and there are none");
    return static_cast<std::uint32_t>(part.at(at).count(script.actors.size() - 1));
  };
  switch (event.what) {
    case What::kOperator: script.operators.push_back({0, part.at(1).count(), 1}); break;
    case What::kUnmovable:
      event.tier = tier_among(tiers, part.at(1));
      event.bytes = part.at(2).count();
      break;
    case What::kDeath:
    case What::kReady:
    case What::kForget: event.actor = actor(1); break;
    case What::kBeginPass:
    case What::kEndPass: break;
    default: event.tier = tier_among(tiers, part.at(1)); event.actor = actor(2);
  }
  if (event.tier == Tier::kNvme && event.what != What::kOperator)
    part.fail("happens on the drive, where nothing is used");
  script.events.push_back(event);
}

void read_script(const Part& part, const SimulatedTiers& tiers, PassScript& script) {
  const Part actors = part.at("actors"), events = part.at("events"), passes = part.at("pass_starts");
  for (std::size_t at = 0; at < actors.size(); ++at) script.actors.push_back(read_actor(actors.at(at), tiers));
  for (std::size_t at = 0; at < events.size(); ++at) read_event(events.at(at), tiers, script);
  for (std::size_t at = 0; at < passes.size(); ++at) script.pass_starts.push_back(passes.at(at).count());
  script.before_update = {0, part.at("before_update_ns").count(), 1};
  const Part updates = part.at("update_ns");
  for (std::size_t at = 0; at < updates.size(); ++at)
    script.updates.push_back(updates.at(at).is_null() ? PassScript::Work{}
                                                      : PassScript::Work{0, updates.at(at).count(), 1});
}

void check_header(const Part& part) {
  if (!part.has("format") || part.at("format").word() != kFormat)
    part.fail("is no recorded step (\"format\" is not \"" + std::string(kFormat) +
              "\"); write one with asterias plan "
              "--save-script");
  const auto version = part.at("version").count();
  if (version != kVersion)
    part.fail("has version " + std::to_string(version) + "; this program reads version " + std::to_string(kVersion) +
              ": record the step again");
}

}  // namespace

Simulation RecordedStep::play() const {
  std::shared_ptr<const EvictionPolicy> chosen = make_policy(policy);
  if (!chosen) throw ConfigError("no eviction policy is called '" + policy + "'");
  return simulate(script, tiers, std::move(chosen));
}

void RecordedStep::take_times(const PassScript& longer) {
  const std::size_t num_passes = script.pass_starts.size();
  for (std::size_t pass = 0; num_passes + pass < longer.pass_starts.size() && pass < num_passes; ++pass) {
    std::size_t to = script.pass_starts[pass], from = longer.pass_starts[num_passes + pass];
    for (; to < script.operators.size() && from < longer.operators.size(); ++to, ++from) {
      if (script.operators[to].hash != longer.operators[from].hash) break;
      script.operators[to] = longer.operators[from];
    }
  }
}

std::string to_json(const RecordedStep& step) {
  const auto& script = step.script;
  Json json{{"format", kFormat}, {"version", kVersion}, {"policy", step.policy}, {"tiers", tiers_json(step.tiers)}};
  json["library_bytes"] = step.tiers.library_bytes;
  json["look_ahead"] = step.tiers.look_ahead;
  json["offloads"] = step.tiers.offloads;
  json["puts_off_updates"] = step.tiers.puts_off_updates;
  json["rates"] = rates_json(step.tiers);
  json["actors"] = Json::array();
  for (const auto& actor : script.actors) json["actors"].push_back(actor_json(actor));
  json["events"] = events_json(script);
  json["pass_starts"] = script.pass_starts;
  json["before_update_ns"] = script.before_update.ns;
  json["update_ns"] = Json::array();
  for (const auto& update : script.updates)
    json["update_ns"].push_back(update.count > 0 ? Json(update.ns) : Json(nullptr));
  return json.dump() + "\n";
}

void save(const RecordedStep& step, const std::string& path) {
  std::ofstream file(path);
  file << to_json(step);
  file.close();
  if (!file) throw IoError(errno, path, 0, "write");
}

RecordedStep recorded_step_from_json(const std::string& text, const std::string& name) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) throw ConfigError(name + " is not JSON");
  const Part part(json, name);
  check_header(part);
  RecordedStep step;
  step.policy = part.at("policy").word();
  if (!make_policy(step.policy)) part.at("policy").fail("is '" + step.policy + "', which is no eviction policy");
  read_tiers(part.at("tiers"), step.tiers);
  step.tiers.library_bytes = part.at("library_bytes").count();
  step.tiers.look_ahead = part.at("look_ahead").count(1U << 20);
  step.tiers.offloads = part.at("offloads").flag();
  step.tiers.puts_off_updates = part.has("puts_off_updates") && part.at("puts_off_updates").flag();
  read_rates(part.at("rates"), step.tiers);
  read_script(part, step.tiers, step.script);
  return step;
}

}  // namespace asterias::evict
