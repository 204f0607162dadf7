#include "evict/chunk_size.hpp"

#include <algorithm>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "base/byte_size.hpp"
#include "device/page_block.hpp"

namespace asterias::evict {
namespace {

using What = PassScript::What;
using ActorNumbers = std::vector<std::uint32_t>;

bool is_chunk(const PassScript::Actor& actor) { return actor.kind < ContentKind::kActivation; }

// Rewrites a script for actors of which old ones have parts, or new ones members.
class Rewriter {
 public:
  explicit Rewriter(const PassScript& from) : from_(from), parts_(from.actors.size()) {
    to_.operators = from.operators;
    to_.pass_starts = from.pass_starts;
    to_.before_update = from.before_update;
  }

  const PassScript::Actor& about(std::uint32_t old) const { return from_.actors[old]; }
  PassScript::Work update_of(const PassScript::Actor& actor) const {
    const auto place = static_cast<std::size_t>(actor.update_index);
    return place < from_.updates.size() ? from_.updates[place] : PassScript::Work{};
  }

  // An actor in the place of all these, or of a part of each.
  void add(const PassScript::Actor& actor, const ActorNumbers& olds) {
    for (const auto old : olds) parts_[old].push_back(static_cast<std::uint32_t>(to_.actors.size()));
    to_.actors.push_back(actor);
    num_members_.push_back(olds.size());
    num_told_.push_back(0);
  }
  void set_update(std::int64_t place, const PassScript::Work& work) {
    const auto at = static_cast<std::size_t>(place);
    if (at >= to_.updates.size()) to_.updates.resize(at + 1);
    to_.updates[at] = work;
  }

  PassScript finish() {
    for (const auto& event : from_.events) rewrite(event);
    return std::move(to_);
  }

 private:
  void rewrite(const PassScript::Event& event) {
    switch (event.what) {
      case What::kRead:
      case What::kWrite:
        for (const auto part : parts_[event.actor]) add_use(event, part);
        return;
      case What::kBirth:
      case What::kDeath:
      case What::kForget:
      case What::kReady:
        for (const auto part : parts_[event.actor]) tell(event, part);
        return;
      default: add_other(event);
    }
  }

  void add_other(const PassScript::Event& event) {
    to_.events.push_back(event);
    first_use_ = to_.events.size();
  }

  // Once for all uses in a row, which are one request.
  void add_use(PassScript::Event event, std::uint32_t part) {
    event.actor = part;
    const auto same = [&](const auto& use) { return use.actor == part && use.tier == event.tier; };
    const auto begin = to_.events.begin() + static_cast<std::ptrdiff_t>(first_use_);
    const auto use = std::find_if(begin, to_.events.end(), same);
    if (use == to_.events.end()) return to_.events.push_back(event);
    if (event.what == What::kWrite) use->what = What::kWrite;
  }

  // When it is true of the last member.
  void tell(PassScript::Event event, std::uint32_t part) {
    if (++num_told_[part] < num_members_[part]) return;
    num_told_[part] = 0;
    event.actor = part;
    add_other(event);
  }

  const PassScript& from_;
  PassScript to_;
  std::vector<ActorNumbers> parts_;       // by old actor
  std::vector<std::size_t> num_members_;  // by new actor
  std::vector<std::size_t> num_told_;     // of these: a chunk has one such event at a time
  std::size_t first_use_ = 0;             // of those in a row
};

using Lists = std::map<ContentKind, std::uint32_t>;

bool can_be_one(const PassScript& script, const Lists& one, const Lists& other) {
  return std::equal(one.begin(), one.end(), other.begin(), other.end(), [&](const auto& left, const auto& right) {
    const auto& first = script.actors[left.second];
    const auto& second = script.actors[right.second];
    return left.first == right.first && first.update_tier == second.update_tier && first.held == second.held &&
           first.blank == second.blank && (first.update_index < 0) == (second.update_index < 0);
  });
}

// Where both lay; else as if they had gone down.
PassScript::Actor joined(PassScript::Actor one, const PassScript::Actor& other) {
  const auto exists = [](const auto& there) {
    return std::any_of(there.begin(), there.end(), [](bool on) { return on; });
  };
  const bool existed = exists(one.there) || exists(other.there);
  one.id = std::min(one.id, other.id);
  one.bytes += other.bytes;
  for (std::size_t tier = 0; tier < one.there.size(); ++tier) one.there[tier] = one.there[tier] && other.there[tier];
  if (existed && !exists(one.there)) one.there[static_cast<std::size_t>(Tier::kCpu)] = true;
  return one;
}

}  // namespace

PassScript with_larger_chunks(const PassScript& script) {
  Rewriter rewriter(script);
  std::map<std::uint64_t, Lists> chunks;
  for (std::uint32_t old = 0; old < script.actors.size(); ++old) {
    if (is_chunk(script.actors[old]))
      chunks[script.actors[old].chunk].emplace(script.actors[old].kind, old);
    else
      rewriter.add(script.actors[old], {old});
  }
  std::int64_t place = 0;
  for (auto chunk = chunks.begin(); chunk != chunks.end();) {
    const Lists& lists = chunk->second;
    const auto next = std::next(chunk);
    const bool is_pair = next != chunks.end() && can_be_one(script, lists, next->second);
    bool is_updated = false;
    PassScript::Work work;
    for (const auto& [kind, old] : lists) {
      PassScript::Actor actor = script.actors[old];
      is_updated = actor.update_index >= 0;
      work = rewriter.update_of(actor);
      ActorNumbers olds{old};
      if (is_pair) {
        olds.push_back(next->second.at(kind));
        const auto& other = script.actors[olds.back()];
        const PassScript::Work others_work = rewriter.update_of(other);
        work = {0, work.ns + others_work.ns, std::min(work.count, others_work.count)};
        actor = joined(actor, other);
      }
      if (is_updated) actor.update_index = place;
      rewriter.add(actor, olds);
    }
    if (is_updated) rewriter.set_update(place++, work);
    chunk = is_pair ? std::next(next) : next;
  }
  return rewriter.finish();
}

PassScript with_smaller_chunks(const PassScript& script) {
  Rewriter rewriter(script);
  for (std::uint32_t old = 0; old < script.actors.size(); ++old) {
    PassScript::Actor actor = script.actors[old];
    actor.id *= 2;
    if (!is_chunk(actor)) {
      rewriter.add(actor, {old});
      continue;
    }
    const PassScript::Work work = rewriter.update_of(actor);
    const std::uint64_t half = round_up((actor.bytes + 1) / 2, device::kPageBytes);
    actor.chunk *= 2;
    actor.bytes = half;
    actor.update_index *= 2;  // what is below 0 stays so
    for (int part = 0; part < 2; ++part) {
      rewriter.add(actor, {old});
      if (actor.update_index >= 0) rewriter.set_update(actor.update_index++, {0, work.ns / 2, work.count});
      ++actor.id;
      ++actor.chunk;
    }
  }
  return rewriter.finish();
}

}  // namespace asterias::evict
