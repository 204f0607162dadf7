// What Residency tells: the trace of steps, what later steps will be like, and the figures of this one.
#include <algorithm>
#include <utility>

#include "base/byte_size.hpp"
#include "base/error.hpp"
#include "evict/residency.hpp"
#include "evict/update_placement.hpp"

namespace asterias::evict {
namespace {

using Span = std::pair<Residency::Clock::time_point, Residency::Clock::time_point>;

// How much time the spans cover. Puts them in order.
std::uint64_t union_ns(std::vector<Span>& spans) {
  std::sort(spans.begin(), spans.end());
  std::chrono::nanoseconds sum{0};
  Residency::Clock::time_point covered{};
  for (const auto& [start, end] : spans) {
    if (end > covered) sum += end - std::max(start, covered);
    covered = std::max(covered, end);
  }
  return static_cast<std::uint64_t>(sum.count());
}

}  // namespace

// ---- the trace of steps ---------------------------------------------------------------------------------------------

void Residency::start_trace() {
  const Lock lock(mutex_);
  if (recorder_) throw StateError(StateError::Cause::kMisuse, "a trace is running already; stop it first");
  recorder_ = std::make_unique<StepRecorder>(hierarchy_, books_, residents_);
  is_recording_ = true;
}

StepTrace Residency::stop_trace() {
  const Lock lock(mutex_);
  if (!recorder_) throw StateError(StateError::Cause::kMisuse, "no trace is running; start one first");
  for (Resident* resident : in_flight_) {
    Move& move = *resident->move;
    if (move.record && move.ticket.done()) recorder_->end_move(*move.record, move.ticket);
    move.record.reset();
  }
  finish_followed(/*waits=*/false);
  for (Followed& move : followed_) move.record.reset();
  is_recording_ = false;
  return std::exchange(recorder_, nullptr)->finish();
}

void Residency::record_operator(const char* name, Clock::time_point start, Clock::time_point end) {
  const Lock lock(mutex_);
  if (recorder_) recorder_->add_operator(name, start, end);
}

void Residency::record_phase(const char* name, Clock::time_point start, Clock::time_point end) {
  const Lock lock(mutex_);
  if (recorder_) recorder_->add_phase(name, start, end);
}

void Residency::record_update(const Resident* chunk, Clock::time_point start, Clock::time_point end) {
  const Lock lock(mutex_);
  if (recorder_) recorder_->add_update(*chunk, start, end);
}

void Residency::record_step_end(std::int64_t step) {
  const Lock lock(mutex_);
  step_clock_.stop(step_clock_now());
  step_clock_.end_step(timeline_.num_passes());
  if (recorder_) recorder_->end_step(step);
}

// ---- limits and figures ---------------------------------------------------------------------------------------------

void Residency::set_measuring(bool measuring, std::function<bool(std::uint64_t)> may_exceed) {
  const Lock lock(mutex_);
  measuring_ = measuring;
  may_exceed_ = std::move(may_exceed);
  if (!measuring) leave_besides();
}

// ---- what later steps will be like ----------------------------------------------------------------------------------

void Residency::start_script() {
  const Lock lock(mutex_);
  script_ = std::make_unique<PassScript>();
  forecast_events_ = 0;
  step_clock_.forget();
  scripted_unmovable_ = {};
  for (const auto& resident : residents_) {
    auto& actor = script_->actors[script_->actor_of(*resident)];
    actor.held = resident->is_pinned();
    for (const Tier tier : hierarchy_.levels()) actor.there[index_of(tier)] = resident->on(tier).is_readable();
  }
  script_unmovable();
}

// Frees are not heard of, only what is left of them.
void Residency::script_unmovable() {
  for (const Tier tier : hierarchy_.levels()) {
    if (tier == Tier::kNvme) continue;
    const std::uint64_t bytes = unmovable_bytes(tier);
    if (std::exchange(scripted_unmovable_[index_of(tier)], bytes) == bytes) continue;
    script_->add({PassScript::What::kUnmovable, tier, 0, bytes});
  }
}

Simulation Residency::forecast(const MoveRates& rates) {
  const Lock lock(mutex_);
  const bool knows_drive = rates.of(Edge::kNvmeRead).bytes_per_second > 0;
  if (!script_ || (script_->events.size() == forecast_events_ && (forecast_knows_drive_ || !knows_drive)))
    return forecast_;
  make_forecast(rates);
  return forecast_;
}

void Residency::make_forecast(const MoveRates& rates) {
  SimulatedTiers tiers = look_at_tiers();
  tiers.rates = rates;
  forecast_ = evict::simulate(*script_, tiers, policy_);
  forecast_events_ = script_->events.size();
  forecast_knows_drive_ = rates.of(Edge::kNvmeRead).bytes_per_second > 0;
}

void Residency::keep_to_forecast(const MoveRates& rates) {
  const Lock lock(mutex_);
  if (!script_) return;
  make_forecast(rates);
  keeps_to_forecast_ = true;
}

std::optional<Simulation> Residency::simulate(const MoveRates& rates) const {
  const Lock lock(mutex_);
  if (!script_) return std::nullopt;
  SimulatedTiers tiers = look_at_tiers();
  tiers.rates = rates;
  return evict::simulate(*script_, tiers, policy_);
}

std::optional<RecordedStep> Residency::recorded_step() const {
  const Lock lock(mutex_);
  if (!script_) return std::nullopt;
  return RecordedStep{*script_, look_at_tiers(), std::string(policy_->name())};
}

void Residency::set_puts_off_updates(bool puts_off) {
  const Lock lock(mutex_);
  puts_off_updates_ = puts_off;
}

void Residency::set_update_tier(Resident* list, Tier tier) {
  const Lock lock(mutex_);
  place_update(*list, tier);
}

void Residency::place_update(Resident& list, Tier tier) {
  if (std::exchange(list.update_tier, tier) == tier || !script_) return;
  const auto actor = script_->index.find(list.id);
  if (actor == script_->index.end()) return;
  script_->actors[actor->second].update_tier = tier;
  forecast_events_ = 0;  // what was foretold was another step
}

// In one piece of memory, gaps take their part.
void Residency::place_updates(std::span<const Resident* const> params, const MoveRates& rates, bool costs_processor) {
  constexpr std::uint64_t kGapShare = 8;
  const Lock lock(mutex_);
  if (!script_) return;
  SimulatedTiers tiers = look_at_tiers();
  tiers.rates = rates;
  auto& room = tiers.room[index_of(Tier::kGpu)];
  if (hierarchy_.pool(Tier::kGpu).is_one_piece()) room -= room / kGapShare;
  ChunkNumbers chunks;
  for (const Resident* param : params)
    if (!param->is_table) chunks.insert(param->number);
  const ChunkNumbers above = choose_updates_above(*script_, tiers, chunks, costs_processor);
  for (const auto& resident : residents_)
    if (resident->is_chunk && chunks.contains(resident->number))
      place_update(*resident, above.contains(resident->number) ? Tier::kGpu : Tier::kCpu);
}

SimulatedTiers Residency::look_at_tiers() const {
  SimulatedTiers tiers;
  tiers.levels = hierarchy_.levels();
  tiers.library_bytes = hierarchy_.pool(Tier::kCpu).library_bytes();
  tiers.look_ahead = static_cast<std::uint64_t>(look_ahead_);
  tiers.offloads = activations_ == ActivationPlacement::kOffload;
  tiers.puts_off_updates = puts_off_updates_;
  for (const Tier tier : tiers.levels) {
    const std::uint64_t limit = hierarchy_.limit_bytes(tier);
    const std::uint64_t foreign = tier == Tier::kNvme ? 0 : hierarchy_.pool(tier).foreign_bytes();
    tiers.room[index_of(tier)] = limit == chunk::TierPool::kUnlimited ? limit : limit - std::min(limit, foreign);
  }
  return tiers;
}

bool Residency::is_refused() const {
  const Lock lock(mutex_);
  return refused_;
}

Needs Residency::needs() const {
  const Lock lock(mutex_);
  Needs needs = needs_;
  for (const Tier tier : hierarchy_.levels())
    if (tier != Tier::kNvme) needs.working_set[index_of(tier)] = working_set_bytes(tier);
  return needs;
}

bool Residency::all_fits() const {
  const Lock lock(mutex_);
  if (!hierarchy_.has_below(hierarchy_.compute_tier())) return true;  // or it would have been refused
  const auto& pool = hierarchy_.pool(hierarchy_.compute_tier());
  return needs_.content + pool.foreign_bytes() <= pool.limit_bytes();
}

// In one piece of memory what an operator asks for may leave gaps, and small blocks have a place of their own.
std::uint64_t Residency::working_set_bytes(Tier tier) const {
  const std::uint64_t need = needs_.working_set[index_of(tier)];
  if (!hierarchy_.pool(tier).is_one_piece()) return need;
  const std::uint64_t large_bytes = need + need / 4;
  // A share of the whole: what is left of it must be the rest.
  const std::uint64_t small_bytes = std::min(chunk::TierPool::small_share(large_bytes * 4 / 3), large_bytes / 3);
  return round_up(large_bytes + small_bytes, device::kPageBytes) + 4 * device::kPageBytes;
}

ResidencyStats Residency::stats() const {
  const Lock lock(mutex_);
  return stats_;
}

void Residency::reset_stats() {
  const Lock lock(mutex_);
  stats_ = ResidencyStats();
  for (auto& spans : busy_spans_) spans.clear();
  for (const Tier tier : hierarchy_.levels()) books_.reset_peak(tier);
}

void Residency::note_busy(Edge edge, const chunk::MoveTicket& ticket) {
  const std::size_t lane = std::min<std::size_t>(static_cast<std::size_t>(edge), 2);  // the drive is one
  busy_spans_[lane].push_back({ticket.started_at(), ticket.ended_at()});
}

BusyTimes Residency::busy_times() {
  const Lock lock(mutex_);
  return {union_ns(busy_spans_[0]), union_ns(busy_spans_[1]), union_ns(busy_spans_[2])};
}

ContentBytes Residency::content(Tier tier) const {
  const Lock lock(mutex_);
  return books_.content(tier);
}

ContentBytes Residency::peak_content(Tier tier) {
  const Lock lock(mutex_);
  return books_.peak_content(tier);
}

std::uint64_t Residency::peak_activation_bytes(Tier tier) const {
  const Lock lock(mutex_);
  return books_.peak_activation_bytes(tier);
}

std::exception_ptr Residency::failure() const {
  const Lock lock(mutex_);
  return failure_;
}

std::uint64_t Residency::resident_bytes(Tier tier) const {
  const Lock lock(mutex_);
  return books_.resident_bytes(tier);
}

std::uint64_t Residency::pinned_bytes(Tier tier) const {
  const Lock lock(mutex_);
  return books_.pinned_bytes(tier);
}

std::uint64_t Residency::lingering_bytes(Tier tier) const {
  const Lock lock(mutex_);
  return lingering_bytes_on(tier);
}

std::uint64_t Residency::lingering_bytes_on(Tier tier) const {
  std::uint64_t sum = 0;
  for (const Lingering& lingering : lingering_)
    if (lingering.block.pool()->tier() == tier) sum += lingering.block.bytes();
  return sum;
}

std::size_t Residency::num_residents() const {
  const Lock lock(mutex_);
  return residents_.size();
}

void Residency::for_each(const std::function<void(const Resident&)>& visit) const {
  const Lock lock(mutex_);
  for (const auto& resident : residents_) visit(*resident);
}

}  // namespace asterias::evict
