#include "evict/simulator.hpp"

#include <algorithm>
#include <map>
#include <memory>
#include <numeric>
#include <utility>

#include "evict/early_updates.hpp"
#include "evict/hollow_tiers.hpp"
#include "evict/late_updates.hpp"
#include "evict/residency.hpp"
#include "evict/update_pipeline.hpp"

namespace asterias::evict {
namespace {

using What = PassScript::What;

constexpr int kWarmUpSteps = 2;
constexpr int kSteps = 6;  // with a drive a step may be like the one before the last, or like none
constexpr std::uint64_t kUpdateSignature = UINT64_MAX;  // passes are numbered from 0

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

// Does with a Residency on hollow tiers what the passes did with the real one, step after step.
class Player {
 public:
  Player(const PassScript& script, const SimulatedTiers& tiers, std::shared_ptr<const EvictionPolicy> policy)
      : script_(script),
        tiers_(tiers),
        clock_(std::make_shared<SimulatedClock>(tiers.rates)),
        residency_(make_hollow_tiers(tiers, clock_), std::move(policy), static_cast<int>(tiers.look_ahead),
                   tiers.offloads ? ActivationPlacement::kOffload : ActivationPlacement::kAuto),
        actors_(script.actors.size()) {
    residency_.set_measuring(true, [](std::uint64_t) { return true; });  // what does not fit a refusal says, not we
    set_up();
    list_updates();
  }

  Simulation run() {
    for (int step = 0; step < kSteps; ++step) {
      play_step();
      if (step >= kWarmUpSteps) note_peaks();
    }
    report_content();
    report_moves();
    return simulation_;
  }

 private:
  struct Actor final : Tenant {
    void follow(std::byte*) noexcept override {}
    Resident* resident = nullptr;  // while it lives
  };
  // What cannot move, of one tier.
  struct Unmovable {
    std::uint64_t bytes = 0;
    std::vector<chunk::Block> blocks;
  };

  const PassScript::Actor& about(std::uint32_t actor) const { return script_.actors[actor]; }
  bool is_chunk(std::uint32_t actor) const { return about(actor).kind < ContentKind::kActivation; }
  bool existed(std::uint32_t actor) const {
    const auto& there = about(actor).there;
    return std::any_of(there.begin(), there.end(), [](bool on) { return on; });
  }

  // ---- before the first step ----------------------------------------------------------------------------------------

  // In the order of making, which policies see.
  void set_up() {
    std::vector<std::uint32_t> order(script_.actors.size());
    std::iota(order.begin(), order.end(), 0U);
    std::sort(order.begin(), order.end(), [&](auto a, auto b) { return about(a).id < about(b).id; });
    for (const auto actor : order) {
      if (is_chunk(actor))
        make_chunk(actor);
      else if (existed(actor))
        be_born(actor, tier_of(actor));
    }
  }

  void make_chunk(std::uint32_t actor) {
    const auto& about_it = about(actor);
    const auto list = static_cast<chunk::ListKind>(about_it.kind);
    actors_[actor].resident = residency_.make_chunk(list, about_it.bytes, about_it.update_index);
    if (has_gpu()) residency_.set_update_tier(actors_[actor].resident, about_it.update_tier);
    if (about_it.blank || !existed(actor)) return;
    const Want fill{actors_[actor].resident, Access::kOverwrite};
    residency_.acquire({&fill, 1}, tier_of(actor));
    residency_.release({&fill, 1}, tier_of(actor));
    hold(actor);
  }

  // Where an actor lies when the script begins; what lay on the drive is evicted from the cpu tier.
  Tier tier_of(std::uint32_t actor) const {
    return about(actor).there[static_cast<std::size_t>(Tier::kGpu)] ? Tier::kGpu : Tier::kCpu;
  }

  // What the real one has pinned for good.
  void hold(std::uint32_t actor) {
    if (!about(actor).held) return;
    const Want want{actors_[actor].resident, Access::kRead};
    residency_.acquire({&want, 1}, compute_tier());
  }

  void list_updates() {
    std::map<std::uint64_t, UpdatePipeline::Lists> by_chunk;
    for (std::uint32_t actor = 0; actor < actors_.size(); ++actor) {
      if (about(actor).update_index < 0) continue;
      const bool reads = about(actor).kind == ContentKind::kGrad;
      by_chunk[about(actor).chunk].push_back({actors_[actor].resident, reads ? Access::kRead : Access::kWrite});
    }
    for (auto& [chunk, lists] : by_chunk) {
      for (Want& want : lists)
        if (want.resident->list == chunk::ListKind::kParam && find(lists, chunk::ListKind::kMaster) &&
            find(lists, chunk::ListKind::kGrad))
          want.access = Access::kOverwrite;  // the update rounds it anew from its master
      if (!lists.empty()) lists.set_tier(lists.begin()->resident->update_tier);
      updates_.push_back(std::move(lists));
    }
  }

  static const Resident* find(const UpdatePipeline::Lists& lists, chunk::ListKind list) {
    for (const Want& want : lists)
      if (want.resident->list == list) return want.resident;
    return nullptr;
  }

  // ---- a step -------------------------------------------------------------------------------------------------------

  void play_step() {
    begin_step();
    const std::uint64_t start_ns = clock_->now_ns();
    for (const auto& event : script_.events) play(event);
    end_operator();
    end_of_passes();
    late_.catch_up();
    const std::uint64_t update_start_ns = clock_->now_ns();
    work(script_.before_update.ns, simulation_.times.update_work_ns);
    UpdatePipeline(residency_, kUpdateSignature)
        .run(
            updates_, [&](std::size_t place) { return early_.take(place) || put_off(place); },
            [&](std::size_t place, Tier) { update(place); });
    early_.discard_all();
    simulation_.times.update_ns = clock_->now_ns() - update_start_ns;
    simulation_.times.step_ns = clock_->now_ns() - start_ns;
  }

  void begin_step() {
    simulation_.times = StepTimes();
    num_operators_ = 0;
    for (std::uint32_t actor = 0; actor < actors_.size(); ++actor) {
      if (about(actor).kind == ContentKind::kGrad) residency_.forget(actors_[actor].resident);  // zero_grad
      if (!is_chunk(actor) && existed(actor)) be_born(actor, tier_of(actor));
    }
    residency_.reset_stats();
  }

  void end_of_passes() {
    residency_.with_timeline([](Timeline& timeline) { timeline.end_pass(); });
    for (std::uint32_t actor = 0; actor < actors_.size(); ++actor)
      if (!is_chunk(actor) && !existed(actor)) die(actor);
  }

  bool put_off(std::size_t place) {
    return tiers_.puts_off_updates && find(updates_[place], chunk::ListKind::kGrad) &&
           late_.put_off(place, updates_[place]);
  }
  void update(std::size_t place) { work(update_ns(updates_[place]), simulation_.times.update_work_ns); }

  void play(const PassScript::Event& event) {
    switch (event.what) {
      case What::kRead: return use(event, Access::kRead);
      case What::kWrite: return use(event, Access::kWrite);
      default: acquire();
    }
    switch (event.what) {
      case What::kOperator: return begin_operator();
      case What::kBirth: return be_born(event.actor, event.tier);
      case What::kDeath: return die(event.actor);
      case What::kForget: return forget(event.actor);
      case What::kUnmovable: return set_unmovable(event.tier, event.bytes);
      case What::kReady: return make_ready(event.actor);
      case What::kBeginPass: return begin_pass();
      case What::kEndPass: return residency_.with_timeline([](Timeline& timeline) { timeline.end_pass(); });
      default: return;
    }
  }

  void begin_pass() {
    end_operator();
    const std::uint64_t signature = num_operators_;
    residency_.with_timeline([&](Timeline& timeline) { timeline.begin_pass(signature); });
  }

  void begin_operator() {
    end_operator();
    early_.advance([&](std::size_t place) { update(place); });
    late_.advance();
    residency_.begin_operator("simulated", num_operators_++);
    is_in_operator_ = true;
  }

  // Backward has begun, before which nothing stays late.
  void make_ready(std::uint32_t actor) {
    release();
    late_.catch_up();
    for (std::size_t place = 0; place < updates_.size(); ++place)
      for (const Want& want : updates_[place])
        if (want.resident == actors_[actor].resident)
          early_.make_ready(place,
                            residency_.is_update_next(kUpdateSignature) ? updates_[place] : UpdatePipeline::Lists());
  }

  // What an operator uses and makes is there before its work begins.
  void end_operator() {
    acquire();
    if (std::exchange(is_in_operator_, false) && num_operators_ <= script_.operators.size())
      work(script_.operators[num_operators_ - 1].ns, simulation_.times.pass_work_ns);
    release();
  }

  void use(const PassScript::Event& event, Access access) {
    if (!actors_[event.actor].resident) return;
    if (event.tier != use_tier_) {
      acquire();
      release();
    }
    use_tier_ = event.tier;
    asked_.push_back({actors_[event.actor].resident, access});
  }

  void acquire() {
    if (asked_.empty()) return;
    residency_.acquire(asked_, use_tier_);
    pinned_.insert(pinned_.end(), asked_.begin(), asked_.end());
    asked_.clear();
  }

  void release() {
    residency_.release(pinned_, use_tier_);
    pinned_.clear();
  }

  void be_born(std::uint32_t actor, Tier tier) {
    Actor& born = actors_[actor];
    if (born.resident) return;
    const std::uint64_t bytes = about(actor).bytes;
    auto& unmovable = unmovable_[static_cast<std::size_t>(tier)];
    chunk::Block block;
    if (unmovable.bytes >= bytes) {  // made as a plain block
      shrink(tier, unmovable.bytes - bytes);
      block = residency_.hierarchy().pool(tier).take_beyond_limit(bytes);
    } else {
      block = residency_.allocate(bytes, tier);
    }
    born.resident = residency_.adopt(std::move(block), &born);
    activation_bytes_ += bytes;
    most_activation_bytes_ = std::max(most_activation_bytes_, activation_bytes_);
    hold(actor);
  }

  void die(std::uint32_t actor) {
    Resident* resident = std::exchange(actors_[actor].resident, nullptr);
    if (!resident) return;
    activation_bytes_ -= about(actor).bytes;
    if (about(actor).held) {
      const Want want{resident, Access::kRead};
      residency_.release({&want, 1}, compute_tier());
    }
    residency_.remove_tenant(resident, &actors_[actor]);
  }

  void forget(std::uint32_t actor) {
    release();
    if (actors_[actor].resident) residency_.forget(actors_[actor].resident);
  }

  void set_unmovable(Tier tier, std::uint64_t bytes) {
    auto& unmovable = unmovable_[static_cast<std::size_t>(tier)];
    if (bytes < unmovable.bytes) return shrink(tier, bytes);
    if (bytes > unmovable.bytes) unmovable.blocks.push_back(residency_.allocate(bytes - unmovable.bytes, tier));
    unmovable.bytes = bytes;
    most_unmovable_bytes_ = std::max(most_unmovable_bytes_, bytes);
  }

  // Which of the blocks goes nobody knows: one takes the place of all.
  void shrink(Tier tier, std::uint64_t bytes) {
    auto& unmovable = unmovable_[static_cast<std::size_t>(tier)];
    unmovable.blocks.clear();
    unmovable.bytes = bytes;
    if (bytes > 0) unmovable.blocks.push_back(residency_.hierarchy().pool(tier).take_beyond_limit(bytes));
  }

  // ---- time ---------------------------------------------------------------------------------------------------------

  void work(std::uint64_t ns, std::uint64_t& sum) {
    clock_->work(ns);
    sum += ns;
  }

  std::uint64_t update_ns(const UpdatePipeline::Lists& lists) const {
    const auto place = static_cast<std::size_t>(lists.begin()->resident->update_index);
    if (place < script_.updates.size() && script_.updates[place].count > 0) return script_.updates[place].ns;
    const auto* master = find(lists, chunk::ListKind::kMaster);
    const auto* updated = master ? master : find(lists, chunk::ListKind::kParam);  // in fp32
    if (!updated || tiers_.update_params_per_second <= 0) return 0;
    return transfer_ns({tiers_.update_params_per_second, 0}, updated->bytes / sizeof(float));
  }

  // ---- what came of it ----------------------------------------------------------------------------------------------

  void note_peaks() {
    for (const Tier tier : tiers_.levels) {
      auto& most = simulation_.peak_content[static_cast<std::size_t>(tier)];
      const ContentBytes content = residency_.peak_content(tier);
      if (sum_of(content) > sum_of(most)) most = content;
      auto& activations = simulation_.peak_activation_bytes[static_cast<std::size_t>(tier)];
      activations = std::max(activations, residency_.peak_activation_bytes(tier));
    }
    simulation_.most_shadow_bytes = std::max(simulation_.most_shadow_bytes, residency_.stats().most_shadow_bytes);
  }

  void report_content() {
    const auto of = [](ContentBytes & bytes, ContentKind kind) -> auto& {
      return bytes[static_cast<std::size_t>(kind)];
    };
    of(simulation_.peak_content[static_cast<std::size_t>(Tier::kCpu)], ContentKind::kLibraries) = tiers_.library_bytes;
    of(simulation_.content, ContentKind::kLibraries) = tiers_.library_bytes;
    of(simulation_.content, ContentKind::kActivation) = most_activation_bytes_;
    of(simulation_.content, ContentKind::kOther) = most_unmovable_bytes_;
    for (const auto& actor : script_.actors)
      if (actor.kind < ContentKind::kActivation) of(simulation_.content, actor.kind) += actor.bytes;
  }

  void report_moves() {
    const auto stats = residency_.stats();
    simulation_.moved_bytes = stats.moved_bytes;
    simulation_.times.stall_ns = stats.stall_ns;
    simulation_.times.drive_is_shared = tiers_.rates.drive_is_shared;
    for (std::size_t edge = 0; edge < kNumEdges; ++edge)
      simulation_.times.busy_ns[edge] = transfer_ns(tiers_.rates.edges[edge], simulation_.moved_bytes[edge]);
  }

  Tier compute_tier() const { return tiers_.levels.front(); }
  bool has_gpu() const { return compute_tier() == Tier::kGpu; }

  const PassScript& script_;
  const SimulatedTiers& tiers_;
  const std::shared_ptr<SimulatedClock> clock_;
  std::array<Unmovable, 2> unmovable_;
  Residency residency_;
  EarlyUpdates early_{residency_};
  LateUpdates late_{residency_, [this](std::size_t place) { update(place); }};
  std::vector<Actor> actors_;
  std::vector<UpdatePipeline::Lists> updates_;
  std::vector<Want> asked_, pinned_;  // by the present operator
  Tier use_tier_ = Tier::kGpu;        // where
  bool is_in_operator_ = false;
  std::size_t num_operators_ = 0;  // begun in this step
  std::uint64_t activation_bytes_ = 0;
  std::uint64_t most_activation_bytes_ = 0;
  std::uint64_t most_unmovable_bytes_ = 0;
  Simulation simulation_;
};

}  // namespace

std::uint64_t StepTimes::stalled_ns() const {
  return std::accumulate(stall_ns.begin(), stall_ns.end(), std::uint64_t{0});
}

std::uint64_t StepTimes::slowest_ns() const { return slowest_of(*this).ns; }

const char* StepTimes::slowest_resource() const { return slowest_of(*this).name; }

Simulation simulate(const PassScript& script, const SimulatedTiers& tiers,
                    std::shared_ptr<const EvictionPolicy> policy) {
  return Player(script, tiers, std::move(policy)).run();
}

}  // namespace asterias::evict
