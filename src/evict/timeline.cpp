#include "evict/timeline.hpp"

#include <algorithm>
#include <utility>

namespace asterias::evict {
namespace {

// How far back two histories are compared.
constexpr std::size_t kMostCompared = 32;

std::size_t common_suffix(std::span<const std::uint64_t> a, std::span<const std::uint64_t> b) {
  std::size_t length = 0;
  while (length < std::min({a.size(), b.size(), kMostCompared}) && a[a.size() - 1 - length] == b[b.size() - 1 - length])
    ++length;
  return length;
}

}  // namespace

const Use* Trace::first_use(TraceKey key, Moment from) const {
  const auto found = uses.find(key.value());
  if (found == uses.end()) return nullptr;
  const auto at = std::lower_bound(found->second.begin(), found->second.end(), from,
                                   [&](std::uint32_t place, Moment moment) { return schedule[place].at < moment; });
  return at == found->second.end() ? nullptr : &schedule[*at];
}

std::uint64_t Trace::peak_need_bytes() const {
  std::uint64_t peak = 0;
  for (const auto& moment : moments) peak = std::max(peak, moment.need_bytes);
  return peak;
}

// ---- segments -------------------------------------------------------------------------------------------------------

void Timeline::begin(std::uint64_t signature, bool is_update) {
  if (is_open_) end_pass();
  is_open_ = true;
  is_update_ = is_update;
  if (!is_update) ++num_passes_;
  diverged_ = false;
  signature_ = signature;
  now_ = 0;
  births_ = 0;
  upcoming_ = 0;
  recording_ = Trace();
  used_now_.clear();
  const auto known = plans_.find(signature);
  plan_ = known == plans_.end() ? nullptr : known->second;
  if (!is_update) plan_of_pass_ = plan_;
  const bool was_foreseen = plan_ && chain_.size() > 1 && chain_[1].trace == plan_;
  ++num_begun_;
  if (!was_foreseen) ++forecast_;
  history_.reserve(kMaxHistory);
  if (history_.size() == kMaxHistory) history_.erase(history_.begin(), history_.begin() + kMaxHistory / 2);
  history_.push_back(signature);
  foretell();
  if (plan_)
    skip_past();
  else
    recording_.moments.push_back({signature});  // moment 0: before the first operator
}

void Timeline::end_pass() {
  if (!is_open_) return;
  is_open_ = false;
  if (is_foretold() && plan_->length() == now_ + 1) return;
  if (is_foretold()) diverge();  // shorter than foretold
  store();
  foretell();
}

void Timeline::abandon_pass() {
  if (is_open_ && !history_.empty()) history_.pop_back();
  is_open_ = false;
  plan_ = nullptr;
  ++forecast_;
  chain_.clear();
}

void Timeline::store() {
  if (!plans_.contains(signature_)) {
    if (plan_order_.size() == kMaxPlans) {
      plans_.erase(plan_order_.front());
      plan_order_.erase(plan_order_.begin());
    }
    plan_order_.push_back(signature_);
  }
  recording_.signature = signature_;
  recording_.is_update = is_update_;
  plan_ = std::make_shared<const Trace>(std::move(recording_));
  plans_[signature_] = plan_;
  if (!is_update_) plan_of_pass_ = plan_;
  recording_ = Trace();
  diverged_ = false;
  ++forecast_;
  if (!is_update_) ++num_recorded_;
}

// What was as foretold so far becomes the beginning of the new recording.
void Timeline::diverge() {
  diverged_ = true;
  ++forecast_;
  const Moment seen = is_open_ ? now_ : now_ + 1;  // an operator that differs is none of the plan's
  recording_ = Trace();
  recording_.moments.assign(plan_->moments.begin(), plan_->moments.begin() + std::min(seen, plan_->length()));
  for (const Use& use : plan_->schedule) {
    if (use.at >= seen) break;
    recording_.uses[use.key.value()].push_back(static_cast<std::uint32_t>(recording_.schedule.size()));
    recording_.schedule.push_back(use);
  }
}

// ---- what happens ---------------------------------------------------------------------------------------------------

void Timeline::on_operator(std::uint64_t operator_hash) {
  if (!is_active()) return;
  ++now_;
  births_ = 0;
  used_now_.clear();
  if (is_foretold()) {
    if (now_ < plan_->length() && plan_->moments[now_].operator_hash == operator_hash) {
      return skip_past();
    }
    diverge();
    if (!is_update_) ++num_diverged_;
  }
  recording_.moments.push_back({operator_hash});
}

void Timeline::on_use(TraceKey key, Tier tier, Access access) {
  if (!is_active() || !key.is_named()) return;
  const auto same = std::find_if(used_now_.begin(), used_now_.end(), [&](const Use& use) { return use.key == key; });
  const bool is_first = same == used_now_.end();
  if (is_first) used_now_.push_back({now_, key, tier, access});
  if (is_foretold()) return;
  auto& places = recording_.uses[key.value()];
  if (is_first) {
    places.push_back(static_cast<std::uint32_t>(recording_.schedule.size()));
    recording_.schedule.push_back({now_, key, tier, access});
  } else if (access != Access::kRead && recording_.schedule[places.back()].access == Access::kRead) {
    recording_.schedule[places.back()].access = Access::kWrite;
  }
}

TraceKey Timeline::on_birth() { return is_active() && !is_update_ ? TraceKey::of_birth(now_, births_++) : TraceKey(); }

void Timeline::on_need(std::uint64_t need_bytes) {
  if (!is_active() || is_foretold()) return;
  auto& need = recording_.moments.back().need_bytes;
  need = std::max(need, need_bytes);
}

void Timeline::on_live(std::uint64_t live_bytes) {
  if (!is_active() || is_foretold()) return;
  auto& live = recording_.moments.back().live_bytes;
  live = std::max(live, live_bytes);
}

void Timeline::skip_past() {
  while (upcoming_ < plan_->schedule.size() && plan_->schedule[upcoming_].at <= now_) ++upcoming_;
}

// ---- what is foretold -----------------------------------------------------------------------------------------------

// The chain goes on until the present segment comes again, and an update has been passed.
void Timeline::foretell() {
  chain_.clear();
  if (!plan_) return;
  chain_.push_back({plan_, 0});
  foreseen_ = history_;
  bool has_update = plan_->is_update, comes_again = false;
  while (chain_.size() < kMaxChain && !(has_update && comes_again)) {
    const auto next = successor(foreseen_);
    const auto known = next ? plans_.find(*next) : plans_.end();
    if (known == plans_.end()) return;
    chain_.push_back({known->second, chain_.back().base + chain_.back().trace->length()});
    foreseen_.push_back(*next);
    has_update |= known->second->is_update;
    comes_again |= *next == plan_->signature;
  }
}

// What followed when the longest part of the past was the same.
std::optional<std::uint64_t> Timeline::successor(const std::vector<std::uint64_t>& past) const {
  std::optional<std::uint64_t> best;
  std::size_t longest = 0;
  for (std::size_t size = past.size(); size-- > 1;) {
    const std::size_t length = common_suffix(std::span(past).first(size), past);
    if (length <= longest) continue;
    longest = length;
    best = past[size];
    if (longest == kMostCompared) break;
  }
  return best;
}

std::optional<Use> Timeline::next_use(TraceKey key) const {
  if (!is_foretold()) return std::nullopt;
  const Moment from = now_ + 1;
  for (const Link& link : chain_) {
    const Use* use = link.trace->first_use(key, from > link.base ? from - link.base : 0);
    if (use) return Use{link.base + use->at, use->key, use->tier, use->access};
    if (!key.is_chunk()) return std::nullopt;  // names of births hold for one pass
  }
  return std::nullopt;
}

std::optional<Use> Timeline::look(Cursor& cursor) const {
  if (!is_foretold() || suspended_ > 0) return std::nullopt;
  if (cursor.forecast != forecast_ || cursor.segment < num_begun_) rewind(cursor);
  if (cursor.segment == num_begun_) cursor.at = std::max(cursor.at, upcoming_);
  for (; cursor.segment - num_begun_ < chain_.size(); ++cursor.segment, cursor.at = 0) {
    const Link& link = chain_[cursor.segment - num_begun_];
    for (; cursor.at < link.trace->schedule.size(); ++cursor.at) {
      const Use& use = link.trace->schedule[cursor.at];
      if (link.base == 0 || use.key.is_chunk()) return Use{link.base + use.at, use.key, use.tier, use.access};
    }
  }
  return std::nullopt;
}

void Timeline::go_back(Cursor& cursor, Moment to) const {
  if (cursor.forecast != forecast_ || cursor.segment < num_begun_) return;
  for (std::size_t link = 0; link < chain_.size() && num_begun_ + link <= cursor.segment; ++link) {
    const auto& [trace, base] = chain_[link];
    if (to >= base + trace->length()) continue;
    const auto at = std::lower_bound(trace->schedule.begin(), trace->schedule.end(), to - base,
                                     [](const Use& use, Moment moment) { return use.at < moment; });
    const auto place = static_cast<std::size_t>(at - trace->schedule.begin());
    if (num_begun_ + link < cursor.segment || place < cursor.at) cursor = {forecast_, num_begun_ + link, place};
    return;
  }
}

std::optional<Use> Timeline::use_after_update(TraceKey key) const {
  if (!is_foretold()) return std::nullopt;
  bool is_after = false;
  for (const Link& link : chain_) {
    if (is_after)
      if (const Use* use = link.trace->first_use(key, 0))
        return Use{link.base + use->at, use->key, use->tier, use->access};
    is_after |= link.trace->is_update;
  }
  return std::nullopt;
}

bool Timeline::is_update_next(std::uint64_t signature) const {
  return is_foretold() && chain_.size() > 1 && chain_[1].trace->is_update && chain_[1].trace->signature == signature;
}

std::optional<Tier> Timeline::updated_before(const Use& use) const {
  std::optional<Tier> tier;
  for (const Link& link : chain_) {
    if (!link.trace->is_update || link.base > use.at) continue;
    const Use* update = link.trace->first_use(use.key, link.base == 0 ? now_ : 0);
    if (update && link.base + update->at < use.at) tier = update->tier;
  }
  return tier;
}

std::uint64_t Timeline::growth_until(Moment moment) const {
  if (!is_foretold() || now_ >= plan_->length()) return 0;
  const std::uint64_t now = plan_->moments[now_].live_bytes;
  std::uint64_t most = now;
  for (const Link& link : chain_)
    for (Moment at = link.base == 0 ? now_ : 0; at < link.trace->length() && link.base + at <= moment; ++at)
      most = std::max(most, link.trace->moments[at].live_bytes);
  return most - now;
}

Moment Timeline::moment_of_upcoming(std::size_t count) const {
  if (!is_active() || !is_foretold() || upcoming_ + count > plan_->schedule.size()) return kNever;
  return plan_->schedule[upcoming_ + count - 1].at;
}

std::span<const Use> Timeline::used_now() const {
  if (!is_active()) return {};
  return used_now_;
}

}  // namespace asterias::evict
