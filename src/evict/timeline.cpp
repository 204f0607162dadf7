#include "evict/timeline.hpp"

#include <algorithm>

namespace asterias::evict {

Moment Trace::next_use_after(TraceKey key, Moment now) const {
  const auto found = uses.find(key.value());
  if (found == uses.end()) return kNever;
  const auto at = std::upper_bound(found->second.begin(), found->second.end(), now);
  return at == found->second.end() ? kNever : *at;
}

std::uint64_t Trace::peak_need_bytes() const {
  std::uint64_t peak = 0;
  for (const auto& moment : moments) peak = std::max(peak, moment.need_bytes);
  return peak;
}

void Timeline::begin_pass(std::uint64_t signature) {
  if (in_pass_) end_pass();
  in_pass_ = true;
  ++num_passes_;
  diverged_ = false;
  signature_ = signature;
  now_ = 0;
  births_ = 0;
  recording_.moments.clear();
  recording_.uses.clear();
  recording_.schedule.clear();
  upcoming_ = 0;
  recording_.moments.push_back({signature, 0});  // moment 0: before the first operator
  const auto known = plans_.find(signature);
  plan_ = known == plans_.end() ? nullptr : known->second;
}

void Timeline::end_pass() {
  if (!in_pass_) return;
  in_pass_ = false;
  const bool same = is_foretold() && plan_->moments.size() == recording_.moments.size();
  if (!same) store();
}

void Timeline::abandon_pass() {
  in_pass_ = false;
  plan_ = nullptr;
}

void Timeline::store() {
  if (!plans_.contains(signature_)) {
    if (plan_order_.size() == kMaxPlans) {
      plans_.erase(plan_order_.front());
      plan_order_.erase(plan_order_.begin());
    }
    plan_order_.push_back(signature_);
  }
  plan_ = std::make_shared<const Trace>(std::move(recording_));
  plans_[signature_] = plan_;
  recording_ = Trace();
  diverged_ = false;
  ++num_recorded_;
}

void Timeline::on_operator(std::uint64_t operator_hash) {
  if (!is_active()) return;
  ++now_;
  births_ = 0;
  recording_.moments.push_back({operator_hash, 0});
  if (!is_foretold()) return;
  if (now_ >= plan_->length() || plan_->moments[now_].operator_hash != operator_hash) {
    diverged_ = true;
    ++num_diverged_;
    return;
  }
  while (upcoming_ < plan_->schedule.size() && plan_->schedule[upcoming_].first <= now_) ++upcoming_;
}

void Timeline::on_use(TraceKey key) {
  if (!is_active() || !key.is_named()) return;
  auto& uses = recording_.uses[key.value()];
  if (!uses.empty() && uses.back() == now_) return;
  uses.push_back(now_);
  recording_.schedule.emplace_back(now_, key);
}

TraceKey Timeline::on_birth() { return is_active() ? TraceKey::of_birth(now_, births_++) : TraceKey(); }

void Timeline::on_need(std::uint64_t need_bytes) {
  if (!is_active()) return;
  auto& need = recording_.moments.back().need_bytes;
  need = std::max(need, need_bytes);
}

void Timeline::on_update(std::uint32_t index, std::uint32_t count) {
  update_count_ = count;
  now_ = (plan_ ? plan_->length() : 0) + index;
}

void Timeline::end_update() { now_ = (plan_ ? plan_->length() : 0) + update_count_; }

Moment Timeline::next_use(TraceKey key, std::int64_t update_index) const {
  if (!is_foretold()) return kNever;
  if (const Moment in_pass = plan_->next_use_after(key, now_); in_pass != kNever) return in_pass;
  const Moment length = plan_->length();
  if (update_index >= 0 && length + update_index > now_) return length + static_cast<Moment>(update_index);
  if (!key.is_chunk()) return kNever;
  const Moment period = length + update_count_ + 1;  // the moment of end_update() belongs to this step
  const auto found = plan_->uses.find(key.value());
  if (found != plan_->uses.end()) return period + found->second.front();
  return update_index >= 0 ? period + length + static_cast<Moment>(update_index) : kNever;
}

Moment Timeline::moment_of_upcoming(std::size_t count) const {
  if (!is_active() || !is_foretold() || upcoming_ + count > plan_->schedule.size()) return kNever;
  return plan_->schedule[upcoming_ + count - 1].first;
}

}  // namespace asterias::evict
