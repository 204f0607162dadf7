#include "evict/step_recorder.hpp"

#include <algorithm>
#include <utility>

namespace asterias::evict {
namespace {

using Clock = StepRecorder::Clock;

constexpr int kIndexBits = 32;  // of a move's record: step above, index below

std::int64_t ns_of(Clock::time_point at) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(at.time_since_epoch()).count();
}

}  // namespace

StepRecorder::StepRecorder(const chunk::Hierarchy& hierarchy, const Books& books,
                           const std::vector<std::unique_ptr<Resident>>& residents)
    : hierarchy_(hierarchy), books_(books) {
  for (const Tier tier : hierarchy.levels()) trace_.limit_bytes[index_of(tier)] = hierarchy.limit_bytes(tier);
  begin_step(ns_of(Clock::now()));
  for (const auto& resident : residents)
    for (const Tier tier : hierarchy.levels())
      if (resident->on(tier).state != chunk::CopyState::kAbsent) enter(*resident, tier);
}

void StepRecorder::begin_step(std::int64_t at_ns) {
  trace_.steps.emplace_back();
  step().span.start_ns = at_ns;
  moment_ = 0;
}

std::uint32_t StepRecorder::row_of(const Resident& resident) {
  const auto [row, is_new] = rows_.try_emplace(resident.id, static_cast<std::uint32_t>(trace_.residents.size()));
  if (is_new) {
    trace_.residents.push_back({resident.kind(), resident.number, resident.made_by, resident.bytes});
    since_.push_back({kNever, kNever, kNever});
  }
  return row->second;
}

void StepRecorder::enter(const Resident& resident, Tier tier) { since_[row_of(resident)][index_of(tier)] = moment_; }

void StepRecorder::leave(const Resident& resident, Tier tier) {
  const std::uint32_t row = row_of(resident);
  const Moment from = std::exchange(since_[row][index_of(tier)], kNever);
  if (from < moment_) step().residences.push_back({row, tier, from, moment_});
}

void StepRecorder::next_moment() {
  sample();
  ++moment_;
}

void StepRecorder::sample() {
  const std::int64_t now = ns_of(Clock::now());
  for (const Tier tier : hierarchy_.levels()) {
    const ContentBytes content = books_.content(tier);
    auto& before = sampled_[index_of(tier)];
    if (moment_ == 0 || content != before) step().samples.push_back({moment_, now, tier, content});
    before = content;
  }
}

std::uint64_t StepRecorder::start_move(const Resident& resident, Edge edge) {
  step().moves.push_back({{ns_of(Clock::now()), 0}, edge, row_of(resident)});
  return ((trace_.steps.size() - 1) << kIndexBits) | (step().moves.size() - 1);
}

void StepRecorder::end_move(std::uint64_t record, const chunk::MoveTicket& ticket) {
  auto& move = trace_.steps[record >> kIndexBits].moves[record & ((std::uint64_t{1} << kIndexBits) - 1)];
  if (ticket.is_of_transfers())
    move.span = {ns_of(ticket.started_at()), ns_of(ticket.ended_at())};
  else
    move.span.end_ns = ns_of(Clock::now());
}

// What began before the recording did is recorded from there on.
TimeSpan StepRecorder::within_step(Clock::time_point start, Clock::time_point end) {
  return {std::max(ns_of(start), step().span.start_ns), ns_of(end)};
}

void StepRecorder::add_stall(Edge edge, Clock::time_point start, Clock::time_point end) {
  step().stalls.push_back({{ns_of(start), ns_of(end)}, edge});
}

void StepRecorder::add_operator(const char* name, Clock::time_point start, Clock::time_point end) {
  step().operators.push_back({within_step(start, end), name});
}

void StepRecorder::add_phase(const char* name, Clock::time_point start, Clock::time_point end) {
  step().phases.push_back({within_step(start, end), name});
}

void StepRecorder::add_update(const Resident& chunk, Clock::time_point start, Clock::time_point end) {
  step().updates.push_back({within_step(start, end), chunk.number});
}

void StepRecorder::close_step(std::int64_t at_ns) {
  sample();
  step().span.end_ns = at_ns;
  step().num_moments = moment_ + 1;
  for (std::uint32_t row = 0; row < since_.size(); ++row)
    for (const Tier tier : hierarchy_.levels())
      if (Moment& from = since_[row][index_of(tier)]; from != kNever) {
        step().residences.push_back({row, tier, from, moment_ + 1});
        from = 0;  // in the next step
      }
}

void StepRecorder::end_step(std::int64_t number) {
  const std::int64_t now = ns_of(Clock::now());
  close_step(now);
  step().step = number;
  begin_step(now);
}

StepTrace StepRecorder::finish() {
  const std::int64_t now = ns_of(Clock::now());
  if (moment_ > 0) {
    close_step(now);
    step().step = trace_.steps.size() > 1 ? trace_.steps[trace_.steps.size() - 2].step + 1 : 0;
  } else {
    trace_.steps.pop_back();
  }
  for (auto& step : trace_.steps)
    for (auto& move : step.moves)
      if (move.span.end_ns == 0) move.span.end_ns = now;
  return std::move(trace_);
}

}  // namespace asterias::evict
