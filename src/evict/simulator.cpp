#include "evict/simulator.hpp"

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>

#include "evict/simulated_residency.hpp"

namespace asterias::evict {
namespace {

using What = PassScript::What;

constexpr int kWarmUpSteps = 3;

struct Resource {
  const char* name;
  std::uint64_t ns;
};

std::array<Resource, 5> resources_of(const StepTimes& times) {
  const std::uint64_t writes = times.busy(Edge::kNvmeWrite);
  return {{{"processor", times.work_ns()},
           {"link to the accelerator", times.busy(Edge::kH2d)},
           {"link from the accelerator", times.busy(Edge::kD2h)},
           {"drive", times.busy(Edge::kNvmeRead) + (times.drive_is_shared ? writes : 0)},
           {"drive", writes}}};
}

Resource slowest_of(const StepTimes& times) {
  const auto resources = resources_of(times);
  return *std::max_element(resources.begin(), resources.end(), [](auto& a, auto& b) { return a.ns < b.ns; });
}

// Plays steps of one script on simulated tiers.
class Player {
 public:
  Player(const PassScript& script, const SimulatedTiers& tiers, const EvictionPolicy& policy)
      : script_(script), tiers_(tiers), residency_(script, tiers, policy) {
    for (std::uint32_t i = 0; i < script.actors.size(); ++i)
      if (script.actors[i].update_index >= 0) updates_[script.actors[i].chunk].push_back(i);
    foretell();
  }

  Simulation run() {
    for (int step = 0; step <= kWarmUpSteps; ++step) play_step();
    report_content();
    report_moves();
    return simulation_;
  }

 private:
  using Lists = std::vector<std::uint32_t>;
  using Updates = std::map<std::uint64_t, Lists>;  // by chunk

  // The update follows the passes, chunk by chunk; all its lists are used at once, and it looks ahead on its own.
  void foretell() {
    SimulatedResidency::Schedule schedule;
    Moment now = 0;
    for (const auto& event : script_.events) {
      if (event.what == What::kOperator) ++now;
      if (event.what != What::kRead && event.what != What::kWrite) continue;
      if (add_use(event.actor, now)) schedule.emplace_back(now, event.actor);
    }
    for (const auto& [_, lists] : updates_) {
      ++now;
      std::uint64_t pinned = 0;
      for (const auto list : lists) {
        add_use(list, now);
        pinned += script_.actors[list].bytes;
      }
      update_bytes_ = std::max(update_bytes_, pinned);
    }
    residency_.foretell(std::move(schedule), now + 1);
  }

  bool add_use(std::uint32_t actor, Moment now) {
    auto& uses = residency_.actor(actor).uses;
    if (!uses.empty() && uses.back() == now) return false;
    uses.push_back(now);
    return true;
  }

  // ---- a step -------------------------------------------------------------------------------------------------------

  void play_step() {
    const std::uint64_t start_ns = residency_.now_ns();
    StepTimes& times = simulation_.times = StepTimes();
    next_operator_ = 0;
    residency_.begin_step();
    for (auto& actor : residency_.actors())
      if (actor.script->kind == ContentKind::kGrad) residency_.forget(actor);  // zero_grad
    for (const auto& event : script_.events) play(event);
    residency_.await_uses();
    finish_operator();
    for (auto& actor : residency_.actors())
      if (!actor.is_chunk() && !actor.existed()) residency_.die(actor);
    const std::uint64_t update_start_ns = residency_.now_ns();
    work(script_.before_update.ns, times.update_work_ns);
    for (auto at = updates_.begin(); at != updates_.end(); ++at) play_update(at);
    times.update_ns = residency_.now_ns() - update_start_ns;
    times.step_ns = residency_.now_ns() - start_ns;
  }

  void play(const PassScript::Event& event) {
    if (event.what == What::kRead || event.what == What::kWrite)
      return residency_.use(residency_.actor(event.actor), event.tier, event.what == What::kWrite);
    residency_.await_uses();
    switch (event.what) {
      case What::kOperator: return begin_operator();
      case What::kBirth: return residency_.be_born(residency_.actor(event.actor), event.tier);
      case What::kDeath: return residency_.die(residency_.actor(event.actor));
      case What::kForget: return residency_.forget(residency_.actor(event.actor));
      case What::kUnmovable: return residency_.set_unmovable(event.tier, event.bytes);
      default: return;
    }
  }

  void begin_operator() {
    finish_operator();
    residency_.begin_operator();
    ++next_operator_;
  }

  // What an operator uses and makes is there before its work begins.
  void finish_operator() {
    if (next_operator_ > 0 && next_operator_ <= script_.operators.size())
      work(script_.operators[next_operator_ - 1].ns, simulation_.times.pass_work_ns);
  }

  void play_update(Updates::const_iterator chunk) {
    const Lists& lists = chunk->second;
    residency_.begin_update();
    for (const auto list : lists) residency_.actor(list).pinned_at = residency_.now();
    for (const auto list : lists) {
      auto& actor = residency_.actor(list);
      if (is_overwritten(list, lists)) actor.blank = true;
      residency_.use(actor, Tier::kCpu, actor.script->kind != ContentKind::kGrad);
    }
    residency_.await_uses();
    fetch_next(chunk);
    work(update_ns(lists), simulation_.times.update_work_ns);
    for (const auto list : lists) residency_.actor(list).pinned_at = kNever;
    write_back(lists);
  }

  void fetch_next(Updates::const_iterator chunk) {
    for (std::uint64_t ahead = 0; ahead < tiers_.look_ahead && ++chunk != updates_.end(); ++ahead)
      for (const auto list : chunk->second)
        if (!is_overwritten(list, chunk->second)) residency_.prefetch(residency_.actor(list), Tier::kCpu);
  }

  void write_back(const Lists& lists) {
    if (residency_.shortfall(Tier::kCpu, update_bytes_) == 0) return;
    for (const auto list : lists)
      if (script_.actors[list].kind != ContentKind::kGrad) residency_.write_behind(residency_.actor(list), Tier::kCpu);
  }

  // True for parameters that the update rounds anew from their masters: their old bytes need not come.
  bool is_overwritten(std::uint32_t list, const Lists& lists) const {
    return script_.actors[list].kind == ContentKind::kParam && find(lists, ContentKind::kMaster) != nullptr;
  }

  const PassScript::Actor* find(const Lists& lists, ContentKind kind) const {
    for (const auto list : lists)
      if (script_.actors[list].kind == kind) return &script_.actors[list];
    return nullptr;
  }

  // ---- time ---------------------------------------------------------------------------------------------------------

  void work(std::uint64_t ns, std::uint64_t& sum) {
    residency_.work(ns);
    sum += ns;
  }

  std::uint64_t update_ns(const Lists& lists) const {
    const auto index = static_cast<std::size_t>(script_.actors[lists.front()].update_index);
    if (index < script_.updates.size() && script_.updates[index].count > 0) return script_.updates[index].ns;
    const auto* master = find(lists, ContentKind::kMaster);
    const auto* updated = master ? master : find(lists, ContentKind::kParam);  // in fp32
    if (!updated || tiers_.update_params_per_second <= 0) return 0;
    return transfer_ns({tiers_.update_params_per_second, 0}, updated->bytes / sizeof(float));
  }

  // ---- what came of it ----------------------------------------------------------------------------------------------

  void report_content() {
    const auto of = [](ContentBytes & bytes, ContentKind kind) -> auto& {
      return bytes[static_cast<std::size_t>(kind)];
    };
    for (const Tier tier : tiers_.levels) {
      simulation_.peak_content[index_of(tier)] = residency_.books().peak_content(tier);
      simulation_.peak_activation_bytes[index_of(tier)] = residency_.books().peak_activation_bytes(tier);
    }
    of(simulation_.peak_content[index_of(Tier::kCpu)], ContentKind::kLibraries) = tiers_.library_bytes;
    of(simulation_.content, ContentKind::kLibraries) = tiers_.library_bytes;
    of(simulation_.content, ContentKind::kActivation) = residency_.most_activation_bytes();
    of(simulation_.content, ContentKind::kOther) = residency_.most_unmovable_bytes();
    for (const auto& actor : residency_.actors())
      if (actor.is_chunk()) of(simulation_.content, actor.script->kind) += actor.script->bytes;
  }

  void report_moves() {
    simulation_.moved_bytes = residency_.moved_bytes();
    simulation_.times.stall_ns = residency_.stall_ns();
    simulation_.times.drive_is_shared = tiers_.rates.drive_is_shared;
    for (std::size_t edge = 0; edge < kNumEdges; ++edge)
      simulation_.times.busy_ns[edge] = transfer_ns(tiers_.rates.edges[edge], simulation_.moved_bytes[edge]);
  }

  const PassScript& script_;
  const SimulatedTiers& tiers_;
  SimulatedResidency residency_;
  Simulation simulation_;
  Updates updates_;
  std::size_t next_operator_ = 0;
  std::uint64_t update_bytes_ = 0;
};

}  // namespace

std::uint64_t StepTimes::stalled_ns() const {
  return std::accumulate(stall_ns.begin(), stall_ns.end(), std::uint64_t{0});
}

std::uint64_t StepTimes::slowest_ns() const { return slowest_of(*this).ns; }

const char* StepTimes::slowest_resource() const { return slowest_of(*this).name; }

Simulation simulate(const PassScript& script, const SimulatedTiers& tiers, const EvictionPolicy& policy) {
  return Player(script, tiers, policy).run();
}

}  // namespace asterias::evict
